"""status, nodes, actors and drain, against a node process."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orbit_lite

Orbit = Callable[..., Any]


def test_status_says_who_the_node_is_and_what_it_served(orbit: Orbit, node: dict[str, Any]) -> None:
    assert orbit("invoke", "-e", node["url"], "Echo", "status", "echo").status == 0
    told = orbit("status", "-e", node["url"])
    assert told.status == 0
    for expected in (r"^node +\(test:one\)$", r"^status +ACTIVE$", r"^types +Echo$", r"^Echo\.echo +[0-9]+ +0 "):
        assert re.search(expected, told.out, re.MULTILINE)


def test_status_for_machines_has_the_same_and_figures(orbit: Orbit, node: dict[str, Any]) -> None:
    document = orbit("status", "-e", node["url"], "--json").document
    assert document["node_id"] == "(test:one)"
    assert document["url"] == node["url"]
    assert document["version"] == orbit_lite.__version__
    assert document["types"] == ["Echo"]
    assert document["uptime_seconds"] > 0
    assert set(document["transport"]) >= {"connections", "requests", "errors"}
    status = next(call for call in document["calls"] if call["method"] == "orbit.lite.NodeAdmin/GetStatus")
    assert set(status["latency_ms"]) == {"p50", "p90", "p99", "max"}


def test_nodes_lists_the_node_itself(orbit: Orbit, node: dict[str, Any]) -> None:
    assert re.search(
        rf"^\(test:one\) \(asked\) +{node['url']} +ACTIVE +Echo$", orbit("nodes", "-e", node["url"]).out, re.MULTILINE
    )
    (view,) = orbit("nodes", "-e", node["url"], "--json").document
    assert (view["node_id"], view["status"], view["is_self"]) == ("(test:one)", "ACTIVE", True)


def test_actors_are_listed_up_to_the_limit(orbit: Orbit, node: dict[str, Any]) -> None:
    for key in ("a1", "a2\x1b[31m"):
        assert orbit("invoke", "-e", node["url"], "Echo", key, "echo").status == 0
    told = orbit("actors", "-e", node["url"], "--type", "Echo", "--limit", "10000")
    assert re.search(r"^Echo:a1 +idle +0 +1 ", told.out, re.MULTILINE)
    assert "\x1b" not in told.out
    document = orbit("actors", "-e", node["url"], "--limit", "1", "--json").document
    assert len(document["actors"]) == 1
    assert document["total"] >= 2
    assert "more; --limit shows more" in orbit("actors", "-e", node["url"], "--limit", "1").out


def test_no_actors_is_said(orbit: Orbit, node: dict[str, Any]) -> None:
    assert orbit("actors", "-e", node["url"], "--type", "Nothing").out == "no active actor\n"


def test_a_drained_node_says_so_and_takes_no_calls(orbit: Orbit, own_node: dict[str, Any]) -> None:
    url = own_node["url"]
    assert orbit("drain", "-e", url, "--timeout", "2s").out == "drained: 0 calls finished, 0 were cancelled\n"
    assert orbit("health", "-e", url).out == "NOT_SERVING\n"
    assert orbit("status", "-e", url, "--json").document["status"] == "DRAINING"
    refused = orbit("invoke", "-e", url, "Echo", "x", "echo", "--json")
    assert refused.status == 1
    assert '"executed": "no"' in refused.err


def test_a_drained_node_ends_if_asked_to(orbit: Orbit, own_node: dict[str, Any]) -> None:
    url = own_node["url"]
    assert orbit("drain", "-e", url, "--stop", "--json").document == {"finished_calls": 0, "cancelled_calls": 0}
    while (status := orbit("health", "-e", url, "--timeout", "2s").status) != 2:
        assert status in (3, 4), "on its way out"


def test_the_admin_verbs_tell_a_server_that_is_no_node(orbit: Orbit) -> None:
    told = orbit("nodes", "-e", "unix:/nonexistent/socket")
    assert told.status == 1
    assert "(ORB-1101)" in told.err
