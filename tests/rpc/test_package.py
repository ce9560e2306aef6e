"""The package: what it names, and what importing it costs."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import orbit_lite.rpc


def test_threads_pools_and_worker_processes_are_loaded_on_first_use() -> None:
    program = "import sys; from orbit_lite.rpc import Channel, Server; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    loaded = set(found.stdout.split())
    assert "orbit_lite.rpc.server" in loaded
    late = {f"orbit_lite.rpc.{name}" for name in ("blocking", "pool", "workers")} | {"multiprocessing", "rich", "click"}
    assert loaded.isdisjoint(late)


@pytest.mark.parametrize("name", orbit_lite.rpc.__all__)
def test_every_public_name_is_there_and_at_home_in_its_module(name: str) -> None:
    value = getattr(orbit_lite.rpc, name)
    assert getattr(importlib.import_module(value.__module__), name) is value
    assert name in dir(orbit_lite.rpc)


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = orbit_lite.rpc.Nothing  # type: ignore[attr-defined]
