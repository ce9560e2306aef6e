"""Raft between our nodes and grpcio: the bytes of orbit.consensus, and what a foreign peer is told.

The bytes are written out here, field by field, so that neither library decides what is right.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Sequence
from importlib.resources import files
from typing import Any

import pytest

from orbit_lite.errors import OrbitError, Status
from orbit_lite.model import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    HeartBeat,
    LiteCommand,
    LiteKind,
    LogEntry,
    NodeId,
    NodeJoin,
    RaftCommand,
    VoteRequest,
    VoteResponse,
)
from orbit_lite.raft import ClusterMismatch, LogStore, PreVoteRequest, Request, Response
from orbit_lite.raft.identity import introduce
from orbit_lite.services import GrpcRaftTransport, start_raft_server
from orbit_lite.storage import MemoryLogStore

grpc = pytest.importorskip("grpc", reason="grpcio has no wheel for this Python")
pytestmark = pytest.mark.interop

ME, OTHER = NodeId("me"), NodeId("other", "ns")
VOTE = "/orbit.consensus.RaftConsensus/RequestVote"
APPEND = "/orbit.consensus.RaftConsensus/AppendEntries"
PEER = "/orbit.lite.RaftPeer/"

#: 1 term=2, 2 candidate_id, 3 last_log_index=5, 4 last_log_term=1
VOTE_REQUEST = b"\x08\x02\x12\x0c(default:me)\x18\x05\x20\x01"
#: 1 term=2, 2 vote_granted, 3 voter_id
VOTE_RESPONSE = b"\x08\x02\x10\x01\x1a\x0a(ns:other)"
#: 1 term=2, 2 success, 3 follower_id, 4 last_log_index=7
APPEND_RESPONSE = b"\x08\x02\x10\x01\x1a\x0a(ns:other)\x20\x07"


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field; both numbers below 128."""
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def entry(index: int, command: str) -> bytes:
    """1 term=2, 2 index, 3 command, 4 timestamp=9"""
    return field(5, b"\x08\x02\x10" + bytes([index]) + field(3, command.encode()) + b"\x20\x09")


ENTRIES = (
    LogEntry(2, 5, HeartBeat(), 9),
    LogEntry(2, 6, NodeJoin(NodeId("größe", "ns")), 9),
    LogEntry(2, 7, LiteCommand(LiteKind.DATA, "c", 1, b"\x00\xff"), 9),
)
#: 1 term=2, 2 leader_id, 3 prev_log_index=4, 4 prev_log_term=1, 5 entries, 6 leader_commit=4
APPEND_REQUEST = (
    b"\x08\x02"
    + field(2, b"(default:me)")
    + b"\x18\x04\x20\x01"
    + entry(5, '"HeartBeat"')
    + entry(6, '{"NodeJoin":{"key":"größe","namespace":"ns"}}')
    + entry(7, '{"Lite":{"kind":"data","client":"c","seq":1,"data":"AP8="}}')
    + b"\x30\x04"
)


# ---------------------------------------------------------------- a grpcio client


class Node:
    """Grants every vote, takes every entry."""

    def __init__(self) -> None:
        self.node_id = OTHER
        self.cluster_id = "default"
        self.store: LogStore = MemoryLogStore("a store")
        self.asked: list[Request] = []

    async def handle(self, request: Request, *, transfer: bool = False) -> Response:
        self.asked.append(request)
        if isinstance(request, VoteRequest):
            return VoteResponse(request.term, True, OTHER)
        assert isinstance(request, AppendEntriesRequest)
        return AppendEntriesResponse(request.term, True, OTHER, request.prev_log_index + len(request.entries))

    async def propose_forwarded(self, commands: Sequence[RaftCommand]) -> tuple[int, int]:
        raise NotImplementedError

    async def remember_peer(self, node_id: NodeId, store_id: str) -> None:
        self.store.remember_peer(node_id, store_id)


class Client:
    """grpcio's, raw bytes in and out."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)

    async def call(self, path: str, request: bytes, metadata: Sequence[tuple[str, str]] = ()) -> bytes:
        reply: bytes = await self._channel.unary_unary(path)(request, metadata=tuple(metadata), timeout=10)
        return reply

    async def close(self) -> None:
        await self._channel.close()


@pytest.fixture
async def node() -> AsyncIterator[tuple[Node, Client]]:
    node = Node()
    async with await start_raft_server(node, "127.0.0.1:0") as server:
        client = Client(server.address)
        yield node, client
        await client.close()


INTRODUCTION = list(introduce("default", ME, "my store", OTHER, "a store").items())


async def test_a_grpcio_client_gets_the_answers_of_orbit_consensus(node: tuple[Node, Client]) -> None:
    served, client = node
    assert await client.call(VOTE, VOTE_REQUEST, INTRODUCTION) == VOTE_RESPONSE
    assert await client.call(APPEND, APPEND_REQUEST, INTRODUCTION) == APPEND_RESPONSE
    assert served.asked == [VoteRequest(2, ME, 5, 1), AppendEntriesRequest(2, ME, 4, 1, ENTRIES, 4)]


def test_google_reads_and_writes_the_same_bytes() -> None:
    file_set = pytest.importorskip("google.protobuf.descriptor_pb2").FileDescriptorSet
    shipped = file_set.FromString(files("orbit_proto").joinpath("descriptors.binpb").read_bytes())
    messages = importlib.import_module("google.protobuf.message_factory").GetMessages(shipped.file)
    for name, data in (
        ("VoteRequestProto", VOTE_REQUEST),
        ("VoteResponseProto", VOTE_RESPONSE),
        ("AppendEntriesRequestProto", APPEND_REQUEST),
        ("AppendEntriesResponseProto", APPEND_RESPONSE),
    ):
        message = messages[f"orbit.consensus.{name}"].FromString(data)
        assert message.SerializeToString() == data


async def test_a_client_that_does_not_say_who_it_is_gets_no_vote(node: tuple[Node, Client]) -> None:
    served, client = node
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.call(VOTE, VOTE_REQUEST)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert not served.asked


@pytest.mark.parametrize("command", ["", "Heartbeat", '{"Unknown":1}', '{"Lite":{"kind":"data"}}'])
async def test_a_corrupt_command_is_refused_and_no_heartbeat(node: tuple[Node, Client], command: str) -> None:
    served, client = node
    with pytest.raises(grpc.aio.AioRpcError, match=r"entries\[0\].command") as refused:
        await client.call(APPEND, b"\x08\x02" + field(2, b"(default:me)") + entry(5, command), INTRODUCTION)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not served.asked


async def test_the_other_dialect_of_ids_and_commands_is_read(node: tuple[Node, Client]) -> None:
    served, client = node
    request = b"\x08\x02" + field(2, b"me") + entry(1, '{"NodeJoin":"n1"}') + entry(2, '{"HeartBeat":null}')
    await client.call(APPEND, request, INTRODUCTION)
    entries = LogEntry(2, 1, NodeJoin(NodeId("n1")), 9), LogEntry(2, 2, HeartBeat(), 9)
    assert served.asked == [AppendEntriesRequest(2, ME, 0, 0, entries, 0)]


# ---------------------------------------------------------------- a grpcio server


class Peer:
    """A grpcio server of raw bytes that knows RequestVote and AppendEntries, and Identify if it may."""

    def __init__(self, *, identifies: bool) -> None:
        self.received: list[tuple[str, bytes, dict[str, str]]] = []
        self._answers = {VOTE: VOTE_RESPONSE, APPEND: APPEND_RESPONSE}
        if identifies:  # 1 node_id, 2 cluster_id, 3 store_id
            self._answers[PEER + "Identify"] = field(1, b"(ns:other)") + field(2, b"default") + field(3, b"a store")

    async def __aenter__(self) -> Peer:
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        self.transport = GrpcRaftTransport(ME, {OTHER: self.address})
        me = Node()
        me.node_id, me.store = ME, MemoryLogStore("my store")
        self.transport.bind(me)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.transport.close()
        await self._server.stop(None)

    def service(self, handler_call_details: Any) -> Any:
        """What grpcio asks of a handler of any method; None = unknown."""
        method = handler_call_details.method
        answer = self._answers.get(method)
        if answer is None:
            return None

        async def serve(request: bytes, context: Any) -> bytes:
            self.received.append((method, request, dict(context.invocation_metadata())))
            return answer

        return grpc.unary_unary_rpc_method_handler(serve)


async def test_a_grpcio_server_gets_the_requests_of_orbit_consensus() -> None:
    async with Peer(identifies=True) as peer:
        vote = await peer.transport.send_vote_request(OTHER, VoteRequest(2, ME, 5, 1))
        assert vote == VoteResponse(2, True, OTHER)
        appended = await peer.transport.send_append_entries(OTHER, AppendEntriesRequest(2, ME, 4, 1, ENTRIES, 4))
        assert appended == AppendEntriesResponse(2, True, OTHER, 7)
        (_, asked, _), (_, voted, said), (_, sent, _) = peer.received
        assert (asked, voted, sent) == (b"", VOTE_REQUEST, APPEND_REQUEST)
        assert dict(INTRODUCTION).items() <= said.items()


async def test_a_peer_without_pre_vote_says_so_and_the_rest_goes_on() -> None:
    async with Peer(identifies=True) as peer:
        for _ in range(2):
            with pytest.raises(OrbitError) as unknown:
                await peer.transport.send_pre_vote(OTHER, PreVoteRequest(2, ME, 5, 1))
            assert unknown.value.code is Status.UNIMPLEMENTED
            assert (await peer.transport.send_vote_request(OTHER, VoteRequest(2, ME, 5, 1))).vote_granted


async def test_a_peer_that_cannot_say_who_it_is_is_asked_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with Peer(identifies=False) as peer:
        requests = (peer.transport.send_vote_request(OTHER, VoteRequest(2, ME, 5, 1)) for _ in range(3))
        for outcome in await asyncio.gather(*requests, return_exceptions=True):
            assert isinstance(outcome, ClusterMismatch)
        assert not peer.received
    assert caplog.text.count("never counts in consensus") == 1
