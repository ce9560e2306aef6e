"""gen/orbit_proto: importable one package at a time, without warnings, and equal to what scripts/generate writes."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import orbit_proto
from orbit_lite.rpc import Channel, Server
from orbit_proto.grpc.health.v1 import HealthBase, HealthCheckRequest, HealthCheckResponse, HealthStub
from orbit_proto.grpc.reflection.v1 import (
    ServerReflectionBase,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServerReflectionStub,
)

ROOT = Path(__file__).parents[2]
PACKAGES = [
    "google.rpc",
    "grpc.health.v1",
    "grpc.reflection.v1",
    "grpc.reflection.v1alpha",
    "orbit.consensus",
    "orbit.lite",
    "orbit.shared",
    "orbit.transactions",
]


def test_each_package_loads_alone_without_a_warning() -> None:
    needs = {"orbit.lite": {"orbit.shared"}}
    for package in PACKAGES:
        program = f"import sys, orbit_proto.{package}; print(*(m for m in sys.modules if m.startswith('orbit_proto.')))"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(Path(orbit_proto.__file__).parents[1])},
        )
        assert done.stderr == ""
        loaded = {name.removeprefix("orbit_proto.") for name in done.stdout.split()}
        assert loaded & set(PACKAGES) == {package} | needs.get(package, set())


class EndlessHealth(HealthBase):
    """A stream that only its caller ends."""

    async def watch(self, health_check_request: HealthCheckRequest) -> AsyncIterator[HealthCheckResponse]:
        while True:
            yield HealthCheckResponse()


class EndlessReflection(ServerReflectionBase):
    """The same with requests."""

    async def server_reflection_info(
        self, server_reflection_request_iterator: AsyncIterator[ServerReflectionRequest]
    ) -> AsyncIterator[ServerReflectionResponse]:
        async for _ in server_reflection_request_iterator:
            yield ServerReflectionResponse()


async def no_end() -> AsyncIterator[ServerReflectionRequest]:
    while True:
        yield ServerReflectionRequest()


@pytest.mark.parametrize(
    "call",
    [
        lambda channel: HealthStub(channel).watch(HealthCheckRequest()),
        lambda channel: ServerReflectionStub(channel).server_reflection_info(no_end()),
    ],
    ids=["server-streaming", "bidirectional"],
)
async def test_a_stream_that_is_closed_early_ends_its_call_at_once(call: Callable[[Channel], Any]) -> None:
    """Not when the garbage collector comes to it, nor in a task of which nobody knows."""
    async with Server([EndlessHealth(), EndlessReflection()]) as server:
        await server.start("127.0.0.1", 0)
        async with Channel("127.0.0.1", server.port or 0) as channel:
            replies = call(channel)
            await anext(replies)
            assert channel.open_streams == 1
            await replies.aclose()
            assert channel.open_streams == 0


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """scripts/generate with tools that write two small files into a folder of this test."""
    loader = importlib.machinery.SourceFileLoader("generate", str(ROOT / "scripts" / "generate"))
    spec = importlib.util.spec_from_loader("generate", loader)
    assert spec is not None
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "OUTPUT", tmp_path / "gen")
    monkeypatch.setattr(module, "wrong_tools", list)
    monkeypatch.setattr(module, "generate", lambda: {Path("a.py"): b"a", Path("b/c.py"): b"c"})
    return module


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["generate", *arguments])
    result = script.main()
    assert isinstance(result, int)
    return result


def test_check_names_every_file_that_differs(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(script, monkeypatch) == 0
    assert run(script, monkeypatch, "--check") == 0
    capsys.readouterr()

    (tmp_path / "gen" / "a.py").write_bytes(b"edited by hand")
    (tmp_path / "gen" / "b" / "c.py").unlink()
    (tmp_path / "gen" / "d.py").touch()
    assert run(script, monkeypatch, "--check") == 1
    assert capsys.readouterr().out == "gen/a.py: differs\ngen/b/c.py: missing\ngen/d.py: left over\n"

    assert run(script, monkeypatch) == 0
    assert run(script, monkeypatch, "--check") == 0


def test_other_versions_of_the_tools_are_refused_with_the_way_out(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "wrong_tools", lambda: ["black 26.10.1 is needed, found: 25.1.0"])
    assert run(script, monkeypatch, "--check") == 2
    error = capsys.readouterr().err
    assert "black 26.10.1 is needed, found: 25.1.0" in error
    assert "--requirements" in error
