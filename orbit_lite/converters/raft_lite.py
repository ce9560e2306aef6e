"""Raft's messages that only orbit-lite nodes speak (orbit.lite.RaftPeer). Node ids are text, as in orbit.consensus."""

from __future__ import annotations

from orbit_lite.converters.commands import RaftCommandConverter
from orbit_lite.converters.nodes import NodeIdConverter
from orbit_lite.converters.presence import (
    Fields,
    build,
    domain,
    fields,
    flag,
    inside,
    octets,
    optional_text,
    required,
    text,
    texts,
    uint64,
)
from orbit_lite.model import NodeId, RaftCommand, VoteRequest, VoteResponse
from orbit_lite.raft.membership import decode_configuration, encode_configuration
from orbit_lite.raft.messages import (
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    PreVoteRequest,
    PreVoteResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    SnapshotMeta,
    TimeoutNowRequest,
    TimeoutNowResponse,
)
from orbit_proto.orbit import lite

__all__ = [
    "CommandsConverter",
    "InstallSnapshotRequestConverter",
    "InstallSnapshotResponseConverter",
    "PreVoteRequestConverter",
    "PreVoteResponseConverter",
    "ReadIndexRequestConverter",
    "ReadIndexResponseConverter",
    "SnapshotMetaConverter",
    "TimeoutNowRequestConverter",
    "TimeoutNowResponseConverter",
    "TransferVoteRequestConverter",
    "TransferVoteResponseConverter",
]


def _node_id(state: Fields, name: str) -> NodeId:
    return NodeIdConverter.from_text(text(state, name), name)


def _ballot_request(value: PreVoteRequest | VoteRequest) -> lite.BallotRequest:
    return build(
        lite.BallotRequest,
        term=value.term,
        candidate_id=NodeIdConverter.to_text(value.candidate_id),
        last_log_index=value.last_log_index,
        last_log_term=value.last_log_term,
    )


def _ballot_fields(proto: lite.BallotRequest) -> tuple[int, NodeId, int, int]:
    state = fields(proto)
    return (
        uint64(state, "term"),
        _node_id(state, "candidate_id"),
        uint64(state, "last_log_index"),
        uint64(state, "last_log_term"),
    )


def _ballot_response(value: PreVoteResponse | VoteResponse) -> lite.BallotResponse:
    voter = NodeIdConverter.to_text(value.voter_id)
    return build(lite.BallotResponse, term=value.term, vote_granted=value.vote_granted, voter_id=voter)


def _granted_fields(proto: lite.BallotResponse) -> tuple[int, bool, NodeId]:
    state = fields(proto)
    return uint64(state, "term"), flag(state, "vote_granted"), _node_id(state, "voter_id")


class PreVoteRequestConverter:
    """PreVoteRequest ⇄ BallotRequest."""

    @staticmethod
    def to_proto(value: PreVoteRequest) -> lite.BallotRequest:
        return _ballot_request(value)

    @staticmethod
    def from_proto(proto: lite.BallotRequest) -> PreVoteRequest:
        return PreVoteRequest(*_ballot_fields(proto))


class PreVoteResponseConverter:
    """PreVoteResponse ⇄ BallotResponse."""

    @staticmethod
    def to_proto(value: PreVoteResponse) -> lite.BallotResponse:
        return _ballot_response(value)

    @staticmethod
    def from_proto(proto: lite.BallotResponse) -> PreVoteResponse:
        return PreVoteResponse(*_granted_fields(proto))


class TransferVoteRequestConverter:
    """VoteRequest ⇄ BallotRequest, of a candidate that the leader chose."""

    @staticmethod
    def to_proto(value: VoteRequest) -> lite.BallotRequest:
        return _ballot_request(value)

    @staticmethod
    def from_proto(proto: lite.BallotRequest) -> VoteRequest:
        return VoteRequest(*_ballot_fields(proto))


class TransferVoteResponseConverter:
    """VoteResponse ⇄ BallotResponse."""

    @staticmethod
    def to_proto(value: VoteResponse) -> lite.BallotResponse:
        return _ballot_response(value)

    @staticmethod
    def from_proto(proto: lite.BallotResponse) -> VoteResponse:
        return VoteResponse(*_granted_fields(proto))


class SnapshotMetaConverter:
    """SnapshotMeta ⇄ its message; the configuration travels as canonical JSON."""

    @staticmethod
    def to_proto(value: SnapshotMeta) -> lite.SnapshotMeta:
        return build(
            lite.SnapshotMeta,
            index=value.index,
            term=value.term,
            configuration=encode_configuration(value.configuration),
            size=value.size,
            checksum=value.checksum,
        )

    @staticmethod
    def from_proto(proto: lite.SnapshotMeta) -> SnapshotMeta:
        state = fields(proto)
        configuration = domain("configuration", decode_configuration, octets(state, "configuration"))
        index, term, size = uint64(state, "index"), uint64(state, "term"), uint64(state, "size")
        return SnapshotMeta(index, term, configuration, size, text(state, "checksum"))


class InstallSnapshotRequestConverter:
    """InstallSnapshotRequest ⇄ its message."""

    @staticmethod
    def to_proto(value: InstallSnapshotRequest) -> lite.InstallSnapshotRequest:
        return build(
            lite.InstallSnapshotRequest,
            term=value.term,
            leader_id=NodeIdConverter.to_text(value.leader_id),
            meta=SnapshotMetaConverter.to_proto(value.meta),
            offset=value.offset,
            data=value.data,
        )

    @staticmethod
    def from_proto(proto: lite.InstallSnapshotRequest) -> InstallSnapshotRequest:
        state = fields(proto)
        return InstallSnapshotRequest(
            uint64(state, "term"),
            _node_id(state, "leader_id"),
            required(state, "meta", SnapshotMetaConverter.from_proto),
            uint64(state, "offset"),
            octets(state, "data"),
        )


class InstallSnapshotResponseConverter:
    """InstallSnapshotResponse ⇄ its message."""

    @staticmethod
    def to_proto(value: InstallSnapshotResponse) -> lite.InstallSnapshotResponse:
        follower = NodeIdConverter.to_text(value.follower_id)
        return build(lite.InstallSnapshotResponse, term=value.term, follower_id=follower, next_offset=value.next_offset)

    @staticmethod
    def from_proto(proto: lite.InstallSnapshotResponse) -> InstallSnapshotResponse:
        state = fields(proto)
        follower = _node_id(state, "follower_id")
        return InstallSnapshotResponse(uint64(state, "term"), follower, uint64(state, "next_offset"))


class TimeoutNowRequestConverter:
    """TimeoutNowRequest ⇄ its message."""

    @staticmethod
    def to_proto(value: TimeoutNowRequest) -> lite.TimeoutNowRequest:
        return build(lite.TimeoutNowRequest, term=value.term, leader_id=NodeIdConverter.to_text(value.leader_id))

    @staticmethod
    def from_proto(proto: lite.TimeoutNowRequest) -> TimeoutNowRequest:
        state = fields(proto)
        return TimeoutNowRequest(uint64(state, "term"), _node_id(state, "leader_id"))


class TimeoutNowResponseConverter:
    """TimeoutNowResponse ⇄ its message."""

    @staticmethod
    def to_proto(value: TimeoutNowResponse) -> lite.TimeoutNowResponse:
        return build(lite.TimeoutNowResponse, term=value.term, follower_id=NodeIdConverter.to_text(value.follower_id))

    @staticmethod
    def from_proto(proto: lite.TimeoutNowResponse) -> TimeoutNowResponse:
        state = fields(proto)
        return TimeoutNowResponse(uint64(state, "term"), _node_id(state, "follower_id"))


class ReadIndexRequestConverter:
    """ReadIndexRequest ⇄ its message."""

    @staticmethod
    def to_proto(value: ReadIndexRequest) -> lite.ReadIndexRequest:
        return build(lite.ReadIndexRequest, term=value.term, follower_id=NodeIdConverter.to_text(value.follower_id))

    @staticmethod
    def from_proto(proto: lite.ReadIndexRequest) -> ReadIndexRequest:
        state = fields(proto)
        return ReadIndexRequest(uint64(state, "term"), _node_id(state, "follower_id"))


class ReadIndexResponseConverter:
    """ReadIndexResponse ⇄ its message."""

    @staticmethod
    def to_proto(value: ReadIndexResponse) -> lite.ReadIndexResponse:
        leader = None if value.leader is None else NodeIdConverter.to_text(value.leader)
        return build(lite.ReadIndexResponse, term=value.term, index=value.index, leader_id=leader)

    @staticmethod
    def from_proto(proto: lite.ReadIndexResponse) -> ReadIndexResponse:
        state = fields(proto)
        index = None if state["index"] is None else uint64(state, "index")
        leader = optional_text(state, "leader_id")
        return ReadIndexResponse(
            uint64(state, "term"), index, None if leader is None else NodeIdConverter.from_text(leader, "leader_id")
        )


class CommandsConverter:
    """Commands on their way to the leader ⇄ ProposeRequest."""

    @staticmethod
    def to_proto(value: tuple[RaftCommand, ...]) -> lite.ProposeRequest:
        commands = [
            inside(f"commands[{at}]", RaftCommandConverter.to_proto, command) for at, command in enumerate(value)
        ]
        return build(lite.ProposeRequest, commands=commands)

    @staticmethod
    def from_proto(proto: lite.ProposeRequest) -> tuple[RaftCommand, ...]:
        commands = texts(fields(proto), "commands")
        return tuple(
            inside(f"commands[{at}]", RaftCommandConverter.from_proto, text) for at, text in enumerate(commands)
        )
