"""The grpc-status-details-bin trailer."""

from __future__ import annotations

import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import SerializationError, Status
from orbit_lite.rpc.details import StatusDetail, decode_details, encode_details

details = st.lists(st.builds(StatusDetail, st.text(max_size=20), st.binary(max_size=20)), max_size=4)


@given(details)
def test_details_survive_the_trailer(items: list[StatusDetail]) -> None:
    assert decode_details(encode_details(Status.ABORTED, "why", items)) == tuple(items)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_status_have_no_details(data: bytes) -> None:
    decode_details(data)


def test_a_detail_knows_its_type() -> None:
    assert StatusDetail("type.googleapis.com/google.rpc.RetryInfo", b"").type_name == "google.rpc.RetryInfo"


def test_google_protobuf_reads_what_we_write_and_the_other_way_round() -> None:
    status_pb2 = pytest.importorskip("google.rpc.status_pb2", reason="googleapis-common-protos is not installed")
    error_details_pb2 = importlib.import_module("google.rpc.error_details_pb2")
    retry = error_details_pb2.ErrorInfo(reason="draining", domain="orbit")
    status = status_pb2.Status.FromString(encode_details(Status.UNAVAILABLE, "später", [retry]))
    assert (status.code, status.message) == (14, "später")
    unpacked = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(unpacked)
    assert unpacked == retry
    (detail,) = decode_details(status.SerializeToString())
    assert detail.type_name == "google.rpc.ErrorInfo"
    assert error_details_pb2.ErrorInfo.FromString(detail.value) == retry


class Broken:
    """Looks like a google.protobuf message and cannot be serialized."""

    class DESCRIPTOR:
        full_name = "test.Broken"

    def SerializeToString(self) -> bytes:  # noqa: N802  # google.protobuf's name
        raise RuntimeError("cannot")


def test_a_message_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(SerializationError, match="Broken cannot be written: cannot"):
        encode_details(Status.ABORTED, "", [Broken()])


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(SerializationError, match="status detail of type str"):
        encode_details(Status.ABORTED, "", ["text"])
