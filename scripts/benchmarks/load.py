"""Closed-loop load: so many calls in flight, each worker waiting for its reply before the next call."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.results import percentile

Call = Callable[[], Awaitable[object]]

#: Messages on their way in a stream before its sender waits for a reply.
WINDOW = 64


def figures(latencies: list[float], wall: float, cpu: float) -> dict[str, float]:
    """Of one measurement; `cpu` is this process's."""
    latencies.sort()
    count = len(latencies)
    return {
        "calls": count,
        "calls_per_s": count / wall,
        "client_us": cpu / count * 1e6,
        "p50_us": percentile(latencies, 0.5) * 1e6,
        "p99_us": percentile(latencies, 0.99) * 1e6,
        "p999_us": percentile(latencies, 0.999) * 1e6,
    }


def turns(callers: Sequence[Any], workers: int, worker: int) -> Any:
    """The callers of one worker, in turn: each worker has a share of them, or all workers share them."""
    return itertools.cycle(callers[worker::workers] or (callers[worker % len(callers)],))


async def closed_loop(callers: Sequence[Call], in_flight: int, seconds: float) -> dict[str, float]:
    latencies: list[float] = []
    done, now = latencies.append, time.perf_counter
    cpu, started = time.process_time(), now()
    end = started + seconds

    async def work(worker: int) -> None:
        mine = turns(callers, in_flight, worker)
        before = now()
        while before < end:
            await next(mine)()
            after = now()
            done(after - before)
            before = after

    async with asyncio.TaskGroup() as group:
        for worker in range(in_flight):
            group.create_task(work(worker))
    return figures(latencies, now() - started, time.process_time() - cpu)


def threaded_loop(callers: Sequence[Callable[[], object]], in_flight: int, seconds: float) -> dict[str, float]:
    """The same with a thread for each call in flight."""
    now = time.perf_counter
    cpu, started = time.process_time(), now()
    end = started + seconds

    def work(worker: int) -> list[float]:
        latencies = []
        mine = turns(callers, in_flight, worker)
        before = now()
        while before < end:
            next(mine)()
            after = now()
            latencies.append(after - before)
            before = after
        return latencies

    with ThreadPoolExecutor(in_flight) as pool:
        latencies = list(itertools.chain.from_iterable(pool.map(work, range(in_flight))))
    return figures(latencies, now() - started, time.process_time() - cpu)


class Pacer:
    """A stream's messages: at most WINDOW without a reply, until the time is over. Latencies in the order sent."""

    def __init__(self, make: Callable[[int], Any], read: Callable[[Any, int], None], seconds: float) -> None:
        self._make, self._read = make, read
        self._sent: list[float] = []
        self._latencies: list[float] = []
        self._cpu, self._started = time.process_time(), time.perf_counter()
        self._end = self._started + seconds

    def next(self) -> Any | None:
        """The next message to send, None when there are to be no more."""
        now = time.perf_counter()
        if now >= self._end:
            return None
        self._sent.append(now)
        return self._make(len(self._sent))

    def received(self, reply: Any) -> None:
        number = len(self._latencies)
        self._read(reply, number + 1)
        self._latencies.append(time.perf_counter() - self._sent[number])

    def figures(self) -> dict[str, float]:
        return figures(self._latencies, time.perf_counter() - self._started, time.process_time() - self._cpu)


async def chat(open_stream: Callable[[AsyncIterator[Any]], AsyncIterator[Any]], pacer: Pacer) -> dict[str, float]:
    """One bidirectional stream, as async iterators."""
    free, room = WINDOW, asyncio.Event()

    async def messages() -> AsyncIterator[Any]:
        nonlocal free
        while (message := pacer.next()) is not None:
            free -= 1
            yield message
            while not free:
                room.clear()
                await room.wait()

    async for reply in open_stream(messages()):
        pacer.received(reply)
        free += 1
        if free == 1:
            room.set()
    return pacer.figures()


def threaded_chat(open_stream: Callable[[Any], Any], pacer: Pacer) -> dict[str, float]:
    """The same with iterators, which the library reads in a thread of its own."""
    room = threading.Semaphore(WINDOW)

    def messages() -> Any:
        while (message := pacer.next()) is not None:
            yield message
            room.acquire()

    for reply in open_stream(messages()):
        pacer.received(reply)
        room.release()
    return pacer.figures()
