"""config: every setting and where it comes from."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Orbit = Callable[..., Any]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text('[server]\nnode_id = "shop:one"\n[protocols.grpc]\nport = 1111\n[actor_system]\nmodules = ["a"]\n')
    return path


def test_each_value_is_shown_with_its_origin(orbit: Orbit, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBIT_GRPC_PORT", "2222")
    settings = orbit("config", "-c", file, "--log-level", "warn", "--json").document["settings"]
    assert settings["server.node_id"] == {"value": "shop:one", "origin": str(file)}
    assert settings["protocols.grpc.port"] == {"value": 2222, "origin": "ORBIT_GRPC_PORT"}
    assert settings["logging.level"] == {"value": "warning", "origin": "option"}
    assert settings["actor_system.modules"] == {"value": ["a"], "origin": str(file)}
    assert settings["cluster.id"]["origin"] == "default"
    assert settings["raft.profile"] == {"value": "default", "origin": "default"}


def test_options_go_before_the_environment_and_the_file(
    orbit: Orbit, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORBIT_GRPC_PORT", "2222")
    told = orbit("config", "-c", file, "-p", "3333", "--actors", "b", "--actors", "c", "--changed")
    assert re.search(r"^protocols\.grpc\.port +3333 +option$", told.out, re.MULTILINE)
    assert re.search(r'^actor_system\.modules +\["b", "c"\] +option$', told.out, re.MULTILINE)
    assert "default" not in told.out


def test_no_config_reads_no_file(orbit: Orbit, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBIT_CONFIG", str(file))
    assert orbit("config", "--changed").out.startswith(f"file: {file}\n")
    assert orbit("config", "--no-config", "--changed").out == "file: none\nevery setting has its default\n"


def test_a_variable_that_looks_like_a_mistake_is_a_warning(orbit: Orbit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBIT_LOG_LEVLE", "debug")
    told = orbit("config", "--no-config")
    assert told.status == 0
    assert told.err == "warning: variable ORBIT_LOG_LEVLE has no meaning; ORBIT_LOG_LEVEL has\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nnode_ide = 1\n", "did you mean"),
        ("[server\n", "is not TOML"),
        ("[protocols.grpc]\nport = 'x'\n", "protocols.grpc.port"),
    ],
)
def test_a_wrong_file_is_named_with_the_mistake(orbit: Orbit, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    told = orbit("config", "-c", file)
    assert told.status == 1
    assert str(file) in told.err
    assert message in told.err
    assert "(ORB-1600)" in told.err
