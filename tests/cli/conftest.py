"""The program, as a function call and as a process, and a node to ask."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
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
