"""What of a failure survives the way through one line of text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import (
    ClusterError,
    ConversionError,
    DrainingError,
    Executed,
    InvocationFailed,
    LeaseExpired,
    NetworkError,
    NodeNotFound,
    OrbitError,
    OverloadedError,
    SerializationError,
)
from orbit_lite.model import InvocationError
from orbit_lite.rpc import Status, rpc_error
from orbit_lite.services.invocation_errors import read_error, write_error


def through_the_wire(error: OrbitError) -> OrbitError:
    return read_error(write_error(error), peer="p", method="T.m")


@given(st.sampled_from([ClusterError, DrainingError, OverloadedError]), st.text("abc :", max_size=20))
def test_kinds_whose_callers_may_try_elsewhere_are_known_again(kind: type[OrbitError], message: str) -> None:
    error = through_the_wire(kind(message))
    assert (type(error), error.message) == (kind, message)
    assert (error.executed, error.retryable) == (Executed.NO, kind.retryable)
    assert (error.peer, error.method) == ("p", "T.m")


def test_a_serialization_error_may_be_of_the_result_so_the_method_may_have_run() -> None:
    error = through_the_wire(ConversionError("value", "no JSON"))
    assert (type(error), error.message) == (SerializationError, "value: no JSON")
    assert error.executed is Executed.MAYBE
    assert SerializationError.executed is Executed.NO


@pytest.mark.parametrize("kind", [ClusterError, DrainingError, LeaseExpired, OverloadedError, NodeNotFound])
def test_a_call_that_was_cut_off_while_it_ran_is_not_said_not_to_have_run(kind: type[OrbitError]) -> None:
    """Else its caller would make it again."""
    error = through_the_wire(kind("cut off while it ran", executed=Executed.MAYBE))
    assert error.executed is Executed.MAYBE
    assert error.message == "cut off while it ran"


def test_an_actors_reason_is_found_again() -> None:
    error = through_the_wire(InvocationFailed.of("m", "T", "no - funds"))
    assert isinstance(error, InvocationFailed)
    assert error.reason == "no - funds"


def test_the_status_of_a_call_that_the_handler_made_travels_as_its_family() -> None:
    assert write_error(rpc_error(Status.UNAVAILABLE, "gone")) == InvocationError("Network error: gone")
    assert type(through_the_wire(rpc_error(Status.UNAVAILABLE, "gone"))) is NetworkError


@pytest.mark.parametrize("text", ["", "Cluster error: ", "draining: x", "\x00\n" * 2000])
def test_any_text_becomes_an_error_of_one_line(text: str) -> None:
    error = read_error(InvocationError(text, "orbit-server"), peer="p", method="m")
    assert "\n" not in str(error)
    assert len(str(error)) < 5000
