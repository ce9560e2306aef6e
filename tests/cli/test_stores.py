"""raft inspect, snapshot --out, restore and recover: the store of a node that does not run."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbit_lite.model import LiteCommand, LiteKind, LogEntry, NodeId
from orbit_lite.node import NodeConfig, OrbitNode
from orbit_lite.raft import Configuration, HardState, Member, bootstrap_state
from orbit_lite.storage import SqliteLogStore, describe

Orbit = Callable[..., Any]

N1, N2, N3 = (NodeId(f"n{number}") for number in (1, 2, 3))
OLD = Configuration("old", (Member(N1), Member(N2), Member(N3)))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Of n1, whose cluster had two more nodes: 5 entries, of which it knows 3 to be committed."""
    folder = tmp_path / "n1"
    SqliteLogStore.initialise(folder / "raft", bootstrap_state(OLD))
    noop = LiteCommand(LiteKind.NOOP, "", 0, b"")
    with SqliteLogStore.open(folder / "raft") as store:
        store.save(hard_state=HardState(3, N2, 3), entries=[LogEntry(3, index, noop) for index in range(2, 6)])
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.suffix in {"", ".db"} and path.is_file()}


def names(document: list[dict[str, Any]]) -> list[str]:
    return [member["node"] for member in document]


# ---------------------------------------------------------------- inspect


def test_a_store_is_shown_with_what_it_does_not_know_to_be_committed(orbit: Orbit, data_dir: Path) -> None:
    before = content(data_dir)
    document = orbit("raft", "inspect", "--data-dir", data_dir, "--json").document
    assert (document["term"], document["vote"], document["commit"]) == (3, "(default:n2)", 3)
    assert (document["first_index"], document["last_index"], document["undecided"]) == (1, 5, [4, 5])
    assert (document["cluster_id"], names(document["members"])) == (
        "old",
        ["(default:n1)", "(default:n2)", "(default:n3)"],
    )
    told = orbit("raft", "inspect", "--data-dir", data_dir)
    assert told.status == 0
    for line in (
        "cluster   old",
        "term      3, vote for (default:n2)",
        "log       1..5, known to be committed up to 3",
        "last      entry 5 of term 3",
    ):
        assert line in told.out.splitlines()
    assert content(data_dir) == before


@pytest.mark.parametrize(
    "verb", [["inspect"], ["snapshot", "--out", "backup"], ["recover", "--unsafe", "--yes", "--node-id", "n1"]]
)
def test_a_folder_without_a_store_stays_as_it_is(
    orbit: Orbit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told = orbit("raft", *verb, "--data-dir", tmp_path)
    assert (told.status, told.out) == (1, "")
    error, hint = told.err.splitlines()
    assert error == f"error: {tmp_path / 'raft'}: there is no store (ORB-1600)"
    assert "server.data_dir" in hint
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_store_is_told(orbit: Orbit, data_dir: Path) -> None:
    database = data_dir / "raft" / "raft.db"
    data = bytearray(database.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    database.write_bytes(data)
    told = orbit("raft", "inspect", "--data-dir", data_dir)
    assert (told.status, told.out) == (1, "")
    (error,) = told.err.splitlines()
    assert error.endswith("(ORB-3008)")


# ---------------------------------------------------------------- backup and restore


def test_a_backup_ends_with_what_is_committed_and_says_what_it_leaves_out(
    orbit: Orbit, data_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    told = orbit("raft", "snapshot", "--data-dir", data_dir, "--out", file)
    assert told.status == 0
    assert "left out  entries 4..5, not known to be committed; --all takes them" in told.out.splitlines()
    assert orbit("raft", "inspect", "--backup", file, "--json").document["through"] == 3
    told = orbit("raft", "snapshot", "--data-dir", data_dir, "--out", file, "--all", "--json")
    assert (told.document["through"], told.document["left_out"]) == (5, None)
    assert orbit("raft", "inspect", "--backup", file, "--json").document == told.document


@pytest.fixture
def backup(orbit: Orbit, data_dir: Path, tmp_path: Path) -> Path:
    file = tmp_path / "backup"
    assert orbit("raft", "snapshot", "--data-dir", data_dir, "--out", file).status == 0
    return file


def test_founders_get_equal_stores_from_the_options_of_serve(orbit: Orbit, backup: Path, tmp_path: Path) -> None:
    for node, other in (("n1", "n5@http://b:1"), ("n5", "n1@http://a:1")):
        told = orbit(
            *("raft", "restore", backup, "--data-dir", tmp_path / "new" / node, "--node-id", node),
            *("--seed-nodes", other, "--cluster-id", "new", "--json"),
        )
        assert told.status == 0
        assert (told.document["through"], told.document["former_cluster_id"]) == (3, "old")
        assert names(told.document["members"]) == ["(default:n1)", "(default:n5)"]
    one, other_one = (describe(tmp_path / "new" / node / "raft") for node in ("n1", "n5"))
    assert one.configuration == other_one.configuration == Configuration("new", (Member(N1), Member(NodeId("n5"))))
    assert one.store_id != other_one.store_id


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--cluster-id": "old"}, "it must be a new one"),
        ({"--cluster-id": "é"}, "option: cluster.id = 'é': must be printable ASCII"),
        ({"--seed-nodes": "http://b:1"}, "expected ID@URL"),
        ({"--seed-nodes": "b at c"}, "option: cluster.seed_nodes"),
        ({"--node-id": "("}, "option: server.node_id"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_made(
    orbit: Orbit, backup: Path, tmp_path: Path, changed: dict[str, str], message: str
) -> None:
    options = {"--data-dir": str(tmp_path / "new"), "--node-id": "n1", "--cluster-id": "new", **changed}
    told = orbit("raft", "restore", backup, *(word for option in options.items() for word in option))
    assert (told.status, told.out) == (1, "")
    assert message in told.err
    assert told.err.splitlines()[0].endswith("(ORB-1600)")
    assert not (tmp_path / "new").exists()


def test_a_store_is_never_overwritten(orbit: Orbit, data_dir: Path, backup: Path) -> None:
    before = content(data_dir)
    told = orbit("raft", "restore", backup, "--data-dir", data_dir, "--node-id", "n1", "--cluster-id", "new")
    assert (told.status, told.out) == (1, "")
    assert "there is a store already" in told.err
    assert content(data_dir) == before


def test_a_changed_backup_is_refused(orbit: Orbit, backup: Path, tmp_path: Path) -> None:
    data = bytearray(backup.read_bytes())
    data[len(data) // 2] ^= 1
    backup.write_bytes(data)
    options = ("--data-dir", tmp_path / "new", "--node-id", "n1", "--cluster-id", "new")
    for verb in (["restore", backup, *options], ["inspect", "--backup", backup]):
        told = orbit("raft", *verb)
        assert (told.status, told.out) == (1, "")
        assert "it is not what was written" in told.err
    assert not (tmp_path / "new").exists()


# ---------------------------------------------------------------- recover


def test_without_a_confirmation_it_only_says_what_is_at_stake(orbit: Orbit, data_dir: Path) -> None:
    before = content(data_dir)
    told = orbit("raft", "recover", "--unsafe", "--data-dir", data_dir, "--node-id", "n1")
    assert told.status == 1
    assert "was       (default:n1), (default:n2), (default:n3) in cluster old" in told.out
    assert "- what other nodes acknowledged behind entry 5 (term 3) is lost" in told.out
    assert "- entries 4 to 5 count as committed" in told.out
    assert "- (default:n3) is no member any more" in told.out
    assert told.err.splitlines()[0] == "error: nothing was changed"
    document = orbit("raft", "recover", "--unsafe", "--data-dir", data_dir, "--node-id", "n1", "--json")
    assert (document.status, document.document["done"]) == (1, False)
    assert json.loads(document.err)["error"]["message"] == "nothing was changed"
    assert content(data_dir) == before


class Terminal(io.StringIO):
    """Somebody types this."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "status"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_on_a_terminal_it_asks(
    orbit: Orbit, data_dir: Path, monkeypatch: pytest.MonkeyPatch, typed: str, status: int
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    told = orbit("raft", "recover", "--unsafe", "--data-dir", data_dir, "--node-id", "n1")
    assert told.status == status
    assert "Let (default:n1) go on alone? [y/N]" in told.err
    configuration = describe(data_dir / "raft").configuration
    assert configuration is not None
    assert len(configuration.members) == (1 if status == 0 else 3)


def test_the_new_cluster_has_an_id_of_its_own(orbit: Orbit, data_dir: Path) -> None:
    store_id = describe(data_dir / "raft").store_id
    recover = ("raft", "recover", "--unsafe", "--yes", "--data-dir", data_dir, "--node-id", "n1", "--json")
    for name, message in (("old", "it must be a new one"), ("é", "must be printable ASCII")):
        told = orbit(*recover, "--cluster-id", name)
        assert told.status == 1
        assert message in json.loads(told.err)["error"]["message"]
    assert describe(data_dir / "raft").configuration == OLD
    document = orbit(*recover).document
    assert document["done"] is True
    assert document["cluster_id"] == f"old-{store_id[:6]}"
    assert document["left_out"] == ["(default:n2)", "(default:n3)"]


def test_only_a_member_goes_on(orbit: Orbit, data_dir: Path) -> None:
    told = orbit("raft", "recover", "--unsafe", "--yes", "--data-dir", data_dir, "--node-id", "n9")
    assert told.status == 1
    assert "(default:n9) is no member of the store's cluster: (default:n1), (default:n2), (default:n3)" in told.err
    assert describe(data_dir / "raft").configuration == OLD


# ---------------------------------------------------------------- afterwards


@pytest.mark.parametrize("way", ["restore", "recover"])
def test_a_node_process_leads_and_others_join(  # noqa: PLR0917  # fixtures
    orbit: Orbit,
    start_raft: Callable[..., Any],
    make_nodes: Callable[..., list[Any]],
    leader_of: Callable[..., Any],
    data_dir: Path,
    tmp_path: Path,
    way: str,
) -> None:
    one, other = make_nodes(tmp_path, "n1", "n4")
    if way == "restore":
        backup, before = tmp_path / "backup", describe(data_dir / "raft")
        assert orbit("raft", "snapshot", "--data-dir", data_dir, "--out", backup, "--all").status == 0
        data_dir.rename(tmp_path / "lost")
        verb: list[object] = ["restore", backup]
    else:
        before = describe(data_dir / "raft")
        verb = ["recover", "--unsafe", "--yes"]
    told = orbit("raft", *verb, "--data-dir", one.folder, "--node-id", "n1", "--cluster-id", "new")
    assert told.status == 0, told.err

    processes = [start_raft(one, cluster_id="new")]
    assert leader_of(one) is one
    processes.append(start_raft(other, [one], cluster_id="new", join=True))
    assert orbit("raft", "add", "n4", other.url, "-e", one.url).status == 0
    assert orbit("raft", "transfer", "n4", "-e", one.url).status == 0
    document = orbit("raft", "status", "-e", other.url, "--json").document
    assert (document["role"], document["cluster_id"]) == ("leader", "new")
    assert names(document["members"]) == ["(default:n1)", "(default:n4)"]
    assert document["term"] > before.hard_state.term
    assert document["applied"] > before.last_index
    for process in processes:
        process.terminate()
    for process in processes:
        assert process.wait(timeout=20) == 0


class Ledger:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def apply(self, index: int, data: bytes) -> bytes:
        self.lines.append(data)
        return b"%d" % len(self.lines)

    def snapshot(self) -> bytes:
        return b"\n".join(self.lines)

    def restore(self, data: bytes) -> None:
        self.lines = data.split(b"\n") if data else []


async def _keep(config: NodeConfig, line: bytes) -> list[bytes]:
    """Let a node add a line, and write a snapshot before the one after it; what it holds then."""
    ledger = Ledger()
    async with OrbitNode(config, state_machine=ledger) as node:
        await node.consensus.propose(line)
        await node.consensus.take_snapshot()
        await node.consensus.propose(line.upper())
    return ledger.lines


@pytest.mark.parametrize("way", ["restore", "recover"])
def test_what_was_stored_is_there(orbit: Orbit, tmp_path: Path, way: str) -> None:
    """A snapshot and entries behind it, through a backup's file or in place."""

    def config(folder: str, cluster_id: str) -> NodeConfig:
        return NodeConfig(
            node_id=N1,
            port=0,
            raft=True,
            raft_profile="orbit-rs",
            data_dir=tmp_path / folder,
            cluster_id=cluster_id,
        )

    assert asyncio.run(_keep(config("old", "old"), b"a")) == [b"a", b"A"]
    new = ("--node-id", "n1", "--cluster-id", "new")
    if way == "restore":
        told = orbit("raft", "snapshot", "--data-dir", tmp_path / "old", "--out", tmp_path / "backup", "--all")
        assert told.status == 0
        told = orbit("raft", "restore", tmp_path / "backup", "--data-dir", tmp_path / "new", *new)
    else:
        told = orbit("raft", "recover", "--unsafe", "--yes", "--data-dir", tmp_path / "old", *new)
        (tmp_path / "old").rename(tmp_path / "new")
    assert told.status == 0, told.err
    assert asyncio.run(_keep(config("new", "new"), b"b")) == [b"a", b"A", b"b", b"B"]
