"""Backups of a running node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from orbit_lite.model import NodeId
from orbit_lite.node import NodeConfig, OrbitNode
from orbit_lite.node.backup import backup
from orbit_lite.raft import NotLeader
from orbit_lite.storage import read_backup


class Text:
    """Keeps what was proposed, one behind the other."""

    def __init__(self) -> None:
        self.content = b""

    def apply(self, index: int, data: bytes) -> bytes:
        self.content += data
        return b""

    def snapshot(self) -> bytes:
        return self.content

    def restore(self, data: bytes) -> None:
        self.content = data


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[OrbitNode]:
    """A cluster of one, with a snapshot of 600 kB and an entry behind it."""
    config = NodeConfig(node_id=NodeId("n"), port=0, data_dir=tmp_path / "n", raft=True, raft_profile="orbit-rs")
    async with OrbitNode(config, state_machine=Text()) as node:
        await node.consensus.propose(bytes(600_000))
        await node.consensus.take_snapshot()
        await node.consensus.propose(b"behind it")
        yield node


async def test_a_backup_goes_as_far_as_the_node_has_applied(node: OrbitNode, tmp_path: Path) -> None:
    """Further than the store itself knows to be committed."""
    applied = node.consensus.applied_index
    pieces = [piece async for piece in backup(node.consensus)]
    assert len(pieces) > 1
    assert max(map(len, pieces)) <= 256 * 1024
    (tmp_path / "backup").write_bytes(b"".join(pieces))
    report = read_backup(tmp_path / "backup")
    assert report.through >= applied
    assert report.snapshot is not None
    assert report.snapshot.size > 600_000


async def test_one_that_nobody_wants_any_more_harms_nothing(node: OrbitNode) -> None:
    async with aclosing(backup(node.consensus)) as pieces:
        assert await anext(pieces)
    await node.consensus.propose(b"afterwards", timeout=30)
    assert node.consensus.failure is None


async def test_a_node_that_has_stopped_makes_none(node: OrbitNode) -> None:
    await node.stop()
    with pytest.raises(NotLeader, match="has stopped"):
        await anext(backup(node.consensus))
