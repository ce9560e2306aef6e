"""Raft's requests and responses (orbit.consensus). Node ids are text, see `NodeIdConverter`."""

from __future__ import annotations

from orbit_lite.converters.commands import RaftCommandConverter
from orbit_lite.converters.nodes import NodeIdConverter
from orbit_lite.converters.presence import Fields, build, each, fields, flag, inside, int64, text, uint64
from orbit_lite.model import AppendEntriesRequest, AppendEntriesResponse, LogEntry, NodeId, VoteRequest, VoteResponse
from orbit_proto.orbit.consensus import (
    AppendEntriesRequestProto,
    AppendEntriesResponseProto,
    LogEntryProto,
    VoteRequestProto,
    VoteResponseProto,
)

__all__ = [
    "AppendEntriesRequestConverter",
    "AppendEntriesResponseConverter",
    "LogEntryConverter",
    "VoteRequestConverter",
    "VoteResponseConverter",
]


def _node_id(state: Fields, name: str) -> NodeId:
    return NodeIdConverter.from_text(text(state, name), name)


class VoteRequestConverter:
    """VoteRequest ⇄ VoteRequestProto."""

    @staticmethod
    def to_proto(value: VoteRequest) -> VoteRequestProto:
        return build(
            VoteRequestProto,
            term=value.term,
            candidate_id=NodeIdConverter.to_text(value.candidate_id),
            last_log_index=value.last_log_index,
            last_log_term=value.last_log_term,
        )

    @staticmethod
    def from_proto(proto: VoteRequestProto) -> VoteRequest:
        state = fields(proto)
        return VoteRequest(
            uint64(state, "term"),
            _node_id(state, "candidate_id"),
            uint64(state, "last_log_index"),
            uint64(state, "last_log_term"),
        )


class VoteResponseConverter:
    """VoteResponse ⇄ VoteResponseProto."""

    @staticmethod
    def to_proto(value: VoteResponse) -> VoteResponseProto:
        return build(
            VoteResponseProto,
            term=value.term,
            vote_granted=value.vote_granted,
            voter_id=NodeIdConverter.to_text(value.voter_id),
        )

    @staticmethod
    def from_proto(proto: VoteResponseProto) -> VoteResponse:
        state = fields(proto)
        voter = _node_id(state, "voter_id")
        return VoteResponse(uint64(state, "term"), flag(state, "vote_granted"), voter)


class LogEntryConverter:
    """LogEntry ⇄ LogEntryProto. A command that cannot be read is an error at `command`."""

    @staticmethod
    def to_proto(value: LogEntry) -> LogEntryProto:
        return build(
            LogEntryProto,
            term=value.term,
            index=value.index,
            command=inside("command", RaftCommandConverter.to_proto, value.command),
            timestamp=value.timestamp_ms,
        )

    @staticmethod
    def from_proto(proto: LogEntryProto) -> LogEntry:
        state = fields(proto)
        command = inside("command", RaftCommandConverter.from_proto, text(state, "command"))
        term, index, timestamp = uint64(state, "term"), uint64(state, "index"), int64(state, "timestamp")
        return LogEntry(term, index, command, timestamp)


class AppendEntriesRequestConverter:
    """AppendEntriesRequest ⇄ AppendEntriesRequestProto."""

    @staticmethod
    def to_proto(value: AppendEntriesRequest) -> AppendEntriesRequestProto:
        return build(
            AppendEntriesRequestProto,
            term=value.term,
            leader_id=NodeIdConverter.to_text(value.leader_id),
            prev_log_index=value.prev_log_index,
            prev_log_term=value.prev_log_term,
            entries=[
                inside(f"entries[{position}]", LogEntryConverter.to_proto, entry)
                for position, entry in enumerate(value.entries)
            ],
            leader_commit=value.leader_commit,
        )

    @staticmethod
    def from_proto(proto: AppendEntriesRequestProto) -> AppendEntriesRequest:
        state = fields(proto)
        return AppendEntriesRequest(
            uint64(state, "term"),
            _node_id(state, "leader_id"),
            uint64(state, "prev_log_index"),
            uint64(state, "prev_log_term"),
            each(state, "entries", LogEntryConverter.from_proto),
            uint64(state, "leader_commit"),
        )


class AppendEntriesResponseConverter:
    """AppendEntriesResponse ⇄ AppendEntriesResponseProto."""

    @staticmethod
    def to_proto(value: AppendEntriesResponse) -> AppendEntriesResponseProto:
        return build(
            AppendEntriesResponseProto,
            term=value.term,
            success=value.success,
            follower_id=NodeIdConverter.to_text(value.follower_id),
            last_log_index=value.last_log_index,
        )

    @staticmethod
    def from_proto(proto: AppendEntriesResponseProto) -> AppendEntriesResponse:
        state = fields(proto)
        return AppendEntriesResponse(
            uint64(state, "term"),
            flag(state, "success"),
            _node_id(state, "follower_id"),
            uint64(state, "last_log_index"),
        )
