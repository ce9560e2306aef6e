"""Who leads the cluster; what becomes of it when the leader is killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from orbit_lite.cli.demo.cluster import NodeProcess
from orbit_lite.errors import OrbitError
from orbit_lite.model import NodeId
from orbit_lite.rpc import Channel
from orbit_lite.services import RaftAdminClient

__all__ = ["Leader", "Succession", "depose", "wait_for_leader"]

_ASK_EVERY = 0.02  # seconds
_ASK_LIMIT = 1.0  # seconds for a node to say who leads
_FIND_LIMIT = 30.0  # seconds to find the leader who is to be killed


@dataclass(frozen=True, slots=True)
class Leader:
    """A node that says of itself that it leads in this term."""

    node_id: NodeId
    term: int


@dataclass(frozen=True, slots=True)
class Succession:
    """A leader that was killed while transfers ran.

    done: transfers that were over then. successor: who leads since; None: nobody was found. seconds: from the kill to
    the moment when a node said that it leads.
    """

    killed: Leader
    done: int
    successor: Leader | None
    seconds: float


async def wait_for_leader(nodes: Sequence[NodeProcess], *, after_term: int = 0) -> Leader:
    """The node that leads in a later term, as soon as it says so itself; asked again and again."""
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(Channel.from_url(node.url)) for node in nodes]
        while True:
            answers = await asyncio.gather(*(_leads(channel) for channel in channels))
            leaders = [answer for answer in answers if answer is not None and answer.term > after_term]
            if leaders:
                return max(leaders, key=lambda leader: leader.term)
            await asyncio.sleep(_ASK_EVERY)


async def _leads(channel: Channel) -> Leader | None:
    try:
        report = await RaftAdminClient(channel).status(timeout=_ASK_LIMIT)
    except OrbitError:
        return None  # it is asked again
    return Leader(report.node_id, report.term) if report.role == "leader" else None


async def depose(nodes: Sequence[NodeProcess], *, done: int, limit: float) -> Succession | None:
    """Kill the leader with SIGKILL, and wait until another one leads, `limit` seconds at most.

    None: nobody led to begin with, for a long time.
    """
    try:
        async with asyncio.timeout(_FIND_LIMIT):
            leader = await wait_for_leader([node for node in nodes if not node.has_ended])
    except TimeoutError:
        return None
    victim = next(node for node in nodes if node.node_id == leader.node_id)
    began = time.perf_counter()
    victim.kill()
    successor = None
    try:
        async with asyncio.timeout(limit):
            rest = [node for node in nodes if node is not victim and not node.has_ended]
            successor = await wait_for_leader(rest, after_term=leader.term)
    except TimeoutError:
        pass  # the report says that nobody leads
    return Succession(leader, done, successor, time.perf_counter() - began)
