"""The demo's node processes: start, watch, kill, stop.

Each node is this program in a process of its own (`member`), on a loopback port, with its log in a folder that goes
with the demo. The founders of a replicated log must know each other's addresses before any of them runs, so ports are
chosen first; should another program take one meanwhile, all begin once more with others.

No child outlives its parent, however that ends: stdin of each is a pipe that only the parent holds open, and
`--die-with-parent` ends the node when it closes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from orbit_lite.errors import ClusterError, IoError, quote
from orbit_lite.errors import TimeoutError as LimitPassed
from orbit_lite.model import NodeId

__all__ = ["Cluster", "NodeProcess"]

_NAMESPACE = "demo"

_START_LIMIT = 60.0  # seconds for an interpreter to come up on a busy machine
_LEASE = 3.0  # seconds for which a node is believed; its accounts come up elsewhere some time after that
_STOP_GRACE = 1.5  # seconds between SIGTERM and SIGKILL; all that a node keeps goes with the demo
_LAST_WORDS = 4096  # bytes of a node's stderr that are kept


class NodeProcess:
    """A node that runs. url: its endpoint, once `ready` has returned. was_killed: by us."""

    def __init__(self, node_id: NodeId, process: asyncio.subprocess.Process) -> None:
        self.node_id = node_id
        self.url = ""
        self.was_killed = False
        self._process = process
        self._stderr = b""
        self._reader = asyncio.create_task(self._keep_last_words(), name=f"stderr of {node_id.key}")

    @classmethod
    async def start(
        cls, node_id: NodeId, endpoints: Mapping[NodeId, str], folder: Path, *, log_level: str, timeout: float
    ) -> NodeProcess:
        """Start the process. Call `ready` next, and `stop` in the end. Raises IoError.

        endpoints: of all founders, this node included. folder: for its log. timeout: seconds for the cluster to decide.
        """
        seeds = ",".join(f"{other}@{url}" for other, url in endpoints.items() if other != node_id)
        port = endpoints[node_id].rpartition(":")[2]
        arguments = ["demo-node", "--no-config", "--node-id", str(node_id), "--bind", "127.0.0.1", "--grpc-port", port]
        arguments += ["--cluster-id", f"{_NAMESPACE}-{os.getpid()}", "--data-dir", str(folder / node_id.key), "--json"]
        arguments += ["--log-level", log_level, "--log-format", "text", "--die-with-parent"]
        arguments += ["--timeout", f"{timeout:.3f}s"]
        if seeds:
            arguments += ["--seed-nodes", seeds]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ORBIT_")}
        environ |= {
            "ORBIT_RAFT": "true",
            "ORBIT_LEASE_DURATION": f"{_LEASE:g}s",
            "ORBIT_ANNOUNCE_INTERVAL": f"{_LEASE / 2:g}s",
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "orbit_lite", *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environ,
                start_new_session=True,  # a terminal's ctrl-C is for the parent, which then stops the nodes
            )
        except OSError as error:
            raise IoError(f"cannot start {sys.executable}: {error.strerror}") from error
        return cls(node_id, process)

    async def ready(self) -> None:
        """Wait until the node serves. Raises ClusterError with the node's own last words when it ends before."""
        if self._process.stdout is None:
            raise ClusterError(f"{self.node_id.key} was started without a pipe to hear from it")
        try:
            async with asyncio.timeout(_START_LIMIT):
                line = await self._process.stdout.readline()
        except TimeoutError as error:
            raise LimitPassed(f"{self.node_id.key} was not ready within {_START_LIMIT:g} s") from error
        try:
            self.url = json.loads(line)["url"]
        except (ValueError, KeyError, TypeError) as error:
            with suppress(TimeoutError):  # a signal to a process that is just ending would lose its exit status
                async with asyncio.timeout(_STOP_GRACE):
                    await self._process.wait()
            await self.stop()
            raise ClusterError(f"{self.node_id.key} {self.ending} before it was ready: {self.last_words}") from error

    @property
    def has_ended(self) -> bool:
        """True once the process is gone."""
        return self._process.returncode is not None

    @property
    def ending(self) -> str:
        """How the process ended, in words."""
        code = self._process.returncode
        if code is None:
            return "runs"
        if code >= 0:
            return f"ended with status {code}"
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"

    @property
    def last_words(self) -> str:
        """The end of what the node wrote to stderr, on one line."""
        lines = self._stderr.decode(errors="replace").split("\n")
        return quote(" / ".join(line.strip() for line in lines[-8:] if line.strip()), 1000) or "it wrote nothing"

    async def wait(self) -> None:
        """Return when the process is gone."""
        await self._process.wait()

    def kill(self) -> None:
        """SIGKILL: the node has no chance to say or write anything more. Returns at once."""
        self.was_killed = True
        with suppress(ProcessLookupError):  # it ended by itself this moment
            self._process.kill()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that takes too long; returns once the process is gone."""
        try:
            if not self.has_ended:
                self._process.terminate()
            async with asyncio.timeout(_STOP_GRACE):
                await self._process.wait()
        except ProcessLookupError:
            pass  # it ended by itself this moment
        except TimeoutError:
            self._process.kill()
        finally:
            await self._process.wait()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _keep_last_words(self) -> None:
        if self._process.stderr is not None:
            while chunk := await self._process.stderr.read(_LAST_WORDS):
                self._stderr = (self._stderr + chunk)[-_LAST_WORDS:]


class Cluster:
    """`count` nodes on this machine, from `async with` to its end.

    progress: is told each step in words. `lost` is set as soon as so many nodes have ended that no majority is left.
    """

    def __init__(
        self, count: int, *, log_level: str = "warn", timeout: float = 8.0, progress: Callable[[str], None]
    ) -> None:
        self.nodes: list[NodeProcess] = []
        self.lost = asyncio.Event()
        self._count = count
        self._log_level = log_level
        self._timeout = timeout
        self._progress = progress
        self._folder = tempfile.TemporaryDirectory(prefix="orbit-demo-", ignore_cleanup_errors=True)
        self._watchers: list[asyncio.Task[None]] = []

    @property
    def alive(self) -> list[NodeProcess]:
        """Nodes that run."""
        return [node for node in self.nodes if not node.has_ended]

    @property
    def losses(self) -> list[str]:
        """Nodes that ended and were not meant to, in words."""
        return [
            f"{node.node_id.key} {node.ending}: {node.last_words}"
            for node in self.nodes
            if node.has_ended and not node.was_killed
        ]

    async def __aenter__(self) -> Self:
        try:
            try:
                await self._start()
            except ClusterError:
                await self._stop()
                self.nodes.clear()
                await self._start()
        except BaseException:
            await self._stop()
            self._folder.cleanup()
            raise
        for node in self.nodes:
            self._progress(f"{node.node_id.key} serves at {node.url}")
            self._watchers.append(asyncio.create_task(self._watch(node), name=f"watch {node.node_id.key}"))
        return self

    async def _start(self) -> None:
        ids = [NodeId(f"node-{number}", _NAMESPACE) for number in range(1, self._count + 1)]
        endpoints = {
            node_id: f"http://127.0.0.1:{port}" for node_id, port in zip(ids, _free_ports(len(ids)), strict=True)
        }
        for node_id in ids:
            node = await NodeProcess.start(
                node_id, endpoints, Path(self._folder.name), log_level=self._log_level, timeout=self._timeout
            )
            self.nodes.append(node)
        await asyncio.gather(*(node.ready() for node in self.nodes))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()
        self._folder.cleanup()

    async def _watch(self, node: NodeProcess) -> None:
        await node.wait()
        if 2 * len(self.alive) <= self._count:
            self.lost.set()

    async def _stop(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*(node.stop() for node in self.nodes), *self._watchers, return_exceptions=True)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has at this moment."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
