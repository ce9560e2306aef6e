"""grpc-js in a process of its own, asked by lines of JSON: see peer.js."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

__all__ = ["Peer", "missing", "running"]

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MODULES = ROOT / ".cache" / "grpc-js" / "node_modules"
#: Bytes of one line: a reply of 17 MiB has to fit.
LONGEST_LINE = 64 << 20


def missing() -> str | None:
    """Why there is no grpc-js here."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (MODULES / "@grpc" / "grpc-js").is_dir():
        return "grpc-js is not installed: `nox -s interop` brings it by npm"
    return None


class Peer:
    """The process. on_event: told the service's events, see conftest's Watch."""

    def __init__(self, process: asyncio.subprocess.Process, on_event: Callable[[str], None]) -> None:
        self._process = process
        self._on_event = on_event
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Have a command carried out. The answer holds the command's id."""
        number = next(self._ids)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "do": do, **arguments}).encode() + b"\n")
        await self._process.stdin.drain()
        answer = await self._waiting[number]
        assert "error" not in answer, answer["error"]
        return answer

    async def read_answers(self) -> None:
        """Until the process ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            answer = json.loads(line)
            if "event" in answer:
                self._on_event(answer["event"])
            else:
                self._waiting.pop(answer["id"]).set_result(answer)
        for waiting in self._waiting.values():
            waiting.set_exception(EOFError("node has ended"))


@asynccontextmanager
async def running(on_event: Callable[[str], None] = lambda event: None) -> AsyncIterator[Peer]:
    """A new process, which ends with the block."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "node",
        str(HERE / "peer.js"),
        str(ROOT / "schema"),
        stdin=pipe,
        stdout=pipe,
        limit=LONGEST_LINE,
        env={**os.environ, "NODE_PATH": str(MODULES)},
    )
    peer = Peer(process, on_event)
    reading = asyncio.create_task(peer.read_answers())
    try:
        yield peer
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        await reading
