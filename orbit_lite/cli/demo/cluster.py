"""The demo's node processes: start, watch, stop.

Each node is this program's `serve` in a process of its own, on a loopback port that the system picks and the node
tells in its ready line. Nodes start one after the other, each with the addresses of those before it: no port is
reserved and lost again, and since an announcement tells both sides who the other is, every node comes to know every
other.

No child outlives its parent, however that ends: stdin of each is a pipe that only the parent holds open, and `serve
--die-with-parent` ends the node when it closes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from orbit_lite.errors import ClusterError, IoError, quote
from orbit_lite.errors import TimeoutError as LimitPassed
from orbit_lite.model import NodeId, NodeStatus
from orbit_lite.rpc import Channel
from orbit_lite.services import AdminClient

__all__ = ["Cluster", "NodeProcess"]

_NAMESPACE = "demo"

_START_LIMIT = 60.0  # seconds for an interpreter to come up on a busy machine
_MEET_LIMIT = 30.0  # seconds until every node knows every other
_STOP_GRACE = 5.0  # seconds between SIGTERM and SIGKILL
_LAST_WORDS = 4096  # bytes of a node's stderr that are kept


class NodeProcess:
    """A running `orbit-lite serve`. url: its endpoint, once `ready` has returned."""

    def __init__(self, node_id: NodeId, process: asyncio.subprocess.Process) -> None:
        self.node_id = node_id
        self.url = ""
        self._process = process
        self._stderr = b""
        self._reader = asyncio.create_task(self._keep_last_words(), name=f"stderr of {node_id.key}")

    @classmethod
    async def start(cls, node_id: NodeId, seeds: list[NodeProcess], *, log_level: str) -> NodeProcess:
        """Start the process. Call `ready` next, and `stop` in the end. Raises IoError."""
        arguments = ["serve", "--no-config", "--node-id", str(node_id), "--bind", "127.0.0.1", "--grpc-port", "0"]
        arguments += ["--actors", "orbit_lite.cli.demo.bank", "--cluster-id", f"{_NAMESPACE}-{os.getpid()}", "--json"]
        arguments += ["--log-level", log_level, "--log-format", "text", "--die-with-parent"]
        if seeds:
            arguments += ["--seed-nodes", ",".join(f"{seed.node_id}@{seed.url}" for seed in seeds)]
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "orbit_lite", *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={name: value for name, value in os.environ.items() if not name.startswith("ORBIT_")},
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

    progress: is told each step in words. `lost` is set as soon as a node ends that was not stopped.
    """

    def __init__(self, count: int, *, log_level: str = "warn", progress: Callable[[str], None]) -> None:
        self.nodes: list[NodeProcess] = []
        self.lost = asyncio.Event()
        self._count = count
        self._log_level = log_level
        self._progress = progress
        self._watchers: list[asyncio.Task[None]] = []

    @property
    def urls(self) -> list[str]:
        """Endpoints of all nodes."""
        return [node.url for node in self.nodes]

    async def __aenter__(self) -> Self:
        try:
            for number in range(1, self._count + 1):
                node_id = NodeId(f"node-{number}", _NAMESPACE)
                node = await NodeProcess.start(node_id, list(self.nodes), log_level=self._log_level)
                self.nodes.append(node)
                await node.ready()
                self._progress(f"{node_id.key} serves at {node.url}")
                self._watchers.append(asyncio.create_task(self._watch(node), name=f"watch {node_id.key}"))
            await self._meet()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _watch(self, node: NodeProcess) -> None:
        await node.wait()
        self.lost.set()

    async def _stop(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*(node.stop() for node in self.nodes), *self._watchers, return_exceptions=True)

    async def _meet(self) -> None:
        """Wait until every node sees every node ACTIVE."""
        try:
            async with asyncio.timeout(_MEET_LIMIT):
                for node in self.nodes:
                    async with Channel.from_url(node.url) as channel:
                        while await self._count_active(AdminClient(channel)) < self._count:
                            self._raise_if_lost()
                            await asyncio.sleep(0.05)
        except TimeoutError as error:
            self._raise_if_lost()
            raise LimitPassed(f"the nodes did not all find each other within {_MEET_LIMIT:g} s") from error
        self._progress(f"all {self._count} nodes know each other")

    async def _count_active(self, admin: AdminClient) -> int:
        views = await admin.nodes(timeout=_MEET_LIMIT)
        return sum((view.is_self or view.reachable) and view.node.status is NodeStatus.ACTIVE for view in views)

    def _raise_if_lost(self) -> None:
        for node in self.nodes:
            if node.has_ended:
                raise ClusterError(f"{node.node_id.key} {node.ending}: {node.last_words}")
