"""The verbs of `raft` for a store that no node has open: look into it, copy it, begin a new cluster from it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orbit_lite.cli.options import json_option
from orbit_lite.cli.output import is_terminal, print_json, print_pairs, print_table
from orbit_lite.cli.problems import FAILED, Problem
from orbit_lite.errors import ConfigurationError
from orbit_lite.model import Json, NodeId

if TYPE_CHECKING:
    from orbit_lite.raft import Configuration, Member
    from orbit_lite.storage import BackupReport, RecoveryReport, StoreReport

__all__ = ["backup", "inspect", "print_backup", "recover", "restore"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_NO_SUCH_STORE = "--data-dir is what the node has as server.data_dir; its store is in the folder raft below that"


def _data_dir(function: _Function) -> _Function:
    return click.option(
        "--data-dir",
        required=True,
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The node's server.data_dir; the node must not run.",
    )(function)


def _store(data_dir: Path) -> Path:
    from orbit_lite.node.config import raft_directory

    return raft_directory(data_dir)


def _attempt(work: Callable[[], int], *, as_json: bool) -> int:
    """Do it. What is configured wrongly are this verb's options, so the general hint would lead astray."""
    try:
        return work()
    except ConfigurationError as error:
        return Problem.of(error, hint=_NO_SUCH_STORE if "there is no store" in str(error) else "").show(as_json=as_json)


# ---------------------------------------------------------------- inspect


@click.command(short_help="Look into a store, or a backup.")
@click.option("--data-dir", type=click.Path(path_type=Path), metavar="DIR", help="The data_dir of a node at rest.")
@click.option("--backup", "file", type=click.Path(path_type=Path), metavar="FILE", help="What `snapshot --out` wrote.")
@json_option
def inspect(*, data_dir: Path | None, file: Path | None, as_json: bool) -> int:
    """Check every byte of a node's store, or of a backup, and say what it holds. Changes nothing."""
    if (data_dir is None) == (file is None):
        raise click.UsageError("name either --data-dir or --backup", click.get_current_context())
    return _attempt(lambda: _inspect(data_dir, file, as_json=as_json), as_json=as_json)


def _inspect(data_dir: Path | None, file: Path | None, *, as_json: bool) -> int:
    from orbit_lite.storage import describe, read_backup

    if file is not None:
        print_backup(read_backup(file), file, as_json=as_json)
    elif data_dir is not None:
        report = describe(_store(data_dir))
        if as_json:
            print_json(_document(report, _store(data_dir)))
        else:
            _print(report, _store(data_dir))
    return 0


def _document(report: StoreReport, folder: Path) -> Json:
    state, snapshot = report.hard_state, report.snapshot
    return {
        "store": str(folder),
        "store_id": report.store_id,
        "writes": report.writes,
        "cluster_id": None if report.configuration is None else report.configuration.cluster_id,
        "term": state.term,
        "vote": None if state.vote is None else str(state.vote),
        "commit": state.commit,
        "first_index": report.first_index,
        "last_index": report.last_index,
        "last_term": report.last_term,
        "undecided": _span(report.undecided),
        "snapshot": None
        if snapshot is None
        else {"index": snapshot.index, "term": snapshot.term, "bytes": snapshot.size},
        "incoming": None
        if report.incoming is None
        else {"index": report.incoming[0].index, "received": report.incoming[1], "bytes": report.incoming[0].size},
        "members": _members_document(report.configuration),
        "peers": {str(node_id): store_id for node_id, store_id in report.peers.items()},
        "files": dict(report.file_bytes),
    }


def _print(report: StoreReport, folder: Path) -> None:
    state, snapshot, configuration = report.hard_state, report.snapshot, report.configuration
    log = f"{report.first_index}..{report.last_index}" if report.first_index <= report.last_index else "empty"
    pairs: list[tuple[str, object]] = [
        ("store", folder),
        ("id", f"{report.store_id}, {report.writes} writes, {sum(report.file_bytes.values())} bytes"),
        ("cluster", "unknown" if configuration is None else configuration.cluster_id),
        ("term", f"{state.term}, vote for {state.vote or 'nobody'}"),
        ("log", f"{log}, known to be committed up to {state.commit}"),
        ("last", f"entry {report.last_index} of term {report.last_term}" if report.last_index else "nothing"),
        ("snapshot", f"up to {snapshot.index}, {snapshot.size} bytes" if snapshot else "none"),
    ]
    if report.incoming is not None:
        meta, received = report.incoming
        pairs.append(("receiving", f"snapshot up to {meta.index}: {received} of {meta.size} bytes"))
    print_pairs(pairs)
    if configuration is not None:
        print()
        rows = [(member.node_id, member.address or "-", _votes(member)) for member in configuration.members]
        print_table(["member", "address", "votes"], rows)


def _votes(member: Member) -> str:
    return "yes" if member.voter else "no"


def _span(indices: range) -> Json:
    return [indices[0], indices[-1]] if indices else None


def _members_document(configuration: Configuration | None) -> Json:
    members = () if configuration is None else configuration.members
    return [
        {"node": str(member.node_id), "address": member.address or None, "voter": member.voter} for member in members
    ]


# ---------------------------------------------------------------- backup and restore


def backup(data_dir: Path, file: Path, *, everything: bool, as_json: bool) -> int:
    """Write what a store at rest holds into a file. everything: also what it does not know to be committed."""
    from orbit_lite.storage import SqliteLogStore, describe, export_snapshot

    def write() -> int:
        before = describe(_store(data_dir))
        with SqliteLogStore.open(_store(data_dir), create=False) as store:
            report = export_snapshot(store, file, through=before.last_index if everything else None)
        print_backup(report, file, left_out=range(0) if everything else before.undecided, as_json=as_json)
        return 0

    return _attempt(write, as_json=as_json)


def print_backup(report: BackupReport, file: Path, *, left_out: range = range(0), as_json: bool) -> None:
    """What a backup holds. left_out: indices of entries that it does not, though the store did."""
    snapshot, configuration = report.snapshot, report.configuration
    if as_json:
        print_json(
            {
                "file": str(file),
                "bytes": file.stat().st_size,
                "through": report.through,
                "last_term": report.last_term,
                "snapshot_index": 0 if snapshot is None else snapshot.index,
                "entries": report.entries,
                "left_out": _span(left_out),
                "cluster_id": None if configuration is None else configuration.cluster_id,
                "members": _members_document(configuration),
            }
        )
        return
    entries = f"{report.entries} {'entry' if report.entries == 1 else 'entries'}"
    pairs: list[tuple[str, object]] = [
        ("backup", f"{file}, {file.stat().st_size} bytes"),
        ("through", f"entry {report.through} of term {report.last_term}"),
        ("holds", f"a snapshot up to {snapshot.index}, and {entries}" if snapshot else entries),
        ("cluster", "unknown" if configuration is None else configuration.cluster_id),
        ("members", _names(configuration.members if configuration else ())),
    ]
    if left_out:
        which = f"entries {left_out[0]}..{left_out[-1]}" if len(left_out) > 1 else f"entry {left_out[0]}"
        pairs.append(("left out", f"{which}, not known to be committed; --all takes them"))
    print_pairs(pairs)


def _names(members: Iterable[Member]) -> str:
    return ", ".join(str(member.node_id) for member in members) or "none"


@click.command(short_help="Make a node's store from a backup.")
@click.argument("file", type=click.Path(path_type=Path))
@_data_dir
@click.option("-n", "--node-id", required=True, metavar="[NS:]KEY", help="The node that is to have the store.")
@click.option("-s", "--seed-nodes", metavar="ID@URL,...", help="The other founders of the new cluster; none: it alone.")
@click.option("--cluster-id", required=True, metavar="ID", help="Of the new cluster, another than the backup's.")
@json_option
def restore(*, file: Path, data_dir: Path, node_id: str, seed_nodes: str | None, cluster_id: str, as_json: bool) -> int:
    """Make a store from the backup FILE, with which a node founds a new cluster.

    Takes the options with which `serve` is started afterwards. Do this for each founder, with the same file; or for
    one, and add the others to the running cluster. A directory that has a store already is left as it is.
    """
    said = {"data_dir": data_dir, "node_id": node_id, "seed_nodes": seed_nodes, "cluster_id": cluster_id}
    return _attempt(lambda: _restore(file, said, as_json=as_json), as_json=as_json)


def _restore(file: Path, said: dict[str, object], *, as_json: bool) -> int:
    from orbit_lite.node import load_config
    from orbit_lite.node.values import derived_seed_id
    from orbit_lite.raft import Configuration, Member
    from orbit_lite.storage import import_snapshot, read_backup

    config = load_config(environ={}, overrides=said, search=()).config
    if config.data_dir is None or config.node_id is None:
        raise ConfigurationError("a store is of a node and in a directory")
    for seed, url in config.seed_nodes.items():
        if seed == derived_seed_id(url):
            raise ConfigurationError(
                f"option: cluster.seed_nodes = {url!r}: expected ID@URL, for the id is what counts"
            )
    former = read_backup(file).configuration
    if former is not None and former.cluster_id == config.cluster_id:
        raise ConfigurationError(
            f"cluster id {config.cluster_id!r}: it must be a new one, which keeps out what is left of the old cluster"
        )
    founders = tuple(Member(member) for member in {config.node_id, *config.seed_nodes})
    configuration = Configuration(config.cluster_id, founders)
    folder = _store(config.data_dir)
    report = import_snapshot(file, folder, configuration=configuration)
    if as_json:
        print_json(
            {
                "store": str(folder),
                "node": str(config.node_id),
                "through": report.through,
                "last_term": report.last_term,
                "cluster_id": configuration.cluster_id,
                "members": _members_document(configuration),
                "former_cluster_id": None if former is None else former.cluster_id,
                "former_members": _members_document(former),
            }
        )
        return 0
    print_pairs(
        [
            ("store", folder),
            ("restored", f"entries up to {report.through} (term {report.last_term})"),
            ("was", "unknown" if former is None else f"{_names(former.members)} in cluster {former.cluster_id}"),
            ("now", f"{_names(configuration.members)} in cluster {configuration.cluster_id}"),
        ]
    )
    others = [member for member in configuration.members if member.node_id != config.node_id]
    begin = f"restore the same file for {_names(others)}, then start them all" if others else f"start {config.node_id}"
    print(f"\nNext: {begin} with cluster id {configuration.cluster_id}.")
    return 0


# ---------------------------------------------------------------- recover


@click.command(short_help="Let one node go on when a majority is lost for good.")
@_data_dir
@click.option("-n", "--node-id", required=True, metavar="[NS:]KEY", help="The node whose store that is.")
@click.option("--cluster-id", metavar="ID", help="Of the new cluster; by default the old id and some of the store's.")
@click.option("--unsafe", is_flag=True, help="Needed: what was acknowledged may be lost.")
@click.option("--yes", is_flag=True, help="Do it; without this it is only said what would be lost.")
@json_option
def recover(*, data_dir: Path, node_id: str, cluster_id: str | None, unsafe: bool, yes: bool, as_json: bool) -> int:
    """Let a node lead alone, with what its own store holds, as the first of a new cluster.

    Only when a majority of the nodes will never come back: `restore` of a backup, or a majority's return, are better.
    Choose the node whose store has the highest last term and, among those, the highest last index (`raft inspect`),
    and copy its directory first. Says what may be lost, and asks before it changes anything. Exit status 1 when
    nothing was done.
    """
    if not unsafe:
        raise click.UsageError(
            "this may lose what was acknowledged and needs --unsafe; --help says when", click.get_current_context()
        )
    return _attempt(
        lambda: _recover(_store(data_dir), NodeId.parse(node_id), cluster_id, is_confirmed=yes, as_json=as_json),
        as_json=as_json,
    )


def _recover(folder: Path, node_id: NodeId, cluster_id: str | None, *, is_confirmed: bool, as_json: bool) -> int:
    from orbit_lite.node import load_config
    from orbit_lite.raft import Configuration, Member
    from orbit_lite.storage import describe, recover_unsafe

    found = describe(folder)
    former = found.configuration
    if former is not None and former.member(node_id) is None:
        raise ConfigurationError(f"{node_id} is no member of the store's cluster: {_names(former.members)}")
    # Part of the store's id: should two nodes of one cluster be recovered, they must not take each other for peers.
    name = cluster_id or f"{former.cluster_id if former else 'default'}-{found.store_id[:6]}"
    load_config(environ={}, overrides={"cluster_id": name}, search=())  # or no node could be started with it
    alone = Configuration(name, (Member(node_id),))
    plan = recover_unsafe(folder, alone)
    if not as_json:
        _print_plan(plan, folder)
    if not is_confirmed and not as_json and is_terminal(sys.stdin):
        is_confirmed = click.confirm(f"\nLet {node_id} go on alone?", err=True)
    done = recover_unsafe(folder, alone, dry_run=False) if is_confirmed else plan
    if as_json:
        print_json(_recovery_document(done, folder))
    if not done.is_done:
        Problem("nothing was changed", hint="--yes does it; copy the directory first").show(as_json=as_json)
        return FAILED
    if not as_json:
        print(f"\n{node_id} leads cluster {name} once it is started with that id; others are added to it.")
    return 0


def _print_plan(plan: RecoveryReport, folder: Path) -> None:
    before, former = plan.before, plan.former
    print_pairs(
        [
            ("store", folder),
            ("term", f"{before.term}, afterwards {plan.term}"),
            ("log", f"up to {plan.last_index} (term {plan.last_term}), known to be committed up to {before.commit}"),
            ("was", "unknown" if former is None else f"{_names(former.members)} in cluster {former.cluster_id}"),
            ("would be", f"{_names(plan.configuration.members)} in cluster {plan.configuration.cluster_id}"),
        ]
    )
    print("\nThis is at stake:")
    for risk in plan.risks():
        print(f"- {risk}")


def _recovery_document(report: RecoveryReport, folder: Path) -> Json:
    return {
        "store": str(folder),
        "done": report.is_done,
        "cluster_id": report.configuration.cluster_id,
        "members": _members_document(report.configuration),
        "term": report.term,
        "index": report.index,
        "former_cluster_id": None if report.former is None else report.former.cluster_id,
        "former_members": _members_document(report.former),
        "former_term": report.before.term,
        "former_commit": report.before.commit,
        "last_index": report.last_index,
        "last_term": report.last_term,
        "assumed": _span(report.assumed),
        "left_out": [str(member.node_id) for member in report.left_out],
        "risks": list(report.risks()),
    }
