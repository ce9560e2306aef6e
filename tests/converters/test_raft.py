"""Raft's requests and responses on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orbit_lite.converters import (
    AppendEntriesRequestConverter,
    AppendEntriesResponseConverter,
    LogEntryConverter,
    VoteRequestConverter,
    VoteResponseConverter,
)
from orbit_lite.errors import ConversionError
from orbit_lite.model import AppendEntriesRequest, CoordinatorAssignment, HeartBeat, LogEntry, NodeId, VoteRequest
from orbit_proto.orbit.consensus import (
    AppendEntriesRequestProto,
    AppendEntriesResponseProto,
    LogEntryProto,
    VoteRequestProto,
    VoteResponseProto,
)

if TYPE_CHECKING:
    from tests.converters.conftest import Wire

BEAT = '"HeartBeat"'


def test_node_ids_travel_in_display_form(wire: Wire) -> None:
    request = VoteRequest(3, NodeId("a", "n"), 2, 1)
    data = b"\x08\x03\x12\x05(n:a)\x18\x02\x20\x01"
    assert wire.encode(VoteRequestConverter.to_proto(request)) == data
    assert VoteRequestConverter.from_proto(wire.decode(VoteRequestProto, data)) == request


def test_an_entry_keeps_its_timestamp_and_its_command(wire: Wire) -> None:
    entry = LogEntry(1, 2, HeartBeat(), -1)
    data = b'\x08\x01\x10\x02\x1a\x0b"HeartBeat"\x20' + b"\xff" * 9 + b"\x01"
    assert wire.encode(LogEntryConverter.to_proto(entry)) == data
    assert LogEntryConverter.from_proto(wire.decode(LogEntryProto, data)) == entry


@pytest.mark.parametrize(
    ("converter", "message", "field"),
    [
        (VoteRequestConverter, VoteRequestProto(1), "candidate_id"),
        (VoteRequestConverter, VoteRequestProto(1, "(n:)"), "candidate_id"),
        (VoteRequestConverter, VoteRequestProto(1 << 64, "a"), "term"),
        (VoteRequestConverter, VoteRequestProto(1, "a", -1), "last_log_index"),
        (VoteRequestConverter, VoteRequestProto(1, "a", 1, 1 << 64), "last_log_term"),
        (VoteResponseConverter, VoteResponseProto(1, True), "voter_id"),
        (VoteResponseConverter, VoteResponseProto(-1, True, "a"), "term"),
        (LogEntryConverter, LogEntryProto(1, 1, ""), "command"),
        (LogEntryConverter, LogEntryProto(1, 1, "{}"), "command"),
        (LogEntryConverter, LogEntryProto(1, 1, '{"NodeJoin":{"key":"a"}}'), "command.NodeJoin.namespace"),
        (LogEntryConverter, LogEntryProto(1, 1 << 64, BEAT), "index"),
        (LogEntryConverter, LogEntryProto(1, 1, BEAT, 1 << 63), "timestamp"),
        (AppendEntriesRequestConverter, AppendEntriesRequestProto(1), "leader_id"),
        (AppendEntriesRequestConverter, AppendEntriesRequestProto(1, "a", leader_commit=-1), "leader_commit"),
        (
            AppendEntriesRequestConverter,
            AppendEntriesRequestProto(1, "a", entries=[LogEntryProto(1, 1, BEAT), LogEntryProto(1, 2, "beat")]),
            "entries[1].command",
        ),
        (AppendEntriesResponseConverter, AppendEntriesResponseProto(1, True), "follower_id"),
        (AppendEntriesResponseConverter, AppendEntriesResponseProto(1, True, "a", -1), "last_log_index"),
    ],
)
def test_what_is_missing_or_out_of_range_is_named(converter: Any, message: object, field: str) -> None:
    with pytest.raises(ConversionError) as caught:
        converter.from_proto(message)
    assert caught.value.field == field


def test_a_command_that_cannot_be_written_names_its_entry() -> None:
    entry = LogEntry(1, 1, CoordinatorAssignment("\ud800", NodeId("a")))
    with pytest.raises(ConversionError) as caught:
        AppendEntriesRequestConverter.to_proto(AppendEntriesRequest(1, NodeId("a"), 0, 0, (entry,), 0))
    assert caught.value.field == "entries[0].command"
