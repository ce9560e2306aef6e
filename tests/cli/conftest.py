"""The program, as a function call and as a process, and a node to ask."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from orbit_lite.cli.main import main

ACTORS = """
import asyncio

from orbit_lite.actors import actor
from orbit_lite.errors import InvocationFailed


@actor("Echo")
class Echo:
    async def echo(self, *args):
        return list(args)

    async def key(self):
        return [self.context.key.kind.name, self.context.key.value]

    async def refuse(self):
        raise InvocationFailed.because("not today 🙅")

    async def wait(self, seconds):
        await asyncio.sleep(seconds)
"""


@dataclass(frozen=True)
class Outcome:
    """How a run of the program ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)


Orbit: TypeAlias = Callable[..., Outcome]


@pytest.fixture
def orbit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Orbit:
    """Run the program within this process."""
    for name in list(os.environ):
        if name.startswith("ORBIT_"):
            monkeypatch.delenv(name)

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Outcome(status, *capsys.readouterr())

    return run


Process: TypeAlias = "subprocess.Popen[str]"
Start: TypeAlias = Callable[..., Process]


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    """Start the program as a process of its own; what still runs in the end is killed."""
    running: list[Process] = []
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job that a shell put into the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # children inherit only that it is not ignored

    def start_one(*arguments: object, modules: Path | None = None) -> Process:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ORBIT_")}
        if modules is not None:
            environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(modules), environ.get("PYTHONPATH")]))
        process = subprocess.Popen(
            [sys.executable, "-m", "orbit_lite", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            encoding="utf-8",
        )
        running.append(process)
        return process

    yield start_one
    for process in running:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def serving(start: Start, folder: Path, *options: object) -> Iterator[dict[str, Any]]:
    (folder / "echo_actors.py").write_text(ACTORS, encoding="utf-8")
    process = start(
        *("serve", "--no-config", "-p", 0, "--json", "--actors", "echo_actors", "--die-with-parent", *options),
        modules=folder,
    )
    assert process.stdout is not None
    ready = process.stdout.readline()
    if not ready:
        pytest.fail(f"no node: {process.communicate()[1]}")
    yield json.loads(ready)
    process.terminate()
    process.communicate(timeout=20)


@pytest.fixture(scope="session")
def node(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The ready line of a node that hosts the actor type Echo; tests must leave it serving."""
    with serving(start, tmp_path_factory.mktemp("actors"), "--node-id", "test:one") as ready:
        yield ready


@pytest.fixture
def own_node(start: Start, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A node like `node` for one test, which may do with it as it likes."""
    with serving(start, tmp_path) as ready:
        yield ready


@dataclass(frozen=True)
class RaftNode:
    """A node with `raft.enabled` that is to serve at `url`; its data_dir is `folder`."""

    name: str
    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


StartRaft: TypeAlias = Callable[..., Process]


@pytest.fixture(scope="session")
def start_raft(start: Start) -> StartRaft:
    """Start a node of a cluster, and wait until it serves. seeds: the founders, or those to ask when it joins."""

    def start_one(
        node: RaftNode, seeds: Iterable[RaftNode] = (), *, cluster_id: str = "default", join: bool = False
    ) -> Process:
        node.folder.mkdir(parents=True, exist_ok=True)
        file = node.folder / "node.toml"
        others = [f"{seed.name}@{seed.url}" for seed in seeds if seed is not node]
        file.write_text(
            f"""
            [server]
            node_id = {json.dumps(node.name)}
            data_dir = {json.dumps(str(node.folder))}
            [protocols.grpc]
            port = {node.port}
            [cluster]
            id = {json.dumps(cluster_id)}
            seed_nodes = {json.dumps(others)}
            [raft]
            enabled = true
            join = {json.dumps(join)}
            election_timeout_min = "500ms"
            election_timeout_max = "1s"
            heartbeat_interval = "100ms"
            [logging]
            level = "error"
            """,
            encoding="utf-8",
        )
        process = start("serve", "-c", file, "--json", "--die-with-parent")
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.fail(f"no node: {process.communicate()[1]}")
        return process

    return start_one


MakeNodes: TypeAlias = Callable[..., list[RaftNode]]


@pytest.fixture(scope="session")
def make_nodes() -> MakeNodes:
    """Nodes with these names, each with a free port and a folder below the given one; none is started."""

    def make(folder: Path, *names: str) -> list[RaftNode]:
        taken = [socket.create_server(("127.0.0.1", 0)) for _ in names]
        nodes = [
            RaftNode(name, listener.getsockname()[1], folder / name)
            for name, listener in zip(names, taken, strict=True)
        ]
        for listener in taken:
            listener.close()
        return nodes

    return make


LeaderOf: TypeAlias = Callable[..., RaftNode]


@pytest.fixture
def leader_of(orbit: Orbit) -> LeaderOf:
    """The one of these nodes that leads; waits for an election, bounded by the test's time limit."""

    def find(*nodes: RaftNode) -> RaftNode:
        while True:
            for node in nodes:
                told = orbit("raft", "status", "-e", node.url, "--json")
                if told.status == 0 and told.document["role"] == "leader":
                    return node
            time.sleep(0.05)

    return find
