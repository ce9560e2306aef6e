"""Drives transfers: asks accounts, understands their silence, settles at the end what stayed open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from orbit_lite.cli.demo.ledger import ACCOUNT_TYPE, Booking
from orbit_lite.cli.demo.ordering import FileOrder
from orbit_lite.cli.demo.transfers import Order, Signal, TransferRun
from orbit_lite.errors import Executed, OrbitError
from orbit_lite.model import AddressableReference, Json

__all__ = ["DOUBT_LIMIT", "Holding", "Invoke", "Teller"]

#: How accounts are reached: `OrbitClient.invoke`, with the call's time limit bound.
Invoke = Callable[[AddressableReference, str, Sequence[Json]], Awaitable[Json]]

#: With more transfers than this put aside unfinished, no further one is started: each costs a time limit.
DOUBT_LIMIT = 64

#: An entry without an answer is repeated after each of these pauses, then as long as the teller has patience, with the
#: last one in between; then it is put aside. Units of `Teller`'s pause.
_REPEAT_PAUSES = (1, 4)

#: Pauses before the rounds in which open transfers are settled, in the same units.
_SETTLE_PAUSES = (0, 5, 10, 20)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Holding:
    """What an account says of itself. balance: cents; None where `problem` says why it is not known."""

    balance: int | None
    problem: str = ""


class Teller:
    """Sends transfers through a bank's accounts, `width` at a time.

    pause: seconds before something is tried again. patience: seconds for which it is, at least. is_hopeless: says that
    trying again is of no use any more.
    """

    def __init__(
        self,
        invoke: Invoke,
        *,
        width: int = 32,
        pause: float = 0.1,
        patience: float = 0.0,
        is_hopeless: Callable[[], bool] = lambda: False,
    ) -> None:
        self._invoke = invoke
        self._width = width
        self._pause = pause
        self._patience = patience
        self._is_hopeless = is_hopeless
        #: Seconds that the slowest transfer took, its waits included.
        self.slowest = 0.0

    async def open_accounts(self, names: Iterable[str], *, balance: int, limit: int) -> None:
        """Open every account. Raises the first OrbitError that stays."""
        await self._each(names, lambda name: self._ask_until_answered(_account(name), "open", [balance, limit]))

    async def run(
        self, runs: Sequence[TransferRun], *, stop: asyncio.Event, progress: Callable[[int], None]
    ) -> list[TransferRun]:
        """Drive the transfers, each as far as it comes by itself; returns those that were started.

        When `stop` is set, or more than DOUBT_LIMIT are put aside, no further transfer is started, and those under way
        are driven on. progress: is told how many are finished or put aside.
        """
        order = FileOrder(run.transfer for run in runs)
        started: list[TransferRun] = []
        under_way: dict[asyncio.Task[None], int] = {}
        put_aside = 0
        try:
            while True:
                while len(under_way) < self._width and put_aside <= DOUBT_LIMIT and not stop.is_set():
                    index = order.take()
                    if index is None:
                        break
                    started.append(runs[index])
                    under_way[asyncio.create_task(self._drive(runs[index]))] = index
                if not under_way:
                    return started
                done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    index = under_way.pop(task)
                    task.result()
                    order.finish(index)
                    put_aside += not runs[index].state.is_final
                progress(order.finished)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def settle(self, runs: Iterable[TransferRun], *, time_limit: float) -> None:
        """Repeat what is open, with the same ids, in some rounds and at most `time_limit` seconds."""
        try:
            async with asyncio.timeout(time_limit):
                for pause in _SETTLE_PAUSES:
                    still_open = [run for run in runs if not run.state.is_final]
                    if not still_open:
                        return
                    await asyncio.sleep(pause * self._pause)
                    await self._each(still_open, self._drive)
        except TimeoutError:
            return  # the report names what is still open

    async def balances(self, names: Iterable[str]) -> dict[str, Holding]:
        """What each account holds, asked of the account itself."""
        found: dict[str, Holding] = {}

        async def ask(name: str) -> None:
            found[name] = await self._balance(name)

        names = list(names)
        await self._each(names, ask)
        return {name: found[name] for name in names}

    async def _drive(self, run: TransferRun) -> None:
        """Take a transfer on until it is final, or nothing has come of its present step for too long."""
        began = asyncio.get_running_loop().time()
        pauses = self._pauses()
        while (order := run.order()) is not None:
            try:
                run.hear(*await self._ask(order, run))
            except asyncio.CancelledError:
                run.hear(Signal.SILENCE, "given up while it was asked")
                raise
            if run.order() != order:
                pauses = self._pauses()
            elif (pause := next(pauses, None)) is None:
                return
            else:
                await asyncio.sleep(pause)
        self.slowest = max(self.slowest, asyncio.get_running_loop().time() - began)

    def _pauses(self) -> Iterator[float]:
        """Seconds before each time that something is tried again; patience counts from the first failure."""
        deadline = asyncio.get_running_loop().time() + self._patience
        for units in _REPEAT_PAUSES:
            if self._is_hopeless():
                return
            yield units * self._pause
        while asyncio.get_running_loop().time() < deadline and not self._is_hopeless():
            yield _REPEAT_PAUSES[-1] * self._pause

    async def _ask(self, order: Order, run: TransferRun) -> tuple[Signal, str]:
        arguments: list[Json] = [order.entry_id, run.transfer.amount, run.transfer.note]
        try:
            answer = await self._invoke(_account(order.account), order.kind.value, arguments)
        except OrbitError as error:
            return (Signal.NOT_RUN if error.executed is Executed.NO else Signal.SILENCE), str(error)
        try:
            return _signal(answer)
        except (TypeError, KeyError, ValueError):
            return Signal.SILENCE, "the answer makes no sense"

    async def _balance(self, name: str) -> Holding:
        try:
            answer = await self._ask_until_answered(_account(name), "balance", [])
        except OrbitError as error:
            return Holding(None, str(error))
        balance = answer.get("balance") if isinstance(answer, dict) else None
        if isinstance(balance, int):
            return Holding(balance)
        return Holding(None, "the account is not open: its books were lost")

    async def _ask_until_answered(self, account: AddressableReference, method: str, arguments: Sequence[Json]) -> Json:
        """For questions that do no harm when they are asked again; the next one goes another way."""
        pauses = self._pauses()
        while True:
            try:
                return await self._invoke(account, method, arguments)
            except OrbitError:
                if (pause := next(pauses, None)) is None:
                    raise
            await asyncio.sleep(pause)

    async def _each(self, items: Iterable[_Item], work: Callable[[_Item], Awaitable[_Result]]) -> None:
        """Do the work for every item, `width` at a time; the first error ends it all."""
        waiting = iter(items)

        async def worker() -> None:
            for item in waiting:
                await work(item)

        tasks = [asyncio.create_task(worker()) for _ in range(self._width)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _account(name: str) -> AddressableReference:
    return AddressableReference.of(ACCOUNT_TYPE, name)


def _signal(answer: Json) -> tuple[Signal, str]:
    if not isinstance(answer, dict):
        raise TypeError
    return Signal.of(Booking(answer["booking"])), str(answer["reason"])
