"""Errors with a status: one class each, in the families where they belong."""

from __future__ import annotations

import builtins

import pytest

from orbit_lite.errors import AuthenticationError, Executed, NetworkError, OrbitError, Status, TimeoutError
from orbit_lite.rpc import errors
from orbit_lite.rpc.errors import RpcError, rpc_error

FAILURES = [status for status in Status if status is not Status.OK]


@pytest.mark.parametrize("status", FAILURES)
def test_every_status_has_its_class(status: Status) -> None:
    error = rpc_error(status, "why", peer="p", method="/s/M")
    assert type(error) is not RpcError
    assert error.code is status
    assert error.orb_code == f"ORB-{2000 + status}"
    assert (error.message, error.peer, error.method) == ("why", "p", "/s/M")
    assert type(error).__name__ in errors.__all__


@pytest.mark.parametrize("status", FAILURES)
def test_only_three_statuses_are_worth_another_try(status: Status) -> None:
    retryable = {Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.RESOURCE_EXHAUSTED}
    assert rpc_error(status, "").retryable is (status in retryable)


@pytest.mark.parametrize(
    ("status", "family", "prefix"),
    [
        (Status.UNAVAILABLE, NetworkError, "Network error: "),
        (Status.DEADLINE_EXCEEDED, TimeoutError, "Timeout: "),
        (Status.DEADLINE_EXCEEDED, builtins.TimeoutError, "Timeout: "),
        (Status.UNAUTHENTICATED, AuthenticationError, "Authentication error: "),
        (Status.PERMISSION_DENIED, AuthenticationError, "Authentication error: "),
    ],
)
def test_a_status_belongs_to_its_family(status: Status, family: type[Exception], prefix: str) -> None:
    error = rpc_error(status, "why")
    assert isinstance(error, family)
    assert isinstance(error, OrbitError)
    assert error.description == prefix + "why"


def test_no_other_status_belongs_to_a_family() -> None:
    for status in set(FAILURES) - {
        Status.UNAVAILABLE,
        Status.DEADLINE_EXCEEDED,
        Status.UNAUTHENTICATED,
        Status.PERMISSION_DENIED,
    }:
        assert not isinstance(rpc_error(status, ""), NetworkError | TimeoutError | AuthenticationError)


def test_what_only_a_handler_says_proves_that_it_ran() -> None:
    assert rpc_error(Status.ALREADY_EXISTS, "").executed is Executed.YES
    assert rpc_error(Status.UNIMPLEMENTED, "").executed is Executed.NO
    assert rpc_error(Status.UNAVAILABLE, "").executed is Executed.MAYBE


def test_a_server_that_says_it_did_not_execute_the_call_is_believed() -> None:
    assert rpc_error(Status.UNAVAILABLE, "", metadata={"orbit-executed": "no"}).executed is Executed.NO
    assert rpc_error(Status.UNAVAILABLE, "", metadata={"orbit-executed": "perhaps"}).executed is Executed.MAYBE
    known = rpc_error(Status.UNAVAILABLE, "", metadata={"orbit-executed": "no"}, executed=Executed.YES)
    assert known.executed is Executed.YES


def test_the_text_is_one_safe_line_and_the_message_is_exact() -> None:
    error = rpc_error(Status.NOT_FOUND, "no ☺\r\n\x1b[31m", peer="http://a:1", method="/s/M", attempt=2)
    assert error.message == "no ☺\r\n\x1b[31m"
    assert str(error) == "NOT_FOUND: no ☺\\r\\n\\x1b[31m (peer http://a:1, method /s/M, attempt 2)"
    assert str(rpc_error(Status.ABORTED, "")) == "ABORTED"


def test_ok_is_no_error() -> None:
    with pytest.raises(KeyError):
        rpc_error(Status.OK, "")
