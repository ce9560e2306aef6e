"""The demo from beginning to end: cluster, accounts, transfers, settlement, report."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass

from orbit_lite.cli.demo.audit import Replica, audit
from orbit_lite.cli.demo.cluster import Cluster, NodeProcess
from orbit_lite.cli.demo.entrances import Entrance, Entrances
from orbit_lite.cli.demo.leadership import Succession, depose, wait_for_leader
from orbit_lite.cli.demo.ledger import ACCOUNT_TYPE
from orbit_lite.cli.demo.money import format_cents
from orbit_lite.cli.demo.progress import Progress
from orbit_lite.cli.demo.report import NodeFigures, Report
from orbit_lite.cli.demo.rows import Sheet
from orbit_lite.cli.demo.teller import Teller
from orbit_lite.cli.demo.transfers import TransferRun
from orbit_lite.errors import ClusterError, OrbitError
from orbit_lite.errors import TimeoutError as LimitPassed
from orbit_lite.rpc import Channel
from orbit_lite.services import AdminClient

__all__ = ["Settings", "play"]

_ELECTION_LIMIT = 30.0  # seconds until somebody leads and all nodes are registered, on a busy machine
_ASK_AGAIN = 0.05  # seconds
_PATIENCE = 30.0  # seconds for the accounts of a node that was killed to come up elsewhere
_SETTLE_LIMIT = 30.0  # seconds for what is still unknown when all else is done
_FIGURES_LIMIT = 5.0  # seconds for a node to tell its figures
_DECISION = 0.8  # of the limit of a call may go by until the cluster has decided


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """nodes: how many processes. opening, limit: cents. width: transfers under way. timeout: seconds for one call.
    kill: whether the leader is killed after a third of the transfers."""

    nodes: int
    opening: int
    limit: int
    width: int
    timeout: float
    log_level: str
    kill: bool = False


async def play(source: str, sheet: Sheet, settings: Settings, progress: Progress) -> Report:
    """Send the sheet's transfers through a cluster that lives as long as this call. Raises OrbitError if none starts.

    Every call enters the cluster at the next node in turn, wherever its account lives, so most are passed on between
    nodes. When no majority of nodes is left, nothing new is begun, what is under way is brought to an end as far as it
    can be, and the report says the rest.
    """
    accounts = sheet.accounts
    salt = secrets.token_hex(4)
    runs = [TransferRun(transfer, f"{salt}-{transfer.line}") for transfer in sheet.transfers]
    decision = settings.timeout * _DECISION
    async with Cluster(
        settings.nodes, log_level=settings.log_level, timeout=decision, progress=progress.say
    ) as cluster:
        await _elect(cluster, progress)
        async with Entrances(cluster.nodes, timeout=settings.timeout) as entrances:
            teller = Teller(entrances.invoke, width=settings.width, patience=_PATIENCE, is_hopeless=cluster.lost.is_set)
            progress.say(f"{len(accounts)} accounts, {format_cents(settings.opening)} in each")
            await teller.open_accounts(accounts, balance=settings.opening, limit=settings.limit)
            began = time.perf_counter()
            started, succession = await _run(teller, runs, cluster, progress, kill=settings.kill)
            if any(not run.state.is_final for run in started):
                progress.say("settling what is unknown")
                await teller.settle(started, time_limit=_SETTLE_LIMIT)
            seconds = time.perf_counter() - began
            holdings = await teller.balances(accounts)
        acknowledged = [entry for run in started for entry in run.acknowledged]
        replicas = await _audit(cluster, acknowledged, timeout=settings.timeout)
        figures = await asyncio.gather(*map(_figures, cluster.nodes, entrances.all))
        return Report(
            source,
            sheet.rejections,
            runs,
            started,
            settings.opening,
            holdings,
            figures,
            seconds,
            cluster.losses,
            acknowledged=len(acknowledged),
            replicas=replicas,
            succession=succession,
            slowest=teller.slowest,
        )


async def _elect(cluster: Cluster, progress: Progress) -> None:
    """Wait for a leader, and until each node is known to the cluster and knows it."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(_ELECTION_LIMIT):
            leader = await wait_for_leader(cluster.nodes)
            seconds = time.perf_counter() - began
            progress.say(f"{leader.node_id.key} was elected leader in term {leader.term}, after {seconds:.2f} s")
            while any(replica.problem for replica in await _audit(cluster, [], timeout=_ELECTION_LIMIT)):
                if cluster.lost.is_set():
                    raise ClusterError("; ".join(cluster.losses))
                await asyncio.sleep(_ASK_AGAIN)
    except TimeoutError as error:
        raise LimitPassed(f"the nodes did not come together within {_ELECTION_LIMIT:g} s") from error


async def _audit(cluster: Cluster, acknowledged: list[tuple[str, str]], *, timeout: float) -> list[Replica]:
    return await asyncio.gather(*(audit(node, acknowledged, timeout=timeout) for node in cluster.alive))


async def _run(
    teller: Teller, runs: list[TransferRun], cluster: Cluster, progress: Progress, *, kill: bool
) -> tuple[list[TransferRun], Succession | None]:
    """Drive the transfers; kill the leader when a third of them is over, and see who comes after it."""
    is_time = asyncio.Event()
    finished = 0

    async def overthrow() -> Succession | None:
        await is_time.wait()
        succession = await depose(cluster.nodes, done=finished, limit=_ELECTION_LIMIT)
        progress.say("nobody leads" if succession is None else _tell(succession))
        return succession

    killing = asyncio.create_task(overthrow(), name="kill the leader") if kill else None
    try:
        with progress.count("transfers", len(runs)) as count:

            def note(done: int) -> None:
                nonlocal finished
                finished = done
                count(done)
                if 3 * done >= len(runs):
                    is_time.set()

            started = await teller.run(runs, stop=cluster.lost, progress=note)
        succession = await killing if killing is not None and is_time.is_set() else None
    finally:
        if killing is not None:
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
    return started, succession


def _tell(succession: Succession) -> str:
    killed, successor = succession.killed, succession.successor
    what = f"{killed.node_id.key}, the leader, was killed after {succession.done:,} transfers"
    if successor is None:
        return f"{what}; nobody leads after {succession.seconds:.2f} s"
    return f"{what}; {successor.node_id.key} leads in term {successor.term}, {succession.seconds:.2f} s later"


async def _figures(node: NodeProcess, entrance: Entrance) -> NodeFigures:
    """What a node hosts, which it is asked, and what entered there."""
    stats = entrance.stats
    actors = served = 0
    problem = node.ending if node.has_ended else ""
    if not problem:
        try:
            async with Channel.from_url(node.url) as channel:
                report = await AdminClient(channel).status(timeout=_FIGURES_LIMIT)
                listing = await AdminClient(channel).actors(ACCOUNT_TYPE, limit=1, timeout=_FIGURES_LIMIT)
            actors = listing.total
            served = sum(method.calls for method in report.calls if method.method.startswith(f"{ACCOUNT_TYPE}."))
        except OrbitError as error:
            problem = str(error)
    return NodeFigures(
        node=node.node_id.key,
        url=node.url,
        actors=actors,
        served=served,
        calls=stats.calls,
        forwarded=entrance.forwarded,
        errors=stats.errors,
        p50=stats.p50,
        p90=stats.p90,
        p99=stats.p99,
        largest=stats.largest,
        problem=problem,
    )
