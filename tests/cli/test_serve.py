"""serve: a node as a process; how it tells that it is ready, and all the ways to end it."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Orbit = Callable[..., Any]
Start = Callable[..., Any]

NODE = ("serve", "--no-config", "-p", "0")

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


def test_the_ready_line_tells_machines_where_the_node_is(orbit: Orbit, node: dict[str, Any]) -> None:
    assert node["event"] == "ready"
    assert node["node_id"] == "(test:one)"
    assert node["url"] == f"http://127.0.0.1:{node['port']}"
    assert orbit("health", "-e", node["url"]).status == 0


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_the_node(start: Start, number: signal.Signals) -> None:
    process = start(*NODE, "--node-id", "lonely", "--log-format", "text")
    assert re.fullmatch(r"node \(default:lonely\) serves at http://127\.0\.0\.1:[0-9]+\n", process.stdout.readline())
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")
    assert "drained" in err
    assert "Traceback" not in err


def test_a_node_ends_with_its_parent(start: Start) -> None:
    """The end of stdin is all that a child hears of a parent that was killed."""
    process = start(*NODE, "--json", "--die-with-parent")
    assert json.loads(process.stdout.readline())["event"] == "ready"
    process.stdin.close()
    assert process.wait(timeout=20) == 0


def test_without_that_option_stdin_means_nothing(start: Start, orbit: Orbit) -> None:
    process = start(*NODE, "--json")
    ready = json.loads(process.stdout.readline())
    process.stdin.close()
    assert orbit("health", "-e", ready["url"]).status == 0
    process.terminate()
    assert process.wait(timeout=20) == 0


@posix
def test_sighup_reads_the_log_level_anew(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "orbit-lite.toml"
    file.write_text('[server]\nnode_id = "from-file"\n[logging]\nlevel = "info"\nformat = "json"\n')
    process = start("serve", "-c", file, "-p", "0")
    assert "(default:from-file)" in process.stdout.readline()
    assert "serves" in json.loads(process.stderr.readline())["msg"]
    file.write_text('[server]\nnode_id = "from-file"\n[logging]\nlevel = "warning"\nformat = "json"\n')
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "drain" not in err, "the level was warning by then"


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (["--actors", "no_such_module"], "actor module 'no_such_module' cannot be imported", "ORB-1600"),
        (["--actors", "json"], "has no actor", "ORB-1600"),
        (["--log-level", "loud"], "expected", "ORB-1600"),
        (["--seed-nodes", "nonsense nonsense"], "nonsense", "ORB-1600"),
        (["--bind", "nowhere.invalid"], "cannot listen on nowhere.invalid", "ORB-1800"),
        (["--advertise", "::"], "advertise", "ORB-1600"),
    ],
)
def test_a_node_that_cannot_start_says_why_in_one_line(
    start: Start, options: list[str], message: str, code: str
) -> None:
    process = start(*NODE, *options)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert errors[0].endswith(f"({code})")
    assert "Traceback" not in err


def test_a_taken_port_is_named(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start("serve", "--no-config", "-p", port)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"127.0.0.1:{port}" in err
    assert "another process has it" in err
