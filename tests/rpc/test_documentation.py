"""docs/transport.md tells the truth."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from orbit_lite.rpc import ServerConfig, TransportConfig

PAGE = (Path(__file__).parents[2] / "docs" / "transport.md").read_text(encoding="utf-8")


def test_the_example_runs() -> None:
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    outcome = subprocess.run([sys.executable, "-W", "error", "-c", example], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.startswith("NOT_FOUND: no service ledger for 127.0.0.1:")


def test_the_limits_are_the_defaults() -> None:
    config = ServerConfig()
    assert f"| {config.max_message_size >> 20} MiB, refused" in PAGE
    assert f"| {config.max_concurrent_streams}; further ones" in PAGE
    assert f"| {config.handshake_timeout:g} s each" in PAGE
    assert f"| {config.cancel_grace:g} s, then" in PAGE
    assert config.max_message_size == TransportConfig().max_message_size
