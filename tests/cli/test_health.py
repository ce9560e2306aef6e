"""health: one word, and grpc_health_probe's exit statuses."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Orbit = Callable[..., Any]


def test_a_serving_node_is_0(orbit: Orbit, node: dict[str, Any]) -> None:
    for service in ([], ["orbit.shared.ConnectionService"]):
        told = orbit("health", *service, "-e", node["url"])
        assert (told.status, told.out, told.err) == (0, "SERVING\n", "")


def test_for_machines_it_is_json(orbit: Orbit, node: dict[str, Any]) -> None:
    told = orbit("health", "-e", node["url"], "--json")
    assert told.document == {"service": "", "status": "SERVING"}


@pytest.mark.parametrize(
    "arguments", [["--nope"], ["a", "b"], ["--timeout", "x"], ["-e", "http://"], ["-e", "ftp://x:1"]]
)
def test_bad_arguments_are_1(orbit: Orbit, arguments: list[str]) -> None:
    assert orbit("health", *arguments).status == 1


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "unix:/nonexistent/socket", "http://nonexistent.invalid:1"])
def test_no_connection_is_2(orbit: Orbit, endpoint: str) -> None:
    told = orbit("health", "-e", endpoint, "--timeout", "2s", "--json")
    assert told.status == 2
    assert json.loads(told.err)["error"]["orb_code"] == "ORB-1101"


def test_an_unknown_service_is_3(orbit: Orbit, node: dict[str, Any]) -> None:
    told = orbit("health", "no.such.Service", "-e", node["url"])
    assert (told.status, told.out) == (3, "SERVICE_UNKNOWN\n")


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_no_answer_in_time_is_2_or_3(orbit: Orbit, silent: str) -> None:
    """Whether a server that never speaks is connected to is a matter of taste; it is not healthy in any case."""
    assert orbit("health", "-e", silent, "--timeout", "100ms").status in (2, 3)


def test_a_drained_node_is_4(orbit: Orbit, own_node: dict[str, Any]) -> None:
    assert orbit("drain", "-e", own_node["url"]).status == 0
    told = orbit("health", "-e", own_node["url"])
    assert (told.status, told.out) == (4, "NOT_SERVING\n")


def test_a_watch_tells_changes_and_ends_with_3_when_the_node_is_gone(
    orbit: Orbit, start: Callable[..., Any], own_node: dict[str, Any]
) -> None:
    watch = start("health", "--watch", "-e", own_node["url"], "--json")
    assert json.loads(watch.stdout.readline())["status"] == "SERVING"
    assert orbit("drain", "-e", own_node["url"], "--stop").status == 0
    assert json.loads(watch.stdout.readline())["status"] == "NOT_SERVING"
    _, err = watch.communicate(timeout=20)
    assert watch.returncode == 3
    assert "Traceback" not in err
