"""One side of one contender as a process: reads commands as JSON lines on stdin, answers each with a line on stdout.

    python -m benchmarks.side orbit-lite server

Its CPU time is `time.process_time()`, all its threads included. It ends when stdin does.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.contender import BenchClient, BenchServer, Held

#: Where each contender's two classes are.
CONTENDERS = {
    "orbit-lite": ("benchmarks.orbit_side", "OrbitServer", "OrbitClient"),
    "grpclib": ("benchmarks.grpclib_side", "GrpclibServer", "GrpclibClient"),
    "grpc.aio": ("benchmarks.grpcio_side", "AioServer", "AioClient"),
    "grpcio": ("benchmarks.grpcio_side", "SyncServer", "SyncClient"),
    "put": ("benchmarks.raft_side", "", "PutClient"),
    "asyncio echo": ("benchmarks.echo_side", "EchoServer", "EchoClient"),
}
Command = Callable[..., Awaitable[Any]]


def resident() -> int:
    """Bytes of memory this process has; where there is no /proc, the most it ever had."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


async def usage(collect: bool = False) -> dict[str, float]:
    if collect:
        gc.collect()
        gc.collect()
    return {"cpu": time.process_time(), "rss": resident()}


async def sockets() -> int | None:
    """Sockets that this process has open, whatever its library says; None where there is no /proc."""
    try:
        descriptors = list(os.scandir("/proc/self/fd"))
    except OSError:
        return None
    count = 0
    for descriptor in descriptors:
        try:
            count += os.readlink(descriptor.path).startswith("socket:")
        except OSError:  # the one that listed the others
            continue
    return count


class ServerSide:
    def __init__(self, server: BenchServer) -> None:
        self.server = server

    def commands(self) -> dict[str, Command]:
        return {"start": self.server.start, "stop": self.server.stop, "usage": usage, "sockets": sockets}


class ClientSide:
    """One set of connections at a time."""

    def __init__(self, make: Callable[[], BenchClient]) -> None:
        self.make = make
        self.client = make()
        self.held: list[Held] = []

    def commands(self) -> dict[str, Command]:
        return {
            "connect": self.connect,
            "run": self.run,
            "chat": self.chat,
            "hold": self.hold,
            "close": self.close,
            "usage": usage,
        }

    async def connect(self, port: int, connections: int, pool: int | None) -> None:
        """Every connection makes a call, so that none is idle because nothing was sent yet."""
        await self.client.connect(port, connections, pool)
        await self.client.once()

    async def run(self, work: str, in_flight: int, seconds: float, size: int) -> dict[str, float]:
        return await self.client.run(work, in_flight, seconds, size)

    async def chat(self, seconds: float) -> dict[str, float]:
        return await self.client.chat(seconds)

    async def hold(self, count: int) -> None:
        self.held.append(await self.client.hold(count))

    async def close(self) -> None:
        for held in self.held:
            await held.release()
        self.held.clear()
        await self.client.close()
        self.client = self.make()


async def serve(commands: dict[str, Command]) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        request = json.loads(line)
        result = await commands[request.pop("do")](**request)
        print(json.dumps(result), flush=True)


async def main() -> None:
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    contender, role = sys.argv[1:]
    module, server, client = CONTENDERS[contender]
    found = importlib.import_module(module)
    side = ServerSide(getattr(found, server)()) if role == "server" else ClientSide(getattr(found, client))
    await serve(side.commands())
    sys.stdout.flush()
    os._exit(0)  # nothing to save, and a thousand connections to abandon


if __name__ == "__main__":
    asyncio.run(main())
