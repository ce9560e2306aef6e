"""Every domain value through every layer: value, message, bytes, and google.protobuf's reading of the bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import betterproto
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit_lite import converters
from orbit_lite.converters import raft_lite
from orbit_lite.converters.presence import fields
from orbit_lite.errors import ConversionError
from orbit_lite.model import InfoResponse, KeyKind
from orbit_lite.testing import strategies as orbit
from orbit_proto.orbit import consensus, lite, shared, transactions

if TYPE_CHECKING:
    from tests.converters.conftest import Google, Wire

STRING_KEYED = orbit.addressable_references(kinds=[KeyKind.STRING])


@dataclass(frozen=True)
class Case:
    """A converter, its message, and its values."""

    converter: Any
    cls: type[betterproto.Message]
    values: st.SearchStrategy[Any]

    def read(self, message: betterproto.Message) -> object:
        """The value, or the error that took its place."""
        try:
            value: object = self.converter.from_proto(message)
        except ConversionError as error:
            return error
        return value


CASES = [
    Case(converters.AddressableLeaseConverter, shared.AddressableLeaseProto, orbit.addressable_leases()),
    Case(converters.AddressableReferenceConverter, shared.AddressableReferenceProto, orbit.addressable_references()),
    Case(
        converters.AppendEntriesRequestConverter, consensus.AppendEntriesRequestProto, orbit.append_entries_requests()
    ),
    Case(
        converters.AppendEntriesResponseConverter,
        consensus.AppendEntriesResponseProto,
        orbit.append_entries_responses(),
    ),
    Case(
        converters.ConnectionInfoResponseConverter,
        shared.ConnectionInfoResponseProto,
        orbit.node_ids().map(InfoResponse),
    ),
    Case(converters.InvocationRequestConverter, shared.InvocationRequestProto, orbit.invocation_requests()),
    Case(converters.KeyConverter, shared.KeyProto, orbit.keys()),
    Case(converters.LogEntryConverter, consensus.LogEntryProto, orbit.log_entries()),
    Case(converters.MessageContentConverter, shared.MessageContentProto, orbit.contents()),
    Case(converters.MessageConverter, shared.MessageProto, orbit.messages()),
    Case(converters.MessageTargetConverter, shared.MessageTargetProto, orbit.targets()),
    Case(
        converters.NamespacedAddressableReferenceConverter,
        shared.NamespacedAddressableReferenceProto,
        orbit.namespaced_addressable_references(),
    ),
    Case(converters.NodeCapabilitiesConverter, shared.NodeCapabilitiesProto, orbit.node_capabilities()),
    Case(converters.NodeIdConverter, shared.NodeIdProto, orbit.node_ids()),
    Case(converters.NodeInfoConverter, shared.NodeInfoProto, orbit.node_infos()),
    Case(converters.NodeLeaseConverter, shared.NodeLeaseProto, orbit.node_leases()),
    Case(converters.TransactionIdConverter, transactions.TransactionIdProto, orbit.transaction_ids()),
    Case(
        converters.TransactionMessageConverter,
        transactions.TransactionMessageProto,
        orbit.transaction_messages(actor=STRING_KEYED),
    ),
    Case(
        converters.TransactionOperationConverter,
        transactions.TransactionOperationProto,
        orbit.transaction_operations(actor=STRING_KEYED),
    ),
    Case(converters.TransactionStateConverter, transactions.TransactionStateProto, orbit.transaction_states()),
    Case(converters.TransactionTargetConverter, transactions.Target, STRING_KEYED),
    Case(converters.TransactionVoteConverter, transactions.TransactionVoteProto, orbit.transaction_votes()),
    Case(converters.VoteRequestConverter, consensus.VoteRequestProto, orbit.vote_requests()),
    Case(converters.VoteResponseConverter, consensus.VoteResponseProto, orbit.vote_responses()),
    Case(raft_lite.CommandsConverter, lite.ProposeRequest, st.lists(orbit.raft_commands(), max_size=3).map(tuple)),
    Case(raft_lite.InstallSnapshotRequestConverter, lite.InstallSnapshotRequest, orbit.install_snapshot_requests()),
    Case(raft_lite.InstallSnapshotResponseConverter, lite.InstallSnapshotResponse, orbit.install_snapshot_responses()),
    Case(raft_lite.PreVoteRequestConverter, lite.BallotRequest, orbit.pre_vote_requests()),
    Case(raft_lite.PreVoteResponseConverter, lite.BallotResponse, orbit.pre_vote_responses()),
    Case(raft_lite.ReadIndexRequestConverter, lite.ReadIndexRequest, orbit.read_index_requests()),
    Case(raft_lite.ReadIndexResponseConverter, lite.ReadIndexResponse, orbit.read_index_responses()),
    Case(raft_lite.SnapshotMetaConverter, lite.SnapshotMeta, orbit.snapshot_metas()),
    Case(raft_lite.TimeoutNowRequestConverter, lite.TimeoutNowRequest, orbit.timeout_now_requests()),
    Case(raft_lite.TimeoutNowResponseConverter, lite.TimeoutNowResponse, orbit.timeout_now_responses()),
    Case(raft_lite.TransferVoteRequestConverter, lite.BallotRequest, orbit.vote_requests()),
    Case(raft_lite.TransferVoteResponseConverter, lite.BallotResponse, orbit.vote_responses()),
]
#: These convert text or a moment, which are no messages; their own modules test them.
WITHOUT_MESSAGE = {
    "InvocationReasonConverter",
    "NodeStatusConverter",
    "RaftCommandConverter",
    "ReferenceTextConverter",
    "TimestampConverter",
}

each_case = pytest.mark.parametrize("case", CASES, ids=[case.converter.__name__ for case in CASES])
few = settings(max_examples=25)


def test_no_converter_is_left_out() -> None:
    tested = {case.converter.__name__ for case in CASES} | WITHOUT_MESSAGE
    public = [*converters.__all__, *raft_lite.__all__]
    assert tested == {name for name in public if name.endswith("Converter")}


@each_case
@few
@given(data=st.data())
def test_a_value_comes_back_from_the_wire(wire: Wire, case: Case, data: st.DataObject) -> None:
    value = data.draw(case.values)
    message = case.converter.to_proto(value)
    assert type(message) is case.cls
    assert case.read(message) == value
    if wire.name == "codec" or not is_lost_by_betterproto(message):
        assert case.read(wire.decode(case.cls, wire.encode(message))) == value


@each_case
@few
@given(data=st.data())
def test_google_reads_our_bytes_and_we_read_its(wire: Wire, google: Google, case: Case, data: st.DataObject) -> None:
    value = data.draw(case.values)
    message = case.converter.to_proto(value)
    twin = google.like(message)
    if wire.name == "codec" or not is_lost_by_betterproto(message):
        assert google.classes[case.cls].FromString(wire.encode(message)) == twin
    assert case.read(wire.decode(case.cls, twin.SerializeToString())) == value


@each_case
@few
@given(data=st.data())
def test_any_message_becomes_a_value_or_a_conversion_error(case: Case, data: st.DataObject) -> None:
    message = data.draw(orbit.protos(case.cls))
    before = snapshot(message)
    outcome = case.read(message)
    if isinstance(outcome, ConversionError):
        assert outcome.field
    else:
        assert case.read(case.converter.to_proto(outcome)) == outcome
    assert snapshot(message) == before, "reading the message changed what is present in it"


@each_case
@few
@given(data=st.data())
def test_what_betterprotos_lenient_parser_makes_of_damaged_bytes_is_no_worse(case: Case, data: st.DataObject) -> None:
    damaged = bytearray(bytes(case.converter.to_proto(data.draw(case.values))))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged)))
        damaged[place : place + 1] = data.draw(st.binary(max_size=2))
    try:
        message = case.cls.FromString(bytes(damaged))
    except Exception:  # noqa: BLE001  (it lets through whatever its parts raise)
        return
    outcome = case.read(message)
    assert not isinstance(outcome, ConversionError) or outcome.field


def is_lost_by_betterproto(value: object) -> bool:
    """Its runtime does not send a Timestamp at the epoch nor the empty parts of a map entry."""
    if isinstance(value, betterproto.Message):
        return any(map(is_lost_by_betterproto, fields(value).values()))
    if isinstance(value, list):
        return any(map(is_lost_by_betterproto, value))
    if isinstance(value, dict):
        return not all(value) or not all(value.values())
    return isinstance(value, datetime) and value == datetime(1970, 1, 1, tzinfo=UTC)


def snapshot(value: object) -> object:
    """The raw state of a message in depth."""

    def parts(value: object) -> Iterator[object]:
        if isinstance(value, betterproto.Message):
            for name, part in fields(value).items():
                yield name, list(parts(part))
        elif isinstance(value, list):
            for part in value:
                yield list(parts(part))
        elif isinstance(value, dict) or value is not betterproto.PLACEHOLDER:
            yield repr(value)
        else:
            yield "unset"

    return list(parts(value))
