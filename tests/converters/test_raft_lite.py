"""Raft's messages that only orbit-lite nodes speak, on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orbit_lite.converters.raft_lite import (
    CommandsConverter,
    InstallSnapshotRequestConverter,
    InstallSnapshotResponseConverter,
    PreVoteRequestConverter,
    PreVoteResponseConverter,
    ReadIndexRequestConverter,
    ReadIndexResponseConverter,
    SnapshotMetaConverter,
    TimeoutNowRequestConverter,
    TimeoutNowResponseConverter,
    TransferVoteRequestConverter,
    TransferVoteResponseConverter,
)
from orbit_lite.errors import ConversionError
from orbit_lite.model import CoordinatorAssignment, HeartBeat, NodeId, VoteRequest
from orbit_lite.raft import (
    Configuration,
    InstallSnapshotRequest,
    Member,
    PreVoteRequest,
    ReadIndexResponse,
    SnapshotMeta,
    encode_configuration,
)
from orbit_proto.orbit.lite import (
    BallotRequest,
    BallotResponse,
    InstallSnapshotResponse,
    ProposeRequest,
    ReadIndexRequest,
    TimeoutNowRequest,
    TimeoutNowResponse,
)
from orbit_proto.orbit.lite import InstallSnapshotRequest as InstallSnapshotProto
from orbit_proto.orbit.lite import ReadIndexResponse as ReadIndexResponseProto
from orbit_proto.orbit.lite import SnapshotMeta as SnapshotMetaProto

if TYPE_CHECKING:
    from tests.converters.conftest import Wire

CLUSTER = Configuration("c", (Member(NodeId("a", "n"), "h:1"),))
META = SnapshotMeta(7, 2, CLUSTER, 0, "ab")
META_PROTO = SnapshotMetaProto(7, 2, encode_configuration(CLUSTER), 0, "ab")


def test_a_pre_vote_and_a_vote_for_a_transfer_are_one_ballot(wire: Wire) -> None:
    data = b"\x08\x03\x12\x05(n:a)\x18\x02\x20\x01"
    pre_vote, vote = PreVoteRequest(3, NodeId("a", "n"), 2, 1), VoteRequest(3, NodeId("a", "n"), 2, 1)
    assert wire.encode(PreVoteRequestConverter.to_proto(pre_vote)) == data
    assert wire.encode(TransferVoteRequestConverter.to_proto(vote)) == data
    assert PreVoteRequestConverter.from_proto(wire.decode(BallotRequest, data)) == pre_vote
    assert TransferVoteRequestConverter.from_proto(wire.decode(BallotRequest, data)) == vote


def test_the_snapshot_of_an_empty_state_travels(wire: Wire) -> None:
    request = InstallSnapshotRequest(2, NodeId("a"), META, 0, b"")
    data = wire.encode(InstallSnapshotRequestConverter.to_proto(request))
    assert InstallSnapshotRequestConverter.from_proto(wire.decode(InstallSnapshotProto, data)) == request


def test_index_0_is_not_the_absence_of_an_index(wire: Wire) -> None:
    for index, data in ((0, b"\x08\x02\x10\x00"), (None, b"\x08\x02")):
        response = ReadIndexResponse(2, index, None)
        assert wire.encode(ReadIndexResponseConverter.to_proto(response)) == data
        assert ReadIndexResponseConverter.from_proto(wire.decode(ReadIndexResponseProto, data)) == response


@pytest.mark.parametrize(
    ("converter", "message", "field"),
    [
        (PreVoteRequestConverter, BallotRequest(1), "candidate_id"),
        (PreVoteRequestConverter, BallotRequest(1 << 64, "a"), "term"),
        (TransferVoteRequestConverter, BallotRequest(1, "a", last_log_term=-1), "last_log_term"),
        (PreVoteResponseConverter, BallotResponse(1, True), "voter_id"),
        (TransferVoteResponseConverter, BallotResponse(-1, True, "a"), "term"),
        (SnapshotMetaConverter, SnapshotMetaProto(1, 1), "configuration"),
        (SnapshotMetaConverter, SnapshotMetaProto(1, 1, b"{}"), "configuration"),
        (SnapshotMetaConverter, SnapshotMetaProto(-1, 1, encode_configuration(CLUSTER)), "index"),
        (InstallSnapshotRequestConverter, InstallSnapshotProto(1, "a"), "meta"),
        (InstallSnapshotRequestConverter, InstallSnapshotProto(1, "a", SnapshotMetaProto(1, 1)), "meta.configuration"),
        (InstallSnapshotRequestConverter, InstallSnapshotProto(1, "a", META_PROTO, -1), "offset"),
        (InstallSnapshotRequestConverter, InstallSnapshotProto(1, "", META_PROTO), "leader_id"),
        (InstallSnapshotResponseConverter, InstallSnapshotResponse(1, "a", -1), "next_offset"),
        (TimeoutNowRequestConverter, TimeoutNowRequest(1), "leader_id"),
        (TimeoutNowResponseConverter, TimeoutNowResponse(1), "follower_id"),
        (ReadIndexRequestConverter, ReadIndexRequest(1), "follower_id"),
        (ReadIndexResponseConverter, ReadIndexResponseProto(1, -1), "index"),
        (ReadIndexResponseConverter, ReadIndexResponseProto(1, None, ""), "leader_id"),
        (CommandsConverter, ProposeRequest(['"HeartBeat"', ""]), "commands[1]"),
    ],
)
def test_what_is_missing_or_out_of_range_is_named(converter: Any, message: object, field: str) -> None:
    with pytest.raises(ConversionError) as caught:
        converter.from_proto(message)
    assert caught.value.field == field


def test_a_command_that_cannot_be_forwarded_names_its_place() -> None:
    with pytest.raises(ConversionError) as caught:
        CommandsConverter.to_proto((HeartBeat(), CoordinatorAssignment("\ud800", NodeId("a"))))
    assert caught.value.field == "commands[1]"
