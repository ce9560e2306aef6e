"""The demo from beginning to end: cluster, accounts, transfers, settlement, report."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass

from orbit_lite.cli.demo.cluster import Cluster, NodeProcess
from orbit_lite.cli.demo.entrances import Entrance, Entrances
from orbit_lite.cli.demo.ledger import ACCOUNT_TYPE
from orbit_lite.cli.demo.money import format_cents
from orbit_lite.cli.demo.progress import Progress
from orbit_lite.cli.demo.report import NodeFigures, Report
from orbit_lite.cli.demo.rows import Sheet
from orbit_lite.cli.demo.teller import Teller
from orbit_lite.cli.demo.transfers import TransferRun
from orbit_lite.errors import OrbitError
from orbit_lite.rpc import Channel
from orbit_lite.services import AdminClient

__all__ = ["Settings", "play"]

_SETTLE_LIMIT = 30.0  # seconds for what is still unknown when all else is done
_FIGURES_LIMIT = 5.0  # seconds for a node to tell its figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """nodes: how many processes. opening, limit: cents. width: transfers under way. timeout: seconds for one call."""

    nodes: int
    opening: int
    limit: int
    width: int
    timeout: float
    log_level: str


async def play(source: str, sheet: Sheet, settings: Settings, progress: Progress) -> Report:
    """Send the sheet's transfers through a cluster that lives as long as this call. Raises OrbitError if none starts.

    Every call enters the cluster at the next node in turn, wherever its account lives, so most are passed on between
    nodes. When a node is lost, nothing new is begun, what is under way is brought to an end as far as it can be, and
    the report says so.
    """
    accounts = sheet.accounts
    name = secrets.token_hex(4)  # keeps this run's entry ids apart from any other's
    runs = [TransferRun(transfer, f"{name}-{transfer.line}") for transfer in sheet.transfers]
    async with Cluster(settings.nodes, log_level=settings.log_level, progress=progress.say) as cluster:
        async with Entrances(cluster.nodes, timeout=settings.timeout) as entrances:
            teller = Teller(entrances.invoke, width=settings.width)
            progress.say(f"{len(accounts)} accounts, {format_cents(settings.opening)} in each")
            await teller.open_accounts(accounts, balance=settings.opening, limit=settings.limit)
            began = time.perf_counter()
            with progress.count("transfers", len(runs)) as count:
                started = await teller.run(runs, stop=cluster.lost, progress=count)
            if any(not run.state.is_final for run in started):
                progress.say("settling what is unknown")
                await teller.settle(started, time_limit=_SETTLE_LIMIT)
            seconds = time.perf_counter() - began
            holdings = await teller.balances(accounts)
        figures = await asyncio.gather(*map(_figures, cluster.nodes, entrances.all))
        losses = [f"{node.node_id.key} {node.ending}: {node.last_words}" for node in cluster.nodes if node.has_ended]
    return Report(source, sheet.rejections, runs, started, settings.opening, holdings, figures, seconds, losses)


async def _figures(node: NodeProcess, entrance: Entrance) -> NodeFigures:
    """What a node hosts, which it is asked, and what entered there."""
    stats = entrance.stats
    actors = served = 0
    problem = node.ending if node.has_ended else ""
    if not problem:
        try:
            async with Channel.from_url(node.url) as channel:
                report = await AdminClient(channel).status(timeout=_FIGURES_LIMIT)
            actors = report.active_actors
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
