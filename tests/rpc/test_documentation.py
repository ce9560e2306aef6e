"""docs/transport.md tells the truth."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from orbit_lite.rpc import ServerConfig, TransportConfig

PAGE = (Path(__file__).parents[2] / "docs" / "transport.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_runs() -> None:
    example = EXAMPLES[0]
    outcome = subprocess.run([sys.executable, "-W", "error", "-c", example], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.startswith("NOT_FOUND: no service ledger for 127.0.0.1:")


def test_the_limits_are_the_defaults() -> None:
    config = ServerConfig()
    assert f"| {config.max_message_size >> 20} MiB, refused" in PAGE
    assert f"| {config.max_concurrent_streams}; further ones" in PAGE
    assert f"| {config.handshake_timeout:g} s each" in PAGE
    assert f"| {config.stall_timeout:g} s without room, then" in PAGE
    assert f"| {config.cancel_grace:g} s, then" in PAGE
    assert config.max_message_size == TransportConfig().max_message_size


def test_the_blocking_example_runs_against_the_example_of_workers(tmp_path: Path) -> None:
    several, blocking = EXAMPLES[2], EXAMPLES[1]
    watch = "    async def watch(self, request):\n        yield HealthCheckResponse(status=1)\n\n\n"
    several = EXAMPLES[0].partition("async def main")[0].rstrip() + "\n\n" + watch + several
    script = tmp_path / "several.py"
    local = several.replace('"0.0.0.0", port=50051', '"127.0.0.1", on_bound=lambda port: print(port, flush=True)')
    script.write_text(local, encoding="utf-8")
    with subprocess.Popen([sys.executable, "-W", "error", str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        port = parent.stdout.readline().strip()
        patient = blocking.replace("50051", f"{port}, wait_for_ready=True")
        outcome = subprocess.run([sys.executable, "-W", "error", "-c", patient], capture_output=True, text=True)
        parent.terminate()
    assert outcome.returncode == 0, outcome.stderr
    assert parent.returncode == 0
