"""What a cluster's processes run."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from orbit_lite.testing.processes import NodeProcess, ProcessCluster


def wait_for_the_end(node: NodeProcess) -> None:
    while node.is_running:
        time.sleep(0.02)


async def test_nodes_may_run_a_module_of_another_folder(tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "my_node.py").write_text("import sys; print('here', file=sys.stderr)", encoding="utf-8")
    cluster = ProcessCluster(tmp_path / "cluster", 1, module="my_node", path=[tmp_path / "modules"])
    try:
        cluster.start()
        await asyncio.to_thread(wait_for_the_end, cluster.nodes[0])
        assert cluster.nodes[0].log.read_text(encoding="utf-8") == "here\n"
    finally:
        await cluster.close()
