"""The demo's node processes, when they do not come up."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orbit_lite.cli.demo.cluster import Cluster, NodeProcess
from orbit_lite.errors import ClusterError, IoError
from orbit_lite.model import NodeId


async def test_a_program_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(IoError, match="cannot start /nonexistent/python"):
        await NodeProcess.start(NodeId("node-1"), [], log_level="error")


async def test_a_node_that_ends_before_it_serves_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'no luck \033[31m' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ClusterError, match=r"node-1 ended with status 3 before it was ready: no luck \\x1b\[31m"):
        async with Cluster(2, progress=lambda text: None):
            pytest.fail("it never serves")
