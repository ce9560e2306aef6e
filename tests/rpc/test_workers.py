"""Worker processes on one port, with a real parent in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orbit_lite.errors import ConfigurationError, IoError, OrbitError
from orbit_lite.rpc import BlockingChannel, Worker, run_workers
from orbit_proto.grpc.health.v1 import HealthCheckRequest, HealthStub

PATIENCE = 30.0  # seconds that a test waits for what must happen; never reached
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals to processes")

# A worker that is asked "who" answers with an error, whose text has its number and process.
PROGRAM = """
import asyncio, logging, os, sys
from orbit_lite.rpc import NotFound, Server, run_workers
from orbit_proto.grpc.health.v1 import HealthBase, HealthCheckResponse

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # at once, so that lines of processes do not mix

class Health(HealthBase):
    def __init__(self, worker):
        self.worker = worker

    async def check(self, request):
        if request.service == "who":
            raise NotFound(f"{self.worker.index} {os.getpid()}")
        if request.service == "slow":
            say("slow")
            await self.worker.stopping()
            await asyncio.sleep(0.2)
        return HealthCheckResponse(status=1)

async def main(worker):
    if "fails" in sys.argv:
        raise LookupError("not today")
    async with Server([Health(worker)]) as server:
        await server.start(sock=worker.sock)
        say("up", worker.index, os.getpid(), worker.port)
        await worker.stopping()
        if "stuck" in sys.argv:
            await asyncio.Event().wait()
        result = await server.drain(5.0)
        say("drained", worker.index, result.finished, result.cancelled)

if __name__ == "__main__":
    logging.basicConfig(format="log %(message)s", stream=sys.stdout)
    if "unshared" in sys.argv:
        import socket
        del socket.SO_REUSEPORT
    run_workers(
        main, workers=2, host="127.0.0.1", start_method=sys.argv[1], grace=float(sys.argv[2]),
        on_bound=lambda port: say("bound", port),
    )
    say("over")
"""


class Parent:
    """The program in a process, and what it says."""

    def __init__(self, script: Path, *arguments: str) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "gen"), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(script), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,
        )
        self.pids: dict[int, int] = {}
        self.port = 0
        self._lines: deque[str] = deque()
        self._changed = threading.Condition()
        self._is_over = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line.strip())
                self._changed.notify_all()
        with self._changed:
            self._is_over = True  # all who could write have ended: the workers too
            self._changed.notify_all()

    def hears(self, start: str) -> str:
        """The next line that begins so; others stay for later."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: self._is_over or any(line.startswith(start) for line in self._lines), PATIENCE
            )
            line = next((line for line in self._lines if line.startswith(start)), None)
            assert line is not None, (start, list(self._lines))
            self._lines.remove(line)
        return line

    def is_up(self, count: int = 2) -> None:
        """Wait for workers to serve."""
        for _ in range(count):
            index, pid, self.port = map(int, self.hears("up").split()[1:])
            self.pids[index] = pid

    def ends(self) -> int:
        """The exit code, when the parent and its workers have ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._is_over, PATIENCE)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in self.pids.values():
            if not is_gone(pid):
                os.kill(pid, signal.SIGKILL)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Parent]]:
    made: list[Parent] = []

    def start(*options: str, method: str = "fork", grace: float = PATIENCE) -> Parent:
        script = tmp_path / "program.py"
        script.write_text(PROGRAM)
        made.append(Parent(script, method, str(grace), *options))
        return made[-1]

    yield start
    for parent in made:
        parent.close()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def who_answers(port: int) -> int:
    """The process that serves a new connection."""
    with BlockingChannel("127.0.0.1", port) as channel:
        try:
            channel.stub(HealthStub).check(HealthCheckRequest(service="who"), timeout=PATIENCE)
        except OrbitError as error:
            return int(error.message.split()[-1])
    raise AssertionError


def all_who_answer(port: int, expected: set[int]) -> set[int]:
    """Processes that serve new connections, until all expected have been met."""
    found: set[int] = set()
    end = time.monotonic() + PATIENCE
    while not expected <= found and time.monotonic() < end:
        found.add(who_answers(port))
    return found


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_all_workers_serve_one_port_that_was_free_and_stop_by_signal(start: Callable[..., Parent], method: str) -> None:
    parent = start(method=method)
    port = int(parent.hears("bound").split()[1])
    parent.is_up()
    assert parent.port == port > 0
    # Which worker takes a connection is the kernel's choice; only Linux spreads them.
    assert all_who_answer(port, set(parent.pids.values()) if sys.platform == "linux" else set()) <= {
        *parent.pids.values()
    }
    parent.process.send_signal(signal.SIGTERM)
    assert parent.ends() == 0
    assert parent.hears("drained 0")
    assert parent.hears("drained 1")
    assert parent.hears("over")


def test_a_killed_worker_is_started_again_and_calls_go_on(start: Callable[..., Parent]) -> None:
    parent = start()
    parent.is_up()
    first = parent.pids[0]
    os.kill(first, signal.SIGKILL)
    parent.is_up(1)
    assert parent.hears(f"log worker 0, process {first}, ended with -9: starting it again in")
    assert parent.pids[0] != first
    pids = set(parent.pids.values())
    assert first not in all_who_answer(parent.port, pids if sys.platform == "linux" else set())


def test_ctrl_c_for_the_whole_group_lets_calls_finish(start: Callable[..., Parent]) -> None:
    parent = start()
    parent.is_up()
    replies: list[int] = []

    def call() -> None:
        with BlockingChannel("127.0.0.1", parent.port) as channel:
            replies.append(channel.stub(HealthStub).check(HealthCheckRequest(service="slow"), timeout=PATIENCE).status)

    thread = threading.Thread(target=call)
    thread.start()
    parent.hears("slow")
    os.killpg(parent.process.pid, signal.SIGINT)
    assert parent.ends() == 0
    thread.join(PATIENCE)
    assert replies == [1]
    assert sorted(parent.hears("drained").split()[2:] for _ in range(2)) == [["0", "0"], ["1", "0"]]


def test_a_worker_that_does_not_stop_is_killed_after_the_grace(start: Callable[..., Parent]) -> None:
    parent = start("stuck", grace=0.2)
    parent.is_up()
    parent.process.send_signal(signal.SIGTERM)
    assert parent.ends() == 0
    assert parent.hears("log worker 0 did not end in time: killed")
    assert parent.hears("log worker 1 did not end in time: killed")


def test_workers_end_with_their_parent(start: Callable[..., Parent]) -> None:
    """Also the first one, of whose pipe the second might have kept the other end."""
    parent = start()
    parent.is_up()
    parent.process.kill()
    assert parent.ends() == -signal.SIGKILL
    assert parent.hears("drained 0")
    assert parent.hears("drained 1")


def test_orphans_that_do_not_stop_end_after_the_grace(start: Callable[..., Parent]) -> None:
    parent = start("stuck", grace=0.2)
    parent.is_up()
    parent.process.kill()
    assert parent.ends() == -signal.SIGKILL


def test_a_worker_that_fails_is_logged_and_tried_again_later_and_later(start: Callable[..., Parent]) -> None:
    parent = start("fails")
    assert parent.hears("log worker 0 failed")
    assert parent.hears("LookupError: not today")
    delays = [float(parent.hears("log worker 1, process").split()[-2]) for _ in range(4)]
    assert delays[0] < delays[-1]
    parent.process.send_signal(signal.SIGTERM)
    assert parent.ends() == 0


def test_without_reuse_port_one_worker_serves(start: Callable[..., Parent]) -> None:
    parent = start("unshared")
    assert parent.hears("log no SO_REUSEPORT on this platform: 1 worker instead of 2")
    parent.is_up(1)
    assert who_answers(parent.port) == parent.pids[0]
    os.kill(parent.pids[0], signal.SIGKILL)
    parent.is_up(1)
    assert who_answers(parent.port) == parent.pids[0]
    parent.process.send_signal(signal.SIGTERM)
    assert parent.ends() == 0


async def nothing(worker: Worker) -> None:
    pass


def test_a_port_that_is_taken_is_an_io_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(IoError, match="cannot listen"):
        run_workers(nothing, workers=1, host="127.0.0.1", port=taken.getsockname()[1])


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="workers=0"):
        run_workers(nothing, workers=0)

    async def main() -> None:
        run_workers(nothing, workers=1)

    with pytest.raises(ConfigurationError, match="coroutine"):
        asyncio.run(main())

    errors: list[ConfigurationError] = []

    def run() -> None:
        try:
            run_workers(nothing, workers=1)
        except ConfigurationError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert "main thread" in errors[0].message
