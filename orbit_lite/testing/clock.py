"""An asyncio event loop in virtual time: hours of timers pass in milliseconds, and the same way every time.

    from orbit_lite.testing.clock import run

    def test_a_lease_runs_out() -> None:
        async def scenario() -> None:
            await asyncio.sleep(3600)       # returns at once, and loop.time() is an hour later
        run(scenario())

When nothing is left to run, the clock jumps to the next timer. When there is none either, nothing can ever happen
again: `Deadlock`. Work for other threads (`run_in_executor`) is done in the loop's own, in virtual time too:
`work_time` seconds after it was asked for, one job of an executor after the other. Sockets are not for such a loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

__all__ = ["Deadlock", "VirtualTimeLoop", "run"]

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


_TICK = 1e-9


class Deadlock(Exception):
    """Everybody waits, and nothing can end it: no timer, no thread, no socket."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """work_time: seconds that a job of an executor takes; may be changed while the loop runs."""

    def __init__(self, *, work_time: float = 0.0) -> None:
        self._now = 0.0
        self.work_time = work_time
        self._free_at: dict[Executor | None, float] = {}
        super().__init__(_Jumps(self))
        self._clock_resolution = _TICK / 10  # by so much asyncio lets a timer fire early

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Never early, not even by what floating point cannot tell: who looks at the clock then would wait anew, and
        no time would ever pass. So timers are on whole nanoseconds, rounded up."""
        if math.isfinite(when):
            ticks = math.ceil(when / _TICK)
            whole = ticks * _TICK
            when = whole if whole >= when else (ticks + 1) * _TICK
        return super().call_at(when, callback, *args, context=context)

    def wait(self, seconds: float) -> None:
        """Nothing is to be done for so long: let that time pass, exactly to the next timer."""
        end = self._now + seconds
        timer = self._scheduled[0].when() if self._scheduled else end  # type: ignore[attr-defined]  # of asyncio's own
        if math.isinf(timer):
            raise Deadlock("only what never comes is waited for; look at asyncio.all_tasks()")
        self._now = timer if abs(timer - end) < _TICK else end

    def jump(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as when a machine is suspended."""
        self._now += seconds

    def run_in_executor(self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts) -> asyncio.Future[_T]:
        """Do the job in this thread, when its time has come; the future is its result."""
        done: asyncio.Future[_T] = self.create_future()
        at = self._free_at[executor] = max(self._now, self._free_at.get(executor, 0.0)) + self.work_time
        self.call_at(at, self._work, done, partial(func, *args))
        return done

    def _work(self, done: asyncio.Future[Any], job: Callable[[], Any]) -> None:
        try:
            result = job()  # also when nobody waits any more: a thread cannot be called back either
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  (it belongs to whoever waits)
            if not done.done():
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(result)


class _Jumps(selectors.DefaultSelector):
    """Waits for nothing: where the loop would sleep, its clock goes on."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events:
            if timeout is None:
                raise Deadlock("nothing can happen any more; look at asyncio.all_tasks()")
            self._loop.wait(timeout)
        return events


def run(scenario: Coroutine[Any, Any, _T], *, work_time: float = 0.0) -> _T:
    """Run a coroutine to its end in virtual time. Raises what it raises, or Deadlock."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(work_time=work_time)) as runner:
        return runner.run(scenario)
