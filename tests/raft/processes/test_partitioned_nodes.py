"""Partitions of real network stacks: Linux's network namespaces, for which root is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def why_not() -> str | None:
    if sys.implementation.name == "pypy":
        return "PyPy's processes start slowly, and a network knows no interpreter"
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    missing = [name for name in ("ip", "nsenter", "unshare") if shutil.which(name) is None]
    if missing:
        return f"network namespaces need {', '.join(missing)}"
    tried = subprocess.run(
        [
            "unshare",
            "--net",
            "sh",
            "-c",
            "ip link add bridge0 type bridge && ip link add port0 type veth peer name eth0",
        ],
        capture_output=True,
        text=True,
    )
    return None if tried.returncode == 0 else f"no network namespaces here: {tried.stderr.strip()}"


def test_a_leader_cut_off_from_its_followers_answers_nobody(tmp_path: Path) -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    script = Path(__file__).with_name("networks.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        ["unshare", "--net", sys.executable, script, tmp_path], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
