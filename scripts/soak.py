#!/usr/bin/env python3
"""Run calls of every kind and with every kind of end for some time, and look whether anything is left behind.

scripts/soak.py --minutes 10 --seed 7

A server, its clients and those who disturb them share one event loop. Every ten seconds the clients are held until no
call is under way; then, after a garbage collection, the memory of the process, its file descriptors, tasks and objects
are counted. Exit status 1 when

- after the warm-up a line fitted to memory, tasks or descriptors climbs by more than the tolerances below,
- more calls, streams and connections are still there than a fixed number,
- a call ended in a way that it must not, took longer than HANG, or brought the wrong reply,
- an exception had nobody to take it, or orbit_lite logged an error.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import resource
import secrets
import sys
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality, Handler

from orbit_lite.errors import NetworkError
from orbit_lite.http2.config import Http2Config
from orbit_lite.rpc import (
    Cancelled,
    Channel,
    ClientCall,
    DeadlineExceeded,
    FailedPrecondition,
    Server,
    ServerCall,
    ServerConfig,
    Unavailable,
)

KIB, MIB = 1 << 10, 1 << 20
HOST = "127.0.0.1"
INTERVAL = 10.0  # seconds between two samples
HANG = 30.0  # seconds: no call here takes as long
WARM_UP = 0.3  # part of the run in which memory may still grow: caches, arenas of the allocator
#: Of the fitted growth. One sample differs from the next by about 7 MiB, as large messages leave the heap torn, and by
#: that the growth fitted to ten minutes is uncertain by 4 MiB.
MEMORY_TOLERANCE = 16 * MIB
COUNT_TOLERANCE = 4  # of the same for descriptors and tasks
#: Objects of one class with no call under way, however many calls there were: both ends of the connections, and the
#: calls in whose context one of their timers was started or in whose traceback the failure of one stands.
LEFT_OVER = 40
WATCHED = {
    ("orbit_lite.rpc.client", "ClientCall"),
    ("orbit_lite.rpc.serving", "ServerCall"),
    ("orbit_lite.rpc.stream", "Stream"),
    ("orbit_lite.http2.streams", "Stream"),
    ("orbit_lite.rpc.connection", "Connection"),
}
KINDS = {
    "unary": Cardinality.UNARY_UNARY,
    "expand": Cardinality.UNARY_STREAM,
    "collect": Cardinality.STREAM_UNARY,
    "chat": Cardinality.STREAM_STREAM,
}
#: How a call may end while servers stop and connections break; anything else is a defect.
INTERRUPTED = (Unavailable, Cancelled, NetworkError)

Call: TypeAlias = ClientCall[StringValue, StringValue]


class Service:
    """`hang` hangs, `fail` fails, `reset` resets the call, `many N SIZE` is N messages; anything else is echoed."""

    def __mapping__(self) -> dict[str, Handler]:
        return {
            f"/soak.Soak/{name}": Handler(self.serve, kind, StringValue, StringValue) for name, kind in KINDS.items()
        }

    async def serve(self, call: ServerCall[StringValue, StringValue]) -> None:
        if call.method.client_streaming and call.method.server_streaming:
            async for message in call:
                await self.answer(call, message.value)
        elif call.method.client_streaming:
            await self.answer(call, "".join([message.value async for message in call]))
        else:
            request = await call.recv_message()
            await self.answer(call, request.value if request else "")

    async def answer(self, call: ServerCall[StringValue, StringValue], text: str) -> None:
        command, *arguments = text[:40].split(" ")
        if command == "hang":
            await asyncio.Event().wait()
        elif command == "fail":
            raise FailedPrecondition("asked for")
        elif command == "reset":
            await call.cancel()
        elif command == "many":
            count, size = map(int, arguments)
            for _ in range(count):
                await call.send_message(StringValue("x" * size))
        else:
            await call.send_message(StringValue(text))


@dataclass
class Sample:
    """What the process holds while no call is under way."""

    at: float  # seconds
    memory: int  # bytes
    descriptors: int
    tasks: int
    objects: Counter[str]


class WrongReplyError(Exception):
    """Not what was asked for."""


@dataclass
class Soak:
    """One run."""

    seed: int
    minutes: float
    clients: int
    port: int = 0
    server: Server = field(init=False)
    channels: list[Channel] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    defects: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    may_go: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0
    quiet: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: self.defect(f"nobody took {context}"))
        await self.start_server()
        self.channels = [self.new_channel() for _ in range(4)]
        self.may_go.set()
        tasks = [asyncio.create_task(self.client(number)) for number in range(self.clients)]
        tasks.append(asyncio.create_task(self.disturb(Random(f"{self.seed} disturb"))))
        began = time.monotonic()
        try:
            while (now := time.monotonic() - began) < self.minutes * 60:
                await asyncio.sleep(min(INTERVAL, self.minutes * 60 - now))
                await self.sample(time.monotonic() - began)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for channel in self.channels:
                await channel.__aexit__(None, None, None)
            await self.stop_server()

    def defect(self, text: str) -> None:
        self.defects[text[:200]] += 1

    # ---------------------------------------------------------------- server and connections

    async def start_server(self) -> None:
        unlimited = Http2Config(reset_burst=10**9, reset_rate=1e9)  # cancelling often is the point here
        self.server = Server([Service()], config=ServerConfig(http2=unlimited, cancel_grace=1.0))
        await self.server.start(HOST, self.port)
        self.port = self.server.port or self.port

    async def stop_server(self) -> None:
        self.server.close()
        await self.server.wait_closed()

    def new_channel(self) -> Channel:
        return Channel(HOST, self.port, redial_initial=0.05, wait_for_ready=True)

    async def disturb(self, random: Random) -> None:
        """Break connections, drain and restart the server, replace channels."""
        while True:
            await asyncio.sleep(random.expovariate(2.0))
            async with Holding(self):
                match random.choice(["abort", "abort", "server abort", "channel", "restart"]):
                    case "abort":
                        self.abort(random)
                    case "server abort":
                        for connection in list(self.server._connections):
                            connection.abort()
                    case "channel":
                        index = random.randrange(len(self.channels))
                        old, self.channels[index] = self.channels[index], self.new_channel()
                        await old.__aexit__(None, None, None)
                        del old  # its last failure would keep the calls in its traceback
                    case "restart":
                        await self.server.drain(random.choice([0.0, 0.2]))
                        await self.stop_server()
                        await self.start_server()

    def abort(self, random: Random) -> None:
        connection = random.choice(self.channels)._connection
        if connection is not None:
            connection.abort()

    # ---------------------------------------------------------------- calls

    async def client(self, number: int) -> None:
        random = Random(f"{self.seed} {number}")
        actions = [self.unary, self.streams, self.leave, self.cancel, self.expire, self.fail, self.read_slowly]
        while True:
            async with Holding(self):
                await self.one(random, random.choice(actions))
            await asyncio.sleep(random.choice([0.0, 0.0, 0.01]))

    async def one(self, random: Random, action: Callable[[Random], Awaitable[None]]) -> None:
        name = action.__name__
        try:
            async with asyncio.timeout(HANG):
                await action(random)
        except INTERRUPTED as error:
            self.ends[type(error).__name__] += 1
        except TimeoutError as error:
            self.defect(f"{name} hung: {error!r}")
        except Exception as error:  # noqa: BLE001  # it is reported, and decides the verdict
            self.defect(f"{name}: {error!r}")
        else:
            self.ends[name] += 1

    def request(self, random: Random, kind: str, timeout: float | None = None) -> Call:
        channel = random.choice(self.channels)
        return channel.request(f"/soak.Soak/{kind}", KINDS[kind], StringValue, StringValue, timeout=timeout)

    def text(self, random: Random) -> str:
        size = random.choice([0, 10, 10, 100, 100, 5_000, 100 * KIB, MIB])
        return random.choice("abc") * size

    async def unary(self, random: Random) -> None:
        text = self.text(random)
        async with self.request(random, "unary") as call:
            await call.send_message(StringValue(text), end=True)
            check([await call.recv_message()], [text])

    async def streams(self, random: Random) -> None:
        texts = [self.text(random) for _ in range(random.randrange(1, 6))]
        async with self.request(random, "collect") as call:
            for text in texts:
                await call.send_message(StringValue(text))
            await call.end()
            check([await call.recv_message()], ["".join(texts)])
        async with self.request(random, "chat") as call:
            for text in texts:
                await call.send_message(StringValue(text))
                check([await call.recv_message()], [text])
            await call.end()
            check([await call.recv_message()], [None])

    async def leave(self, random: Random) -> None:
        """End a stream in its middle; or the server does."""
        async with self.request(random, "expand") as call:
            await call.send_message(StringValue(f"many 20 {random.choice([10, 64 * KIB])}"), end=True)
            for _ in range(random.randrange(5)):
                await call.recv_message()
        with suppress(Cancelled):
            async with self.request(random, "chat") as call:
                await call.send_message(StringValue("reset"))
                await call.recv_message()
                raise WrongReplyError("after a reset")

    async def cancel(self, random: Random) -> None:
        """Cancel the task that calls, at any point."""
        action = random.choice([self.unary, self.streams, self.read_slowly, self.hang])
        task = asyncio.ensure_future(action(random))
        await asyncio.wait([task], timeout=random.choice([0.0, 0.001, 0.005, 0.02, 0.1]))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def hang(self, random: Random) -> None:
        kind = random.choice(list(KINDS))
        async with self.request(random, kind) as call:
            await call.send_message(StringValue("hang"))
            await call.end()
            await call.recv_message()
            raise WrongReplyError("a call that hangs ended")

    async def expire(self, random: Random) -> None:
        kind = random.choice(list(KINDS))
        with suppress(DeadlineExceeded):
            async with self.request(random, kind, random.choice([0.0, 0.001, 0.01, 0.1])) as call:
                await call.send_message(StringValue("hang"))
                await call.end()
                await call.recv_message()
                raise WrongReplyError("a call without end ended")

    async def fail(self, random: Random) -> None:
        with suppress(FailedPrecondition):
            async with self.request(random, random.choice(list(KINDS))) as call:
                await call.send_message(StringValue("fail"))
                await call.end()
                await call.recv_message()
                raise WrongReplyError("a call that fails replied")

    async def read_slowly(self, random: Random) -> None:
        async with self.request(random, "expand") as call:
            await call.send_message(StringValue(f"many 40 {64 * KIB}"), end=True)
            received = 0
            async for reply in call:
                check([reply], ["x" * (64 * KIB)])
                received += 1
                await asyncio.sleep(random.choice([0.0, 0.0, 0.01]))
            check([received], [40])

    # ---------------------------------------------------------------- what is left

    async def sample(self, at: float) -> None:
        """Wait until no call is under way, count, go on."""
        self.may_go.clear()
        try:
            async with asyncio.timeout(2 * HANG):
                while self.under_way:
                    self.quiet.clear()
                    await self.quiet.wait()
                # Handlers learn of the end of their calls by what is still on its way.
                for _ in range(200):
                    if not self.server.in_flight:
                        break
                    await asyncio.sleep(0.01)
            gc.collect()
            names = Counter(
                f"{kind.__module__.removeprefix('orbit_lite.')}.{kind.__name__}"
                for kind in map(type, gc.get_objects())
                if (kind.__module__, kind.__name__) in WATCHED
            )
            self.samples.append(Sample(at, memory(), descriptors(), len(asyncio.all_tasks()), names))
        finally:
            self.may_go.set()
        latest = self.samples[-1]
        print(
            f"{at:6.0f} s  {latest.memory / MIB:6.1f} MiB  {latest.descriptors} descriptors  {latest.tasks} tasks  "
            f"{self.ends.total()} calls  {self.defects.total()} defects  "
            + " ".join(f"{name}={count}" for name, count in sorted(names.items())),
            flush=True,
        )

    def verdict(self) -> list[str]:
        """What is wrong, nothing when all is well."""
        wrong = [f"{count} x {text}" for text, count in self.defects.most_common()]
        settled = self.samples[int(len(self.samples) * WARM_UP) :]
        for what, values, tolerance in (
            ("memory in bytes", [sample.memory for sample in settled], MEMORY_TOLERANCE),
            ("descriptors", [sample.descriptors for sample in settled], COUNT_TOLERANCE),
            ("tasks", [sample.tasks for sample in settled], COUNT_TOLERANCE),
        ):
            growth = fitted_growth([sample.at for sample in settled], values)
            print(f"fitted growth of {what}: {growth:+.1f}, tolerated {tolerance}")
            if growth > tolerance:
                wrong.append(f"{what} grew by {growth:.0f} in {settled[-1].at - settled[0].at:.0f} s")
        for name in sorted({name for sample in settled for name in sample.objects}):
            counts = [sample.objects[name] for sample in settled]
            growth = fitted_growth([sample.at for sample in settled], counts)
            print(f"{name}: {max(counts)} at most, fitted growth {growth:+.1f}, tolerated {LEFT_OVER}")
            if max(counts) > LEFT_OVER:
                wrong.append(f"{max(counts)} {name} with no call under way, tolerated {LEFT_OVER}")
        return wrong


class Holding:
    """A block that a sample waits for, and that waits for a sample."""

    def __init__(self, soak: Soak) -> None:
        self.soak = soak

    async def __aenter__(self) -> None:
        while not self.soak.may_go.is_set():
            await self.soak.may_go.wait()
        self.soak.under_way += 1

    async def __aexit__(self, *reason: object) -> None:
        self.soak.under_way -= 1
        self.soak.quiet.set()


def check(found: list[Any], expected: list[Any]) -> None:
    found = [value.value if isinstance(value, StringValue) else value for value in found]
    if found != expected:
        raise WrongReplyError(f"{str(found)[:40]} for {str(expected)[:40]}")


def fitted_growth(times: list[float], values: list[int]) -> float:
    """What the line through the values, by least squares, climbs from the first time to the last."""
    if len(times) < 2:
        return 0.0
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    steepness = sum((at - middle) * (value - mean) for at, value in zip(times, values, strict=True))
    return steepness / sum((at - middle) ** 2 for at in times) * (times[-1] - times[0])


def memory() -> int:
    """Resident bytes; where there is no /proc, the most that there ever were."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else KIB)


def descriptors() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))
    return 0


class Errors(logging.Handler):
    """Takes what orbit_lite logs as an error for a defect."""

    def __init__(self, soak: Soak) -> None:
        super().__init__(logging.ERROR)
        self.soak = soak

    def emit(self, record: logging.LogRecord) -> None:
        why = f": {record.exc_info[1]!r}" if record.exc_info else ""
        self.soak.defect(f"logged: {record.msg}{why}")
        if record.exc_info:
            traceback.print_exception(record.exc_info[1])


async def soaked(arguments: argparse.Namespace) -> int:
    soak = Soak(arguments.seed, arguments.minutes, arguments.clients)
    logging.getLogger("orbit_lite").addHandler(Errors(soak))
    sys.unraisablehook = lambda unraisable: soak.defect(f"unraisable: {unraisable.exc_value!r}")
    print(f"--seed {soak.seed} repeats what is drawn, not how it interleaves", flush=True)
    await soak.run()
    print("ended: " + ", ".join(f"{name} {count}" for name, count in soak.ends.most_common()))
    wrong = soak.verdict()
    print("\n".join(wrong) if wrong else "nothing was left behind")
    return 1 if wrong else 0


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=16, help="calls at once")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    return asyncio.run(soaked(parser.parse_args(words)))


if __name__ == "__main__":
    sys.exit(main())
