from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orbit_lite.errors import ParseError
from orbit_lite.model import (
    Abort,
    Acknowledge,
    Commit,
    NodeId,
    Prepare,
    QueryStatus,
    StateType,
    StatusResponse,
    TransactionId,
    Vote,
    VoteType,
)

TRANSACTION = TransactionId("tx", NodeId("node-1"), datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("timeout", [0, 0.001, 30.0, 86_400.0])
def test_a_preparation_has_a_time_limit(timeout: float) -> None:
    assert Prepare(TRANSACTION, (), timeout).timeout == timeout


@pytest.mark.parametrize("timeout", [-0.001, float("nan"), float("inf"), 2.0**53])
def test_a_time_limit_that_the_wire_cannot_carry_is_refused(timeout: float) -> None:
    with pytest.raises(ParseError, match=r"timeout .*: must be seconds, finite and not negative"):
        Prepare(TRANSACTION, (), timeout)


def test_every_message_names_its_kind() -> None:
    kinds = [message.kind for message in (Prepare, Vote, Commit, Abort, Acknowledge, QueryStatus, StatusResponse)]
    assert kinds == ["prepare", "vote", "commit", "abort", "acknowledge", "query_status", "status_response"]


def test_votes_and_states_have_the_numbers_of_the_wire() -> None:
    assert [vote.name for vote in sorted(VoteType, key=lambda vote: vote.value)] == ["YES", "NO", "UNCERTAIN"]
    assert [(state.name, state.value) for state in StateType] == [
        ("PREPARING", 0),
        ("PREPARED", 1),
        ("COMMITTING", 2),
        ("COMMITTED", 3),
        ("ABORTING", 4),
        ("ABORTED", 5),
        ("TIMED_OUT", 6),
        ("FAILED", 7),
    ]
