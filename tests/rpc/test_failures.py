"""How exceptions of handlers travel."""

from __future__ import annotations

import logging

import pytest
from grpclib.const import Status as GrpclibStatus
from grpclib.exceptions import GRPCError

from orbit_lite.errors import AddressableNotFound, ConfigurationError, ConversionError, NetworkError, OrbitError, Status
from orbit_lite.rpc.details import StatusDetail
from orbit_lite.rpc.errors import Aborted, rpc_error
from orbit_lite.rpc.failures import status_of


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (AddressableNotFound("BankAccount:a"), Status.NOT_FOUND, "Addressable not found: BankAccount:a"),
        (ConversionError("vote", "is missing"), Status.INVALID_ARGUMENT, "Serialization error: vote: is missing"),
        (ConfigurationError("port=0"), Status.FAILED_PRECONDITION, "Configuration error: port=0"),
        (OrbitError("plain"), Status.UNKNOWN, "plain"),
        (Aborted("lost"), Status.ABORTED, "lost"),
        (GRPCError(GrpclibStatus.OUT_OF_RANGE, "far"), Status.OUT_OF_RANGE, "far"),
        (GRPCError(GrpclibStatus.DATA_LOSS), Status.DATA_LOSS, ""),
    ],
)
def test_what_was_raised_for_the_peer_travels(error: Exception, status: Status, message: str) -> None:
    reply = status_of(error)
    assert (reply.status, reply.message) == (status, message)


def test_where_an_error_happened_stays_here() -> None:
    reply = status_of(NetworkError("cannot connect", peer="http://10.0.0.7:1", method="/s/M"))
    assert reply.message == "Network error: cannot connect"


@pytest.mark.parametrize(
    "error", [Exception("secret"), KeyError("secret"), RecursionError("secret"), MemoryError("secret")]
)
def test_of_any_other_exception_only_class_and_reference_travel(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="orbit_lite.rpc"):
        reply = status_of(error)
    assert reply.status is Status.UNKNOWN
    assert "secret" not in reply.message
    assert type(error).__name__ in reply.message
    reference = reply.message.rpartition(" ")[2]
    assert reference in caplog.text
    assert "secret" in caplog.text


def test_details_and_metadata_travel() -> None:
    detail = StatusDetail("type.googleapis.com/x", b"1")
    reply = status_of(Aborted("why", details=[detail], metadata={"x": "1"}))
    assert reply.details == (detail,)
    assert reply.metadata == (("x", "1"),)
    assert status_of(GRPCError(GrpclibStatus.ABORTED, "why", [detail])).details == (detail,)


def test_metadata_that_another_server_sent_does_not_travel_on() -> None:
    received = rpc_error(Status.UNAVAILABLE, "draining", metadata={"orbit-executed": "no"}, peer="http://b:1")
    assert status_of(received).metadata == ()
