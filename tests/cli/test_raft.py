"""raft …: a cluster of three node processes, as its operators see and change it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Orbit = Callable[..., Any]
Nodes = list[Any]


@pytest.fixture(scope="module")
def cluster(
    start_raft: Callable[..., Any], make_nodes: Callable[..., Nodes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nodes]:
    """n1, n2 and n3, which run, and n4, which does not; tests leave it at that, under any leader."""
    nodes = make_nodes(tmp_path_factory.mktemp("raft"), "n1", "n2", "n3", "n4")
    processes = [start_raft(node, nodes[:3]) for node in nodes[:3]]
    yield nodes
    for process in processes:
        process.terminate()
    for process in processes:
        process.communicate(timeout=20)


@pytest.fixture
def leader(cluster: Nodes, leader_of: Callable[..., Any]) -> Any:
    return leader_of(*cluster[:3])


@pytest.fixture
def follower(cluster: Nodes, leader: Any) -> Any:
    return next(node for node in cluster[:3] if node is not leader)


def identity(node: Any) -> str:
    return f"(default:{node.name})"


def members(orbit: Orbit, node: Any) -> dict[str, bool]:
    """Who the node takes for a member, and whether they vote."""
    document = orbit("raft", "status", "-e", node.url, "--json").document
    return {member["node"]: member["voter"] for member in document["members"]}


# ---------------------------------------------------------------- status


def test_the_leader_shows_its_log_and_what_it_knows_of_its_followers(orbit: Orbit, leader: Any, follower: Any) -> None:
    told = orbit("raft", "status", "-e", leader.url)
    assert told.status == 0
    for expected in (
        rf"^leader +{re.escape(identity(leader))}$",
        r"^role +leader in term [0-9]+$",
        r"^log +1\.\.[0-9]+, committed [0-9]+, applied [0-9]+$",
        rf"^{re.escape(identity(leader))} +- +yes +leader +- +-$",
        rf"^{re.escape(identity(follower))} +- +yes +(replicate|probe) +[0-9]+ +[0-9.]+$",
    ):
        assert re.search(expected, told.out, re.MULTILINE), expected


def test_for_machines_it_has_the_same_and_what_was_counted(orbit: Orbit, leader: Any, follower: Any) -> None:
    mine = orbit("raft", "status", "-e", leader.url, "--json").document
    theirs = orbit("raft", "status", "-e", follower.url, "--json").document
    assert (mine["role"], theirs["role"]) == ("leader", "follower")
    assert mine["leader"] == theirs["leader"] == identity(leader)
    assert (mine["cluster_id"], mine["failure"]) == ("default", None)
    assert 0 < mine["applied"] <= mine["commit"] <= mine["last_index"]
    assert mine["metrics"]["orbit_raft_is_leader"] == 1
    assert theirs["metrics"]["orbit_raft_is_leader"] == 0
    for document in (mine, theirs):
        assert document["metrics"]["orbit_raft_wal_fsync_duration_seconds_count"] > 0
        assert document["metrics"]["orbit_raft_leader_changes_seen_total"] > 0


# ---------------------------------------------------------------- who leads


def test_the_leadership_goes_where_it_is_sent_and_else_to_any_other(orbit: Orbit, leader: Any, follower: Any) -> None:
    told = orbit("raft", "transfer", follower.name, "-e", leader.url)
    assert (told.status, told.out) == (0, f"{identity(follower)} leads\n")
    told = orbit("raft", "transfer", "-e", follower.url, "--json")
    assert told.status == 0
    assert told.document["leader"] != identity(follower)


@pytest.mark.parametrize(
    "verb", [["transfer"], ["transfer", "n1"], ["add", "n4", "http://127.0.0.1:1"], ["promote", "n4"], ["remove", "n1"]]
)
def test_a_follower_changes_nothing_and_says_who_leads(
    orbit: Orbit, leader: Any, follower: Any, verb: list[str]
) -> None:
    before = members(orbit, leader)
    told = orbit("raft", *verb, "-e", follower.url)
    assert (told.status, told.out) == (1, "")
    error, hint = told.err.splitlines()
    assert f"{identity(leader)} does" in error
    assert error.endswith("(ORB-3001)")
    assert hint.startswith("hint: ask the leader that it names")
    error = json.loads(orbit("raft", *verb, "-e", follower.url, "--json").err)["error"]
    assert (error["orb_code"], error["executed"]) == ("ORB-3001", "no")
    assert members(orbit, leader) == before


# ---------------------------------------------------------------- who is in it


def test_a_node_is_added_promoted_and_removed(
    orbit: Orbit, cluster: Nodes, leader: Any, start_raft: Callable[..., Any]
) -> None:
    newcomer = cluster[3]
    process = start_raft(newcomer, cluster[:3], join=True)
    told = orbit("raft", "add", newcomer.name, newcomer.url, "--learner", "-e", leader.url)
    assert (told.status, told.out) == (0, f"{identity(newcomer)} is a learner\n")
    assert members(orbit, leader)[identity(newcomer)] is False
    told = orbit("raft", "promote", newcomer.name, "-e", leader.url)
    assert (told.status, told.out) == (0, f"{identity(newcomer)} is a voter\n")
    assert members(orbit, newcomer)[identity(newcomer)] is True

    told = orbit("raft", "promote", newcomer.name, "-e", leader.url)
    assert told.status == 1
    assert "is a voter already" in told.err

    told = orbit("raft", "remove", newcomer.name, "-e", leader.url, "--json")
    assert (told.status, told.document) == (0, {"removed": identity(newcomer)})
    assert identity(newcomer) not in members(orbit, leader)
    process.terminate()
    process.communicate(timeout=20)


def test_who_is_no_member_is_neither_promoted_nor_removed(orbit: Orbit, leader: Any) -> None:
    for verb in ("promote", "remove"):
        told = orbit("raft", verb, "stranger", "-e", leader.url)
        assert (told.status, told.out) == (1, "")
        assert "(default:stranger) is no member" in told.err


# ---------------------------------------------------------------- snapshots and backups


def test_any_node_writes_a_snapshot_when_asked(orbit: Orbit, follower: Any) -> None:
    told = orbit("raft", "snapshot", "-e", follower.url, "--json").document
    assert told["index"] > 0
    assert told["bytes"] > 0
    assert orbit("raft", "status", "-e", follower.url, "--json").document["snapshot_index"] == told["index"]
    assert re.fullmatch(r"snapshot up to [0-9]+, [0-9]+ bytes\n", orbit("raft", "snapshot", "-e", follower.url).out)


def test_a_running_node_gives_a_backup_of_all_that_it_has_applied(orbit: Orbit, leader: Any, tmp_path: Path) -> None:
    applied = orbit("raft", "status", "-e", leader.url, "--json").document["applied"]
    told = orbit("raft", "snapshot", "-e", leader.url, "--out", tmp_path / "backup", "--json").document
    assert told["through"] >= applied
    assert [member["node"] for member in told["members"]] == ["(default:n1)", "(default:n2)", "(default:n3)"]
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]
    assert orbit("raft", "inspect", "--backup", tmp_path / "backup", "--json").document == told


def test_a_backup_that_cannot_be_written_is_told_and_leaves_nothing(orbit: Orbit, leader: Any, tmp_path: Path) -> None:
    told = orbit("raft", "snapshot", "-e", leader.url, "--out", tmp_path / "missing" / "backup")
    assert (told.status, told.out) == (1, "")
    assert str(tmp_path / "missing") in told.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "verb",
    [
        ["inspect"],
        ["snapshot", "--out", "backup"],
        ["recover", "--unsafe", "--yes", "--node-id", "n1"],
    ],
    ids=lambda verb: verb[0],
)
def test_the_store_of_a_running_node_is_not_touched(orbit: Orbit, cluster: Nodes, verb: list[str]) -> None:
    told = orbit("raft", *verb, "--data-dir", cluster[0].folder)
    assert (told.status, told.out) == (1, "")
    error, hint = told.err.splitlines()
    assert error.endswith("(ORB-3010)")
    assert hint.startswith("hint: stop the node first")


# ---------------------------------------------------------------- what goes wrong before anybody is asked


@pytest.mark.parametrize(
    "verb",
    [["status"], ["transfer"], ["add", "n4", "http://x:1"], ["promote", "n4"], ["remove", "n4"], ["snapshot"]],
    ids=lambda verb: verb[0],
)
def test_an_endpoint_where_nobody_listens_is_told(orbit: Orbit, verb: list[str]) -> None:
    told = orbit("raft", *verb, "-e", "http://127.0.0.1:1", "--timeout", "5s")
    assert (told.status, told.out) == (1, "")
    assert "(peer http://127.0.0.1:1) (ORB-1101)" in told.err


def test_a_node_without_consensus_has_none_to_show(orbit: Orbit, node: dict[str, Any]) -> None:
    told = orbit("raft", "status", "-e", node["url"])
    assert told.status == 1
    assert "UNIMPLEMENTED" in told.err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["add", "n4"], 2, "Missing argument 'ADDRESS'"),
        (["add", "n4", "http://"], 1, "http://"),
        (["add", "", "http://x:1"], 1, "node id"),
        (["promote"], 2, "Missing argument 'NODE'"),
        (["remove"], 2, "Missing argument 'NODE'"),
        (["transfer", "a", "b"], 2, "unexpected extra argument"),
        (["status", "--timeout", "soon"], 2, "'soon' is no duration"),
        (["snapshot", "--all"], 2, "--out"),
        (["snapshot", "--data-dir", "x"], 2, "--out"),
        (["snapshot", "--out", "x", "--all"], 2, "--data-dir"),
        (["inspect"], 2, "either --data-dir or --backup"),
        (["inspect", "--data-dir", "x", "--backup", "x"], 2, "either --data-dir or --backup"),
        (["restore", "x", "--data-dir", "x", "--cluster-id", "new"], 2, "--node-id"),
        (["restore", "x", "--data-dir", "x", "--node-id", "n1"], 2, "--cluster-id"),
        (["recover", "--data-dir", "x", "--node-id", "n1"], 2, "needs --unsafe"),
        (["recover", "--unsafe", "--yes", "--node-id", "n1"], 2, "--data-dir"),
        (["recover", "--unsafe", "--yes", "--data-dir", "x"], 2, "--node-id"),
    ],
)
def test_wrong_use_is_told_with_its_own_status(
    orbit: Orbit, arguments: list[str], *, status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = orbit("raft", *arguments)
    assert (told.status, told.out) == (status, "")
    assert told.err.startswith("error: ")
    assert message in told.err.splitlines()[0]
    assert list(tmp_path.iterdir()) == []
