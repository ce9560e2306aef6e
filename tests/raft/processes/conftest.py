"""Clusters whose nodes are processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from orbit_lite.testing.processes import ProcessCluster

#: Fast enough for a test and slow enough for a busy machine; seconds.
TIMINGS = {"election_timeout_min": 0.4, "election_timeout_max": 0.8, "heartbeat_interval": 0.08}


@pytest.fixture(autouse=True)
def signals() -> None:
    if not hasattr(signal, "SIGSTOP") or os.name != "posix":
        pytest.skip("nodes are stopped and continued by POSIX signals")


@pytest.fixture
def processes(tmp_path: Path) -> Callable[..., ProcessCluster]:
    def make(nodes: int = 3, **config: float) -> ProcessCluster:
        return ProcessCluster(tmp_path, nodes, config={**TIMINGS, **config})

    return make
