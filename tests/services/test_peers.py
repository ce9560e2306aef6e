"""The streams of a node to all others: one each, to wherever the other is now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from orbit_lite.errors import ConnectionLost, Executed, NodeNotFound
from orbit_lite.model import AddressableReference, InvocationRequest, Json, NodeId
from orbit_lite.rpc import Channel, ConnectionPool
from orbit_lite.services import OrbitConnectionService, PeerStreams, StreamConfig

SELF, PEER = NodeId("n1"), NodeId("n2")


class Cluster:
    """The resolver, the pool and the nodes of a cluster whose addresses the test changes."""

    def __init__(self, stack: AsyncExitStack, serve: Any) -> None:
        self._stack = stack
        self._serve = serve
        self.endpoints: dict[NodeId, str] = {}
        self.dialled: list[str] = []
        self.services: dict[str, OrbitConnectionService] = {}

    async def add(self, node_id: NodeId) -> str:
        service = OrbitConnectionService(node_id, self)
        server = await self._serve(service)
        self.endpoints[node_id] = f"http://127.0.0.1:{server.port}"
        self.services[self.endpoints[node_id]] = service
        return self.endpoints[node_id]

    async def resolve_node(self, node_id: NodeId) -> str:
        if node_id not in self.endpoints:
            raise NodeNotFound(str(node_id))
        return self.endpoints[node_id]

    async def resolve_addressable(self, addressable: AddressableReference) -> NodeId:
        return PEER

    def channel(self, endpoint: str) -> Channel:
        self.dialled.append(endpoint)
        channel = Channel.from_url(endpoint)
        self._stack.push_async_exit(channel)
        return channel

    async def handle(
        self, request: InvocationRequest, *, source: NodeId | None, attempts: int = 0, timeout: float | None = None
    ) -> Json:
        if request.method == "wait":
            await asyncio.Event().wait()
        return [str(source), attempts]


@pytest.fixture
def cluster(stack: AsyncExitStack, serve: Any) -> Cluster:
    return Cluster(stack, serve)


@pytest.fixture
async def peers(cluster: Cluster) -> AsyncIterator[PeerStreams]:
    peers = PeerStreams(SELF, cluster, cluster, StreamConfig(backoff_initial=0.0, backoff_max=0.0))
    yield peers
    await peers.close()


def request(method: str = "m") -> InvocationRequest:
    return InvocationRequest(AddressableReference.of("T", "k"), method)


async def test_all_calls_to_a_node_share_one_stream_that_says_who_calls(cluster: Cluster, peers: PeerStreams) -> None:
    endpoint = await cluster.add(PEER)
    results = await asyncio.gather(*(peers.invoke(PEER, request(), attempts=n) for n in range(10)))
    assert results == [["(default:n1)", n] for n in range(10)]
    assert cluster.dialled == [endpoint]
    assert repr(peers) == (
        f"<PeerStreams of (default:n1): <InvocationStream (default:n2) at {endpoint} open, 0 in flight, 0 waiting>>"
    )


async def test_a_node_that_nobody_knows_is_not_found(peers: PeerStreams) -> None:
    with pytest.raises(NodeNotFound):
        await peers.invoke(PEER, request())


async def test_a_node_that_has_moved_is_called_at_its_new_address(
    cluster: Cluster, peers: PeerStreams, until: Any
) -> None:
    old = await cluster.add(PEER)
    waiting = asyncio.create_task(peers.invoke(PEER, request("wait")))
    await until(lambda: cluster.services[old].in_flight == 1)
    new = await cluster.add(PEER)
    assert await peers.invoke(PEER, request()) == ["(default:n1)", 0]
    assert cluster.dialled == [old, new]
    with pytest.raises(ConnectionLost) as lost:
        await waiting
    assert (lost.value.executed, lost.value.peer) == (Executed.MAYBE, f"(default:n2) at {old}")
    await until(lambda: cluster.services[old].in_flight == 0)


async def test_a_forgotten_node_may_come_back(cluster: Cluster, peers: PeerStreams) -> None:
    await cluster.add(PEER)
    peers.forget(PEER)
    for _ in range(2):
        await peers.invoke(PEER, request())
        peers.forget(PEER)
    assert len(cluster.dialled) == 2


async def test_closing_ends_all_streams_and_refuses_new_calls(cluster: Cluster, peers: PeerStreams, until: Any) -> None:
    service = cluster.services[await cluster.add(PEER)]
    waiting = asyncio.create_task(peers.invoke(PEER, request("wait")))
    await until(lambda: service.in_flight == 1)
    await peers.close()
    with pytest.raises(ConnectionLost):
        await waiting
    with pytest.raises(ConnectionLost, match="were closed") as refused:
        await peers.invoke(PEER, request())
    assert refused.value.executed is Executed.NO
    await until(lambda: service.in_flight == 0)


async def test_streams_run_over_the_connections_of_a_pool(cluster: Cluster, until: Any) -> None:
    endpoint = await cluster.add(PEER)
    async with ConnectionPool() as pool:
        peers = PeerStreams(SELF, cluster, pool)
        waiting = asyncio.create_task(peers.invoke(PEER, request("wait")))
        assert await peers.invoke(PEER, request()) == ["(default:n1)", 0]
        assert pool.channel(endpoint).open_streams == 1
        await peers.close()
        with pytest.raises(ConnectionLost):
            await waiting
        await until(lambda: pool.channel(endpoint).open_streams == 0)
