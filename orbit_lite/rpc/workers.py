"""Several processes that serve one port, each with an event loop and a socket of its own (SO_REUSEPORT).

The calling process serves nothing. It reserves the port, starts the workers, starts those that die again, and on
SIGTERM or SIGINT tells all of them to stop. It does so over a pipe to each worker, since Windows has no signals to
send; that pipe ends when the parent dies, so that no worker is left behind.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, Protocol

from orbit_lite.errors import ConfigurationError, IoError
from orbit_lite.rpc.redial import backoff

__all__ = ["Worker", "run_workers"]

log = logging.getLogger("orbit_lite.rpc")

#: Seconds before a worker that died is started again. They grow while workers live no longer than STABLE.
RESTART_INITIAL = 0.1
RESTART_LARGEST = 30.0
STABLE = 10.0
#: Seconds after which workers are looked at in any case: a child of a worker that died may hide its end.
LOOK_AGAIN = 5.0


class Worker:
    """What `main` is told: serve on `sock` until `stopping`."""

    def __init__(self, index: int, sock: socket.socket) -> None:
        self.index = index
        """0, 1, … A worker that is started again has the number of the one that died."""
        self.sock = sock
        """Bound, for `Server.start(sock=…)`."""
        self._stopping = asyncio.Event()

    @property
    def port(self) -> int:
        """The same in all workers."""
        port: int = self.sock.getsockname()[1]
        return port

    @property
    def is_stopping(self) -> bool:
        """Whether this process is to end."""
        return self._stopping.is_set()

    async def stopping(self) -> None:
        """Wait until this process is to end: now drain the server and return, within the grace."""
        await self._stopping.wait()


Main = Callable[[Worker], Coroutine[Any, Any, None]]


def run_workers(
    main: Main,
    *,
    workers: int,
    host: str | None = None,
    port: int = 0,
    grace: float = 30.0,
    on_bound: Callable[[int], object] | None = None,
    start_method: str | None = None,
) -> None:
    """Run `main(worker)` in `workers` processes until SIGTERM or SIGINT, and return when all of them have ended.

    host, port: None = all IPv4 interfaces; 0 = a free port, the same one for all. grace: seconds from the signal to
    killing what still runs. on_bound: is told the port, before the first worker starts. start_method: as
    multiprocessing has it; by default "fork" where that is safe, and otherwise "spawn", for which `main` must be
    importable and this call be under `if __name__ == "__main__"`.

    Without SO_REUSEPORT there is one worker, and a warning in the log. Raises IoError when the address cannot be had,
    ConfigurationError outside the main thread or within a coroutine.
    """
    if workers < 1:
        raise ConfigurationError(f"workers={workers}: must be at least 1")
    if threading.current_thread() is not threading.main_thread():
        raise ConfigurationError("run_workers handles signals, which only the main thread can")
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise ConfigurationError("run_workers in a coroutine would stop its event loop")
    if start_method is None:
        start_method = "fork" if sys.platform == "linux" else "spawn"  # forking is unsafe on macOS, missing on Windows
    can_share = hasattr(socket, "SO_REUSEPORT")
    if workers > 1 and not can_share:
        log.warning("no SO_REUSEPORT on this platform: 1 worker instead of %d", workers)
        workers = 1
    with _bind(host, port, shared=can_share) as reserved:
        bound = reserved.getsockname()[1]
        log.info("%d workers on port %d", workers, bound)
        if on_bound is not None:
            on_bound(bound)
        context = multiprocessing.get_context(start_method)
        _Supervisor(main, workers, reserved, grace, context).run()


def _bind(host: str | None, port: int, *, shared: bool) -> socket.socket:
    """A bound socket that does not listen: it holds the port and is given no connections."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or "0.0.0.0",  # noqa: S104  # all interfaces, as `Server.start` has it
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        return _bound(family, kind, protocol, address, shared=shared)
    except OSError as error:
        raise IoError(f"cannot listen on {host or '*'}:{port}: {error.strerror or error}") from error


def _bound(family: int, kind: int, protocol: int, address: Any, *, shared: bool) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # on Windows it would let others take the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


# ---------------------------------------------------------------- the parent


class _Place:
    """One of the workers: the process that fills it now, and when the next one may."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: BaseProcess | None = None
        self.control: Connection[bytes, bytes] | None = None
        self.started = 0.0
        self.next_start = 0.0
        self.delays = backoff(initial=RESTART_INITIAL, largest=RESTART_LARGEST)


class _Supervisor:
    def __init__(self, main: Main, workers: int, reserved: socket.socket, grace: float, context: BaseContext) -> None:
        self._main = main
        self._reserved = reserved
        self._is_shared = hasattr(socket, "SO_REUSEPORT")
        self._grace = grace
        self._context = context
        self._places = [_Place(index) for index in range(workers)]
        self._stop: int | None = None  # the signal
        self._wake, self._waker = multiprocessing.Pipe(duplex=False)

    def run(self) -> None:
        """Keep the workers running until a signal, then end them."""
        try:
            with self._signals():
                while self._stop is None:
                    self._start_due()
                    self._wait(min((place.next_start for place in self._places if not place.process), default=None))
                    self._bury()
                log.info("%s: stopping the workers", signal.Signals(self._stop).name)
                self._end_all()
        finally:
            self._kill_all()
            self._wake.close()
            self._waker.close()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def handle(number: int, frame: FrameType | None) -> None:
            if self._stop is None:
                self._stop = number
                self._waker.send_bytes(b"signal")

        kinds = [signal.SIGTERM, signal.SIGINT]
        before = {kind: signal.signal(kind, handle) for kind in kinds}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler if handler is not None else signal.SIG_DFL)

    def _wait(self, until: float | None) -> None:
        """Until a worker ends, a signal comes, or a time has come."""
        timeout = LOOK_AGAIN if until is None else min(LOOK_AGAIN, max(0.0, until - time.monotonic()))
        running = [place.process.sentinel for place in self._places if place.process is not None]
        ready = wait([self._wake, *running], timeout)
        if self._wake in ready:
            self._wake.recv_bytes()

    def _start_due(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.process is None and place.next_start <= now and self._stop is None:
                try:
                    self._start(place)
                except OSError as error:  # no process or socket to be had, for now
                    delay = next(place.delays)
                    place.next_start = now + delay
                    log.error("worker %d cannot start, tried again in %.1f s: %s", place.index, delay, error)

    def _start(self, place: _Place) -> None:
        sock = self._reserved
        if self._is_shared:
            address = self._reserved.getsockname()
            sock = _bound(sock.family, sock.type, sock.proto, address, shared=True)
        theirs, ours = multiprocessing.Pipe(duplex=False)
        # A forked child has copies of all that is open here. Of the pipes' ends it must not keep any: they would hide
        # the parent's death from its siblings.
        copies: list[Any] = []
        if self._context.get_start_method() == "fork":
            others = [other.control for other in self._places if other.control is not None]
            copies = [*others, ours, self._wake, self._waker, *([self._reserved] if self._is_shared else [])]
        try:
            process = self._context.Process(  # type: ignore[attr-defined]  # of each kind of context, but not of the base
                target=_work,
                args=(self._main, place.index, sock, theirs),
                kwargs={"copies": copies, "grace": self._grace},
                name=f"worker {place.index}",
                daemon=False,
            )
            process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            if self._is_shared:
                sock.close()
        place.process, place.control, place.started = process, ours, time.monotonic()
        log.info("worker %d is process %d", place.index, process.pid)

    def _bury(self) -> None:
        """Let those that have ended be followed by others, after a while."""
        for place in self._places:
            process = place.process
            if process is None or process.is_alive():
                continue
            now = time.monotonic()
            if now - place.started > STABLE:
                place.delays = backoff(initial=RESTART_INITIAL, largest=RESTART_LARGEST)
            delay = next(place.delays)
            place.next_start = now + delay
            if self._stop is None:
                log.warning(
                    "worker %d, process %d, ended with %s: starting it again in %.1f s",
                    place.index,
                    process.pid,
                    process.exitcode,
                    delay,
                )
            self._forget(place)

    def _forget(self, place: _Place) -> None:
        if place.process is not None:
            place.process.join()
            place.process.close()
        if place.control is not None:
            place.control.close()
        place.process = place.control = None

    def _end_all(self) -> None:
        """Tell all workers to stop, and wait for them as long as the grace allows."""
        for place in self._places:
            if place.control is not None:
                with suppress(OSError):  # it has ended already
                    place.control.send_bytes(b"stop")
        deadline = time.monotonic() + self._grace
        while any(place.process for place in self._places) and time.monotonic() < deadline:
            self._wait(deadline)
            self._bury()

    def _kill_all(self) -> None:
        for place in self._places:
            if place.process is not None:
                if place.process.is_alive():
                    log.warning("worker %d did not end in time: killed", place.index)
                    place.process.kill()
                self._forget(place)


# ---------------------------------------------------------------- the worker


class _Closable(Protocol):
    def close(self) -> object: ...


def _work(
    main: Main,
    index: int,
    sock: socket.socket,
    control: Connection[bytes, bytes],
    *,
    copies: Iterable[_Closable],
    grace: float,
) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; what to do the parent says
    for copy in copies:
        copy.close()
    try:
        asyncio.run(_serve(main, Worker(index, sock), control, grace))
    except Exception:
        log.exception("worker %d failed", index)
        sys.exit(1)
    finally:
        sock.close()


async def _serve(main: Main, worker: Worker, control: Connection[bytes, bytes], grace: float) -> None:
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows
        loop.add_signal_handler(signal.SIGTERM, worker._stopping.set)

    def listen() -> None:
        try:
            control.recv_bytes()
            is_orphan = False
        except (EOFError, OSError):
            is_orphan = True
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(worker._stopping.set)
        if is_orphan:
            time.sleep(grace)
            os._exit(1)  # nobody else would do it

    threading.Thread(target=listen, name="parent", daemon=True).start()
    await main(worker)
