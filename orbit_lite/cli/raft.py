"""The verbs `raft …`: see a cluster's consensus, and change who is in it."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orbit_lite.cli import stores
from orbit_lite.cli.options import connected, endpoint_option, json_option, run, timeout_option
from orbit_lite.cli.output import print_json, print_pairs, print_table
from orbit_lite.errors import IoError, OrbitError
from orbit_lite.model import Json, NodeId

if TYPE_CHECKING:
    from orbit_lite.services import RaftReport

__all__ = ["raft"]


@click.group(short_help="See and change a cluster's consensus.")
def raft() -> None:
    """See a cluster's consensus, and change who is in it.

    `transfer`, `add`, `promote` and `remove` are asked of the leader; another node says who that is. `inspect`,
    `restore` and `recover` work on the files of a node that does not run.
    """


@raft.command(short_help="Show a node's part in consensus.")
@endpoint_option
@timeout_option
@json_option
def status(*, endpoint: str, timeout: float, as_json: bool) -> int:
    """Show a node's role, its log, and the members as it knows them.

    Exit status 1 when the node has failed and takes no part any more.
    """
    return run(_status(endpoint, timeout, as_json=as_json))


async def _status(endpoint: str, timeout: float, *, as_json: bool) -> int:
    from orbit_lite.services import RaftAdminClient

    async with connected(endpoint, timeout) as channel:
        report = await RaftAdminClient(channel).status(timeout=timeout)
    if as_json:
        print_json(_document(report))
    else:
        _print(report)
    return 1 if report.failure else 0


def _document(report: RaftReport) -> Json:
    return {
        "node": str(report.node_id),
        "cluster_id": report.cluster_id,
        "role": report.role,
        "term": report.term,
        "leader": None if report.leader is None else str(report.leader),
        "commit": report.commit,
        "applied": report.applied,
        "first_index": report.first_index,
        "last_index": report.last_index,
        "snapshot_index": report.snapshot_index,
        "pending_proposals": report.pending_proposals,
        "failure": report.failure or None,
        "fault": report.fault or None,
        "members": [
            {
                "node": str(member.node_id),
                "address": member.address or None,
                "voter": member.voter,
                "state": member.state or None,
                "match_index": member.match_index,
                "silence_seconds": member.silence,
            }
            for member in report.members
        ],
        "metrics": dict(report.metrics),
    }


def _print(report: RaftReport) -> None:
    pairs: list[tuple[str, object]] = [
        ("node", report.node_id),
        ("cluster", report.cluster_id),
        ("role", f"{report.role} in term {report.term}"),
        ("leader", report.leader or "unknown"),
        ("log", f"{report.first_index}..{report.last_index}, committed {report.commit}, applied {report.applied}"),
        ("snapshot", f"up to {report.snapshot_index}" if report.snapshot_index else "none"),
        ("proposals", f"{report.pending_proposals} pending"),
    ]
    pairs += [("failed", report.failure)] if report.failure else []
    pairs += [("fault", report.fault)] if report.fault else []
    print_pairs(pairs)
    print()
    print_table(
        ["member", "address", "votes", "state", ">matched", ">silent s"],
        [
            (
                member.node_id,
                member.address or "-",
                "yes" if member.voter else "no",
                member.state or ("leader" if member.node_id == report.leader else "-"),
                member.match_index or "-",
                f"{member.silence:.2f}" if member.state else "-",
            )
            for member in report.members
        ],
    )


@raft.command(short_help="Hand the leadership over.")
@click.argument("target", required=False)
@endpoint_option
@timeout_option
@json_option
def transfer(*, target: str | None, endpoint: str, timeout: float, as_json: bool) -> int:
    """Hand the leadership to the node TARGET, by default to the voter that is furthest."""
    return run(_transfer(target, endpoint, timeout, as_json=as_json))


async def _transfer(target: str | None, endpoint: str, timeout: float, *, as_json: bool) -> int:
    from orbit_lite.services import RaftAdminClient

    wanted = None if target is None else NodeId.parse(target)
    async with connected(endpoint, timeout) as channel:
        leader = await RaftAdminClient(channel).transfer(wanted, timeout=timeout)
    if as_json:
        print_json({"leader": str(leader)})
    else:
        print(f"{leader} leads")
    return 0


@raft.command(short_help="Add a node to the cluster.")
@click.argument("node")
@click.argument("address")
@click.option("--learner", is_flag=True, help="Leave it a learner: it receives the log, and does not vote.")
@endpoint_option
@timeout_option
@json_option
def add(*, node: str, address: str, learner: bool, endpoint: str, timeout: float, as_json: bool) -> int:
    """Add NODE, which serves at ADDRESS and was started with raft.join.

    It becomes a voter once it has caught up.
    """
    return run(_add(NodeId.parse(node), address, endpoint, timeout, learner=learner, as_json=as_json))


async def _add(node_id: NodeId, address: str, endpoint: str, timeout: float, *, learner: bool, as_json: bool) -> int:
    from orbit_lite.rpc import Endpoint
    from orbit_lite.services import RaftAdminClient

    Endpoint.parse(address)
    async with connected(endpoint, timeout) as channel:
        await RaftAdminClient(channel).add(node_id, address, learner=learner, timeout=timeout)
    if as_json:
        print_json({"node": str(node_id), "voter": not learner})
    else:
        print(f"{node_id} is a {'learner' if learner else 'voter'}")
    return 0


@raft.command(short_help="Let a learner vote.")
@click.argument("node")
@endpoint_option
@timeout_option
@json_option
def promote(*, node: str, endpoint: str, timeout: float, as_json: bool) -> int:
    """Make the learner NODE a voter, as soon as it has caught up."""
    return run(_promote(NodeId.parse(node), endpoint, timeout, as_json=as_json))


async def _promote(node_id: NodeId, endpoint: str, timeout: float, *, as_json: bool) -> int:
    from orbit_lite.services import RaftAdminClient

    async with connected(endpoint, timeout) as channel:
        await RaftAdminClient(channel).promote(node_id, timeout=timeout)
    if as_json:
        print_json({"node": str(node_id), "voter": True})
    else:
        print(f"{node_id} is a voter")
    return 0


@raft.command(short_help="Remove a node from the cluster.")
@click.argument("node")
@endpoint_option
@timeout_option
@json_option
def remove(*, node: str, endpoint: str, timeout: float, as_json: bool) -> int:
    """Remove NODE; it may be the leader itself. Only then may it come back with another store."""
    return run(_remove(NodeId.parse(node), endpoint, timeout, as_json=as_json))


async def _remove(node_id: NodeId, endpoint: str, timeout: float, *, as_json: bool) -> int:
    from orbit_lite.services import RaftAdminClient

    async with connected(endpoint, timeout) as channel:
        await RaftAdminClient(channel).remove(node_id, timeout=timeout)
    if as_json:
        print_json({"removed": str(node_id)})
    else:
        print(f"{node_id} is no member any more")
    return 0


@raft.command(short_help="Let a node write a snapshot, or take a backup.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Take a backup into this file instead.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), metavar="DIR", help="Take it from the store of a node at rest."
)
@click.option("--all", "everything", is_flag=True, help="With --data-dir: take what is not known to be committed, too.")
@endpoint_option
@timeout_option
@json_option
def snapshot(
    *, out: Path | None, data_dir: Path | None, everything: bool, endpoint: str, timeout: float, as_json: bool
) -> int:
    """Let a node write its state down and forget the log before it.

    With --out: copy all that the node has applied into a file, for `restore`. The leader has applied all that was
    acknowledged, another node may be a little behind. A node that does not run is named by --data-dir.
    """
    if (out is None and data_dir is not None) or (data_dir is None and everything):
        missing = "--out FILE" if out is None else "--data-dir DIR"
        raise click.UsageError(f"this needs {missing}, too", click.get_current_context())
    if out is None:
        return run(_snapshot(endpoint, timeout, as_json=as_json))
    if data_dir is None:
        return run(_backup(out, endpoint, timeout, as_json=as_json))
    return stores.backup(data_dir, out, everything=everything, as_json=as_json)


async def _snapshot(endpoint: str, timeout: float, *, as_json: bool) -> int:
    from orbit_lite.services import RaftAdminClient

    async with connected(endpoint, timeout) as channel:
        index, size = await RaftAdminClient(channel).snapshot(timeout=timeout)
    if as_json:
        print_json({"index": index, "bytes": size})
    else:
        print(f"snapshot up to {index}, {size} bytes")
    return 0


async def _backup(out: Path, endpoint: str, timeout: float, *, as_json: bool) -> int:
    from orbit_lite.services import RaftAdminClient
    from orbit_lite.storage import read_backup
    from orbit_lite.storage.files import replacing

    try:
        async with connected(endpoint, timeout) as channel:
            with replacing(out) as file:
                async with aclosing(RaftAdminClient(channel).backup(timeout=timeout)) as pieces:
                    async for piece in pieces:
                        file.write(piece)
                file.flush()
                report = read_backup(file.name)
    except OSError as error:
        if isinstance(error, OrbitError):
            raise
        raise IoError(f"{out}: {error.strerror or error}") from error
    stores.print_backup(report, out, as_json=as_json)
    return 0


for _verb in (stores.inspect, stores.restore, stores.recover):
    raft.add_command(_verb)
