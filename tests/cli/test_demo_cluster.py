"""The demo's node processes, when they do not come up."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from orbit_lite.cli.demo.cluster import Cluster, NodeProcess
from orbit_lite.cli.demo.leadership import depose
from orbit_lite.errors import ClusterError, IoError
from orbit_lite.model import NodeId


async def test_a_program_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    node_id = NodeId("node-1")
    with pytest.raises(IoError, match="cannot start /nonexistent/python"):
        await NodeProcess.start(node_id, {node_id: "http://127.0.0.1:1"}, tmp_path, log_level="error", timeout=1.0)


async def test_a_node_that_ends_before_it_serves_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also when it does so again: a port that another program took in the meantime is a reason to try once more."""
    program, starts = tmp_path / "python", tmp_path / "starts"
    program.write_text(f"#!/bin/sh\necho >>{starts}\necho 'no luck \033[31m' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ClusterError, match=r"node-1 ended with status 3 before it was ready: no luck \\x1b\[31m"):
        async with Cluster(1, progress=lambda text: None):  # with two, the one that ends first ends the other
            pytest.fail("it never serves")
    assert starts.read_text() == "\n\n"


async def test_three_nodes_lead_on_when_one_is_killed_and_are_lost_when_another_is() -> None:
    async with Cluster(3, log_level="critical", progress=lambda text: None) as cluster:
        succession = await depose(cluster.nodes, done=7, limit=30.0)
        assert succession is not None
        assert succession.done == 7
        assert succession.successor is not None
        assert succession.successor.node_id != succession.killed.node_id
        assert succession.successor.term > succession.killed.term
        assert succession.killed.node_id not in {node.node_id for node in cluster.alive}
        assert not cluster.losses  # it was meant
        assert not cluster.lost.is_set()
        alone = await depose(cluster.nodes, done=8, limit=0.2)
        assert alone is not None
        assert alone.successor is None
        async with asyncio.timeout(10):
            await cluster.lost.wait()
