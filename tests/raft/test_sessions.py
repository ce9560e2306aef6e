"""Client sessions: a proposal that is made again is applied once (Raft §8; thesis 6.3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import Executed, ParseError
from orbit_lite.raft import SessionForgotten
from orbit_lite.raft.sessions import WINDOW, Sessions

CALLS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "dé"]), st.integers(1, 8)), max_size=60)


def giving(result: bytes) -> Callable[[], bytes]:
    return lambda: result


def never() -> bytes:
    raise AssertionError("applied twice")


def test_the_first_time_a_proposal_runs_and_again_it_gives_the_same_result() -> None:
    sessions = Sessions(10)
    assert sessions.apply("client", 1, giving(b"done")) == b"done"
    assert sessions.apply("client", 1, never) == b"done"


def test_an_empty_result_is_remembered_like_any_other() -> None:
    sessions = Sessions(10)
    sessions.apply("client", 1, giving(b""))
    assert sessions.apply("client", 1, never) == b""


def test_clients_do_not_share_numbers() -> None:
    sessions = Sessions(10)
    sessions.apply("one", 1, giving(b"one"))
    assert sessions.apply("other", 1, giving(b"other")) == b"other"


def test_proposals_of_one_client_may_come_in_any_order() -> None:
    sessions = Sessions(10)
    for seq in (3, 1, 2):
        assert sessions.apply("client", seq, giving(b"%d" % seq)) == b"%d" % seq
    assert [sessions.apply("client", seq, never) for seq in (1, 2, 3)] == [b"1", b"2", b"3"]


def test_a_proposal_behind_the_window_is_not_applied_and_says_that_it_may_have_been() -> None:
    """Number 1 came so late that nobody can tell whether it had come before: it must not run."""
    sessions = Sessions(10)
    for seq in range(2, WINDOW + 3):
        sessions.apply("client", seq, giving(b""))
    with pytest.raises(SessionForgotten, match="proposal 1 of 'client'") as caught:
        sessions.apply("client", 1, never)
    assert caught.value.executed is Executed.MAYBE


def test_the_window_holds_as_many_results_as_it_says() -> None:
    sessions = Sessions(10)
    for seq in range(1, WINDOW + 1):
        sessions.apply("client", seq, giving(b""))
    sessions.apply("client", 1, never)
    sessions.apply("client", WINDOW + 1, giving(b""))
    sessions.apply("client", 2, never)
    with pytest.raises(SessionForgotten):
        sessions.apply("client", 1, never)


def test_the_largest_numbers_are_kept_in_whatever_order_they_came() -> None:
    sessions = Sessions(10)
    for seq in (1_000, *range(1, WINDOW + 1)):
        sessions.apply("client", seq, giving(b"%d" % seq))
    assert sessions.apply("client", 1_000, never) == b"1000"
    with pytest.raises(SessionForgotten):
        sessions.apply("client", 1, never)


def test_the_client_idle_for_longest_is_forgotten_first() -> None:
    sessions = Sessions(2)
    sessions.apply("one", 1, giving(b"1"))
    sessions.apply("two", 1, giving(b"2"))
    sessions.apply("one", 1, never)
    sessions.apply("three", 1, giving(b"3"))
    assert len(sessions) == 2
    sessions.apply("one", 1, never)
    assert sessions.apply("two", 1, giving(b"anew")) == b"anew"


def test_refused_proposals_take_no_room() -> None:
    """A number that no client may use must not make the table grow, from however many names it comes."""
    sessions = Sessions(2)
    for number in range(10):
        with pytest.raises(SessionForgotten):
            sessions.apply(f"client {number}", 0, never)
    assert len(sessions) <= 2


def test_a_failing_proposal_stays_undone() -> None:
    def fail() -> bytes:
        raise ValueError("the machine's own")

    sessions = Sessions(10)
    with pytest.raises(ValueError, match="the machine's own"):
        sessions.apply("client", 1, fail)
    assert sessions.apply("client", 1, giving(b"done")) == b"done"


@given(CALLS, st.integers(1, 4), st.integers(0, 60))
def test_a_table_from_a_snapshot_goes_on_like_the_one_it_was_taken_of(
    calls: list[tuple[str, int]], limit: int, cut: int
) -> None:
    whole, late = Sessions(limit), Sessions(limit)
    results = iter(range(10_000))

    def tell(sessions: Sessions, client: str, seq: int, result: bytes) -> object:
        try:
            return sessions.apply(client, seq, giving(result))
        except SessionForgotten as error:
            return str(error)

    for client, seq in calls[:cut]:
        tell(whole, client, seq, b"%d" % next(results))
    late.load(whole.dump())
    for client, seq in calls[cut:]:
        result = b"%d" % next(results)
        assert tell(whole, client, seq, result) == tell(late, client, seq, result)
    assert len(whole) <= limit
    assert whole.dump() == late.dump()


@given(CALLS)
def test_a_table_that_was_cut_off_or_made_longer_is_refused_and_changes_nothing(calls: list[tuple[str, int]]) -> None:
    sessions = Sessions(10)
    for client, seq in calls:
        sessions.apply(client, seq, giving(b"result"))
    dump = sessions.dump()
    for damaged in [*(dump[:end] for end in range(len(dump))), dump + b"\0"]:
        with pytest.raises(ParseError, match="table of sessions"):
            sessions.load(damaged)
    assert sessions.dump() == dump


def test_a_long_name_survives_a_snapshot() -> None:
    sessions, other = Sessions(10), Sessions(10)
    name = "x" * 100_000
    sessions.apply(name, 1, giving(b"done"))
    other.load(sessions.dump())
    assert other.apply(name, 1, never) == b"done"
