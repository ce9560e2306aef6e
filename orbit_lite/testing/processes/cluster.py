"""Nodes as processes on loopback: started, killed, stopped and continued by signals. Linux and other POSIX systems."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from betterproto.lib.google.protobuf import BytesValue

import orbit_lite
import orbit_proto
from orbit_lite.errors import OrbitError
from orbit_lite.rpc import Channel
from orbit_lite.testing.processes.node import LEADERSHIPS
from orbit_lite.testing.processes.service import DIGEST, STATUS

__all__ = ["ClusterFailed", "NodeProcess", "ProcessCluster"]

HOST = "127.0.0.1"
STATUS_TIMEOUT = 0.5  # seconds
PAUSE = 0.02  # seconds between two looks at the nodes
LAST_WORDS = 500  # characters of a node's log that an error shows
END_GRACE = 10.0  # seconds that a node has for its end


class ClusterFailed(Exception):
    """Processes did not do in time what was waited for; says what they last said."""


def _path(folders: Sequence[Path]) -> str:
    """Where a node finds our packages; not the rest of this process's path, since its interpreter may be another."""
    ours = [str(Path(package.__path__[0]).parent) for package in (orbit_lite, orbit_proto)]
    theirs = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return os.pathsep.join(dict.fromkeys([*ours, *map(str, folders), *theirs]))


class NodeProcess:
    """One node: a process, or none for the time being, and a folder that outlives it."""

    def __init__(
        self,
        name: str,
        address: str,
        folder: Path,
        command: Sequence[str],
        prefix: Sequence[str],
        *,
        path: Sequence[Path] = (),
    ) -> None:
        """prefix: what runs the command, if something does. path: folders in which it finds its modules, besides."""
        self.name = name
        self.address = address
        self.folder = folder
        self.is_suspended = False
        self._command = [*prefix, *command]
        self._path = path
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None

    def __repr__(self) -> str:
        state = "down" if not self.is_running else "suspended" if self.is_suspended else "up"
        return f"<{type(self).__name__} {self.name} {self.address} {state}>"

    @property
    def is_running(self) -> bool:
        """Whether there is a process, suspended or not."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """Raises ClusterFailed when there is no process."""
        if self._child is None:
            raise ClusterFailed(f"{self.name} is not running")
        return self._child.pid

    @property
    def log(self) -> Path:
        """What all its lives wrote on stderr."""
        return self.folder.with_suffix(".log")

    def start(self) -> None:
        if self.is_running:
            return
        environment = {**os.environ, "PYTHONPATH": _path(self._path)}
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603  # our own program
                self._command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nobody is told. Returns when the process is gone."""
        self._signal(signal.SIGKILL)
        self._reap()

    def suspend(self) -> None:
        """SIGSTOP: it answers nothing, its connections stay."""
        self._signal(signal.SIGSTOP)
        self.is_suspended = True

    def resume(self) -> None:
        self._signal(signal.SIGCONT)
        self.is_suspended = False

    def wipe(self) -> None:
        """Lose the folder; the process must not be running."""
        shutil.rmtree(self.folder)

    def end(self) -> None:
        """Ask it to end, and kill it if it does not."""
        if self._child is not None and self.is_running:
            self.resume()
            self._signal(signal.SIGTERM)
            try:
                self._child.wait(END_GRACE)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
        self._reap()

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)

    def _reap(self) -> None:
        child, self._child = self._child, None
        self.is_suspended = False
        if child is not None:
            child.wait()
            if child.stdin is not None:
                child.stdin.close()

    # ------------------------------------------------------------ what it says

    async def status(self) -> dict[str, Any] | None:
        """As service.py has it; None when it does not answer."""
        reply = await self._ask(STATUS)
        return None if reply is None else json.loads(reply)

    async def digest(self) -> bytes | None:
        """Of its state machine; None when it does not answer."""
        return await self._ask(DIGEST)

    async def _ask(self, path: str) -> bytes | None:
        if not self.is_running or self.is_suspended:
            return None
        if self._channel is None:
            self._channel = Channel.from_url(self.address)
        try:
            if not self._channel.is_connected:
                await self._channel.connect()  # at once: of itself the channel waits longer and longer
            reply = await self._channel.unary_unary(path, BytesValue(), BytesValue, timeout=STATUS_TIMEOUT)
        except OrbitError:
            return None
        return bytes(reply.value)

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-LAST_WORDS:] if self.log.exists() else ""

    def leaderships(self) -> list[int]:
        """The terms in which it led, as it has noted itself."""
        path = self.folder / LEADERSHIPS
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    async def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            await self._channel.wait_closed()
            self._channel = None


class ProcessCluster:
    """`async with ProcessCluster(folder, 3) as cluster`: all nodes are up and one of them leads; at the end none is."""

    def __init__(
        self,
        folder: Path,
        nodes: int = 3,
        *,
        config: Mapping[str, float] | None = None,
        module: str = "orbit_lite.testing.processes.node",
        path: Sequence[Path] = (),
        python: str = sys.executable,
        addresses: Sequence[str] = (),
        prefixes: Sequence[Sequence[str]] = (),
    ) -> None:
        """config: fields of RaftConfig. module: what a node runs; path: folders in which it is found, if need be.

        addresses: of the nodes, if they are not on loopback. prefixes: of commands.
        """
        self._reserved = [] if addresses else [reserve() for _ in range(nodes)]
        found = addresses or [f"{HOST}:{held.getsockname()[1]}" for held in self._reserved]
        names = [f"n{number + 1}" for number in range(nodes)]
        members = [f"--member={name}={address}" for name, address in zip(names, found, strict=True)]
        options = [*members, "--config", json.dumps(dict(config or {}))]
        folder.mkdir(parents=True, exist_ok=True)
        self.nodes = [
            NodeProcess(
                name,
                address,
                folder / name,
                [python, "-m", module, "--node", name, "--folder", str(folder / name), *options],
                prefixes[number] if prefixes else (),
                path=path,
            )
            for number, (name, address) in enumerate(zip(names, found, strict=True))
        ]

    async def __aenter__(self) -> Self:
        try:
            self.start()
            await self.leader()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def start(self) -> None:
        """All that are not running."""
        for node in self.nodes:
            node.start()

    async def close(self) -> None:
        """Every process ends; what they wrote stays."""
        for node in self.nodes:
            await node.close()
        await asyncio.gather(*(asyncio.to_thread(node.end) for node in self.nodes))
        for held in self._reserved:
            held.close()
        self._reserved.clear()

    @property
    def addresses(self) -> list[str]:
        return [node.address for node in self.nodes]

    # ------------------------------------------------------------ what they say

    async def statuses(self) -> dict[str, dict[str, Any]]:
        """Of all that answer, by name."""
        found = await asyncio.gather(*(node.status() for node in self.nodes))
        return {node.name: status for node, status in zip(self.nodes, found, strict=True) if status is not None}

    async def leader(self, *, beyond: int = 0, timeout: float = 20.0) -> NodeProcess:
        """The one that leads in a term above `beyond`. Raises ClusterFailed."""

        def leads(statuses: Mapping[str, dict[str, Any]]) -> NodeProcess | None:
            leading = [node for node in self.nodes if is_leader(statuses.get(node.name), beyond)]
            return max(leading, key=lambda node: int(statuses[node.name]["term"]), default=None)

        found: NodeProcess = await self.until(leads, "a leader", timeout=timeout)
        return found

    async def level(self, *, timeout: float = 30.0) -> None:
        """Return when all nodes have applied the same and none has failed. Raises ClusterFailed.

        Nobody may write meanwhile. Raises ClusterFailed, too, when their states differ.
        """

        def is_level(statuses: Mapping[str, dict[str, Any]]) -> bool | None:
            applied = {status["applied"] for status in statuses.values()} | {
                status["last_index"] for status in statuses.values()
            }
            well = not any(status["failure"] or status["fault"] for status in statuses.values())
            return (len(statuses) == len(self.nodes) and len(applied) == 1 and well) or None

        await self.until(is_level, "all nodes at the same entry", timeout=timeout)
        digests = await asyncio.gather(*(node.digest() for node in self.nodes))
        if len(set(digests)) > 1:
            raise ClusterFailed(f"equal logs gave different states: {digests}")

    async def until(
        self, found: Callable[[Mapping[str, dict[str, Any]]], Any], what: str, *, timeout: float = 20.0
    ) -> Any:
        """What `found` gives of the statuses, as soon as that is not None. Raises ClusterFailed."""
        statuses: dict[str, dict[str, Any]] = {}
        try:
            async with asyncio.timeout(timeout):
                while True:
                    statuses = await self.statuses()
                    if (result := found(statuses)) is not None:
                        return result
                    await asyncio.sleep(PAUSE)
        except TimeoutError as error:
            words = "".join(f"\n{node.name}: {node.last_words()}" for node in self.nodes if not node.is_running)
            raise ClusterFailed(f"waited {timeout:g} s for {what}; {self.nodes}: {statuses}{words}") from error

    def leaderships(self) -> dict[int, list[str]]:
        """Who led in each term: two in one would break Election Safety (Raft §5.2)."""
        found: dict[int, list[str]] = {}
        for node in self.nodes:
            for term in node.leaderships():
                found.setdefault(term, []).append(node.name)
        return dict(sorted(found.items()))


def is_leader(status: Mapping[str, Any] | None, beyond: int) -> bool:
    return status is not None and bool(status["is_leader"]) and int(status["term"]) > beyond


def reserve() -> socket.socket:
    """A free port of loopback that nobody else is given while this is open; a node may listen on it."""
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((HOST, 0))
    return held
