"""A network between nodes of one process, for tests of what is built on consensus.

    network = MemoryNetwork()
    for name in names:
        node = RaftConsensus(name, names, store=MemoryLogStore(), state_machine=Counter())
        await network.start(node)
    network.isolate(names[0])

Together with `orbit_lite.testing.clock.run` such a cluster runs in virtual time.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from orbit_lite.errors import ConnectError, ConnectionLost, OrbitError, TimeoutError
from orbit_lite.model import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    NodeId,
    RaftCommand,
    VoteRequest,
    VoteResponse,
)
from orbit_lite.raft import (
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    PreVoteRequest,
    PreVoteResponse,
    RaftConsensus,
    ReadIndexRequest,
    ReadIndexResponse,
    TimeoutNowRequest,
    TimeoutNowResponse,
)

__all__ = ["MemoryNetwork", "MemoryTransport"]

_T = TypeVar("_T")


class MemoryNetwork:
    """Links between nodes, all there until a test cuts them.

    delay: seconds that a message takes. request_timeout: seconds for which a request waits for its answer.
    """

    def __init__(self, *, delay: float = 0.001, request_timeout: float = 1.0) -> None:
        self.delay = delay
        self.request_timeout = request_timeout
        self.nodes: dict[NodeId, RaftConsensus] = {}
        #: (from, to): nothing goes this way.
        self.cut: set[tuple[NodeId, NodeId]] = set()

    async def start(self, node: RaftConsensus) -> MemoryTransport:
        """Start a node on this network. Again under the same id takes the place of the former one."""
        transport = MemoryTransport(self, node.node_id)
        self.nodes[node.node_id] = node
        try:
            await node.start(transport)
        except BaseException:
            del self.nodes[node.node_id]
            raise
        return transport

    async def stop(self, node: RaftConsensus) -> None:
        """Take a node off the network, and stop it."""
        if self.nodes.get(node.node_id) is node:
            del self.nodes[node.node_id]
        await node.stop()

    def isolate(self, *group: NodeId) -> None:
        """Cut the links between these nodes and all others, in both directions."""
        for inside in group:
            for outside in self.nodes.keys() - set(group):
                self.cut |= {(inside, outside), (outside, inside)}

    def heal(self, links: Iterable[tuple[NodeId, NodeId]] | None = None) -> None:
        """Mend these links, or all."""
        self.cut -= self.cut.copy() if links is None else set(links)

    async def carry(self, source: NodeId, target: NodeId, ask: Callable[[RaftConsensus], Awaitable[_T]]) -> _T:
        """Let a node ask another. Raises what the other answers with, or a NetworkError."""
        await asyncio.sleep(self.delay)
        node = self.nodes.get(target)
        if node is None or (source, target) in self.cut:
            raise ConnectError(f"{target} cannot be reached", peer=str(target))
        try:
            async with asyncio.timeout(self.request_timeout):
                answer = await ask(node)
        except builtins.TimeoutError as error:
            if isinstance(error, OrbitError):
                raise
            raise TimeoutError(f"{target} gave no answer in time", peer=str(target)) from error
        await asyncio.sleep(self.delay)
        if self.nodes.get(target) is not node or (target, source) in self.cut:
            raise ConnectionLost(f"{target} went away before its answer came", peer=str(target))
        return answer


class MemoryTransport:
    """LiteRaftTransport of one node. addresses: what `update_node_address` was told."""

    def __init__(self, network: MemoryNetwork, node_id: NodeId) -> None:
        self._network = network
        self._node_id = node_id
        self.addresses: dict[NodeId, str] = {}

    async def _ask(self, target: NodeId, request: Any, *, transfer: bool = False) -> Any:
        return await self._network.carry(self._node_id, target, lambda node: node.handle(request, transfer=transfer))

    async def send_vote_request(self, target: NodeId, request: VoteRequest) -> VoteResponse:
        response: VoteResponse = await self._ask(target, request)
        return response

    async def send_append_entries(self, target: NodeId, request: AppendEntriesRequest) -> AppendEntriesResponse:
        response: AppendEntriesResponse = await self._ask(target, request)
        return response

    async def broadcast_heartbeat(
        self, nodes: Sequence[NodeId], request: AppendEntriesRequest
    ) -> list[AppendEntriesResponse]:
        answers = await asyncio.gather(
            *(self.send_append_entries(node_id, request) for node_id in nodes), return_exceptions=True
        )
        return [answer for answer in answers if isinstance(answer, AppendEntriesResponse)]

    async def send_pre_vote(self, target: NodeId, request: PreVoteRequest) -> PreVoteResponse:
        response: PreVoteResponse = await self._ask(target, request)
        return response

    async def send_install_snapshot(self, target: NodeId, request: InstallSnapshotRequest) -> InstallSnapshotResponse:
        response: InstallSnapshotResponse = await self._ask(target, request)
        return response

    async def send_transfer_vote(self, target: NodeId, request: VoteRequest) -> VoteResponse:
        response: VoteResponse = await self._ask(target, request, transfer=True)
        return response

    async def send_timeout_now(self, target: NodeId, request: TimeoutNowRequest) -> TimeoutNowResponse:
        response: TimeoutNowResponse = await self._ask(target, request)
        return response

    async def send_read_index(self, target: NodeId, request: ReadIndexRequest) -> ReadIndexResponse:
        response: ReadIndexResponse = await self._ask(target, request)
        return response

    async def forward_proposal(self, target: NodeId, commands: Sequence[RaftCommand]) -> tuple[int, int]:
        return await self._network.carry(self._node_id, target, lambda node: node.propose_forwarded(commands))

    async def update_node_address(self, node_id: NodeId, address: str) -> None:
        self.addresses[node_id] = address
