"""The import contracts of pyproject.toml hold, and no module escapes them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS: dict[str, dict[str, Any]] = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
}

# Packages that decide. Every file of them is pure, except the shells: they wait, read clocks and draw randomness.
CORES = {"actors", "codec", "converters", "directory", "errors", "http2", "model", "raft", "rpc", "transactions"}
SHELLS = {
    "orbit_lite.actors.cell",
    "orbit_lite.actors.driver",
    "orbit_lite.directory.cache",
    "orbit_lite.directory.replicated",
    "orbit_lite.directory.watch",
    "orbit_lite.raft.application",
    "orbit_lite.raft.consensus",
    "orbit_lite.raft.driver",
    "orbit_lite.raft.exchange",
    "orbit_lite.raft.observers",
    "orbit_lite.raft.peers",
    "orbit_lite.raft.proposals",
    "orbit_lite.raft.store_thread",
    "orbit_lite.rpc.blocking",
    "orbit_lite.rpc.channel",
    "orbit_lite.rpc.client",
    "orbit_lite.rpc.connection",
    "orbit_lite.rpc.context",
    "orbit_lite.rpc.deadline",
    "orbit_lite.rpc.failures",
    "orbit_lite.rpc.handover",
    "orbit_lite.rpc.interceptors",
    "orbit_lite.rpc.keepalive",
    "orbit_lite.rpc.pool",
    "orbit_lite.rpc.pool_endpoint",
    "orbit_lite.rpc.pooled_channel",
    "orbit_lite.rpc.redial",
    "orbit_lite.rpc.server",
    "orbit_lite.rpc.serving",
    "orbit_lite.rpc.stream",
    "orbit_lite.rpc.eager",
    "orbit_lite.rpc.timers",
    "orbit_lite.rpc.unary",
    "orbit_lite.rpc.waiting",
    "orbit_lite.rpc.wakeup",
    "orbit_lite.rpc.workers",
}


def modules(*packages: str) -> set[str]:
    """Dotted names of the files of these packages, as far as they exist; a package's own __init__ only re-exports."""
    files: set[Path] = set()
    for package in packages:
        path = ROOT.joinpath(*package.split("."))
        files |= {path.with_suffix(".py")} if path.with_suffix(".py").exists() else set(path.rglob("*.py"))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files if file.name != "__init__.py"}


def covered(names: Iterable[str]) -> set[str]:
    return set().union(*(modules(name) for name in names))


def test_the_contracts_hold() -> None:
    pytest.importorskip("importlinter", reason="import-linter's graph is a compiled extension, not to be had on PyPy")
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    outcome = subprocess.run([sys.executable, "-c", program, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_every_file_of_a_core_package_is_pure_or_named_as_a_shell() -> None:
    pure = covered(CONTRACTS["pure"]["source_modules"])
    assert modules(*(f"orbit_lite.{name}" for name in CORES)) - pure <= SHELLS
    assert not pure & SHELLS


@pytest.mark.parametrize(
    ("contract", "packages"),
    [("domain", {"actors", "model", "raft", "transactions"}), ("transport", {"codec", "http2", "rpc"})],
)
def test_both_walls_have_every_package_behind_them(contract: str, packages: set[str]) -> None:
    assert covered(CONTRACTS[contract]["source_modules"]) == modules(*(f"orbit_lite.{name}" for name in packages))


def test_only_rpc_may_import_grpclib() -> None:
    elsewhere = modules("orbit_lite") - modules("orbit_lite.rpc") - modules("orbit_lite.testing")
    assert elsewhere <= covered(CONTRACTS["grpclib"]["source_modules"])
