"""The program as a whole: what it does with wrong use, failures and interruptions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click
import pytest

import orbit_lite
from orbit_lite.cli.main import cli

VERBS = sorted(cli.commands)


def test_the_version_is_told_at_once(orbit: Callable[..., Any]) -> None:
    assert orbit("version").out.startswith(f"orbit-lite {orbit_lite.__version__} (")
    assert orbit("version", "--json").document["version"] == orbit_lite.__version__


def test_a_verb_loads_what_it_needs_and_no_more() -> None:
    program = "import sys; from orbit_lite.cli.main import main; main(['version']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.split()
    assert not {"rich", "grpclib", "betterproto", "orbit_lite.rpc", "orbit_lite.node"} & set(loaded)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_has_json(orbit: Callable[..., Any], verb: str) -> None:
    told = orbit(verb, "--help")
    assert told.status == 0
    assert told.out.startswith(f"Usage: orbit-lite {verb}")
    command = cli.commands[verb]
    assert len(command.get_short_help_str(200)) < 60
    parts = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    for part in parts:
        names = {name for parameter in part.params for name in parameter.opts}
        assert "--json" in names or verb == "completion"
        asks_a_node = {"--endpoint"} & names
        assert "--timeout" in names or not asks_a_node


def test_without_a_verb_the_verbs_are_listed(orbit: Callable[..., Any]) -> None:
    told = orbit()
    assert told.status == 2
    assert all((f"  {verb} " in told.err) is not cli.commands[verb].hidden for verb in VERBS)
    assert told.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stauts"], "No such command 'stauts'"),
        (["status", "--nope"], "No such option"),
        (["status", "--timeout", "soon"], "'soon' is no duration: write 250ms, 30s or 5m"),
        (["actors", "--limit", "0"], "0 is not in the range"),
        (["invoke", "Echo"], "Missing argument 'KEY'"),
        (["demo", "--nodes", "0"], "0 is not in the range"),
        (["demo", "--opening", "1.234"], "has more than two decimals"),
        (["serve", "--config", "x.toml", "--no-config"], "contradict each other"),
    ],
)
def test_wrong_use_is_one_line_a_hint_and_status_2(
    orbit: Callable[..., Any], arguments: list[str], message: str
) -> None:
    told = orbit(*arguments)
    assert told.status == 2
    error, hint = told.err.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert hint.startswith("hint: `orbit-lite")
    assert told.out == ""


def test_a_failure_is_one_line_with_its_code_a_hint_and_status_1(orbit: Callable[..., Any]) -> None:
    told = orbit("status", "--endpoint", "http://127.0.0.1:1", "--timeout", "2s")
    assert told.status == 1
    error, hint = told.err.splitlines()
    assert error.startswith("error: cannot connect")
    assert error.endswith("(ORB-1101)")
    assert "orbit-lite serve" in hint


@pytest.mark.parametrize(
    ("arguments", "status"), [(["status", "-e", "http://127.0.0.1:1"], 1), (["status", "--nope"], 2)]
)
def test_with_json_a_failure_is_json_too(orbit: Callable[..., Any], arguments: list[str], status: int) -> None:
    told = orbit(*arguments, "--json")
    assert told.status == status
    assert told.out == ""
    assert json.loads(told.err)["error"]["message"]


def test_the_endpoint_may_come_from_the_environment(orbit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBIT_ENDPOINT", "http://127.0.0.1:2")
    assert "127.0.0.1:2" in orbit("status").err


def test_a_terminal_that_cannot_show_a_character_gets_an_escape(node: dict[str, Any]) -> None:
    for options, expected in (["--json"], '["\\ud83e\\udd8a"]\n'), ([], '[\n  "\\ud83e\\udd8a"\n]\n'):
        told = subprocess.run(
            [sys.executable, "-m", "orbit_lite", "invoke", "-e", node["url"], *options, "Echo", "x", "echo", "🦊"],
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
            capture_output=True,
            text=True,
        )
        assert (told.stdout, told.stderr) == (expected, "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_ends_with_130_and_no_traceback(start: Callable[..., Any], node: dict[str, Any]) -> None:
    process = start("health", "--watch", "-e", node["url"])
    assert process.stdout.readline() == "SERVING\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.split() == ["interrupted"]


def test_completion_scripts_call_the_program(orbit: Callable[..., Any]) -> None:
    for shell in ("zsh", "fish"):
        assert "_ORBIT_LITE_COMPLETE" in orbit("completion", shell).out


def test_what_the_shell_asks_is_completed() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "orbit_lite"],
        env=os.environ | {"_ORBIT_LITE_COMPLETE": "zsh_complete", "COMP_WORDS": "orbit-lite sta", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
    )
    assert "status" in told.stdout.split("\n")
