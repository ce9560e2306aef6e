"""Serves methods for attacks on memory, in a process of its own: prints the port, ends when its input ends."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality, Handler

from orbit_lite.rpc import Server

REPLY = StringValue("x" * (1 << 20))


class Target:
    """Echo, an answer of one mebibyte, and a handler that never reads."""

    async def echo(self, call: Any) -> None:
        """The request again."""
        await call.send_message(await call.recv_message())

    async def big(self, call: Any) -> None:
        """A mebibyte, always the same object."""
        await call.recv_message()
        await call.send_message(REPLY)

    async def deaf(self, call: Any) -> None:
        """Waits for ever."""
        await asyncio.Event().wait()

    def __mapping__(self) -> dict[str, Handler]:
        kinds = {
            "Echo": (self.echo, Cardinality.UNARY_UNARY),
            "Big": (self.big, Cardinality.UNARY_UNARY),
            "Deaf": (self.deaf, Cardinality.STREAM_STREAM),
        }
        return {
            f"/test.Target/{name}": Handler(func, kind, StringValue, StringValue)
            for name, (func, kind) in kinds.items()
        }


async def main() -> None:
    """Serve until standard input ends."""
    async with Server([Target()]) as server:
        await server.start("127.0.0.1", 0)
        print(server.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
