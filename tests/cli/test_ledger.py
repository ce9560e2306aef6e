"""One account: books each id once, remembers every answer, refuses what it cannot do."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.cli.demo.ledger import Booking, Entry, Ledger


def opened(balance: int = 100, limit: int = 150) -> Ledger:
    ledger = Ledger()
    ledger.open(balance, limit)
    return ledger


@pytest.mark.parametrize("kind", Entry)
def test_an_account_that_is_not_open_books_nothing_and_remembers_nothing(kind: Entry) -> None:
    ledger = Ledger()
    assert ledger.book(kind, "t/1", 5).booking is Booking.UNOPENED
    ledger.open(100, 150)
    assert ledger.book(kind, "t/1", 5).booking is Booking.ACCEPTED


def test_opening_again_changes_nothing() -> None:
    ledger = opened(100)
    ledger.book(Entry.DEBIT, "t/1", 40)
    ledger.open(100, 10**9)
    assert ledger.balance == 60
    assert ledger.book(Entry.CREDIT, "t/2", 91).booking is Booking.REFUSED


def test_a_debit_beyond_the_balance_is_refused_with_the_balance() -> None:
    ledger = opened(100)
    assert "insufficient funds: 1.00" in ledger.book(Entry.DEBIT, "t/1", 101).reason
    assert ledger.balance == 100


def test_a_credit_above_the_limit_is_refused_and_a_refund_is_not() -> None:
    ledger = opened(100, 150)
    assert ledger.book(Entry.CREDIT, "t/1", 51).booking is Booking.REFUSED
    assert ledger.book(Entry.REFUND, "t/2", 51).booking is Booking.ACCEPTED
    assert ledger.balance == 151


def test_a_refusal_is_remembered_though_the_money_has_come_since() -> None:
    """Else the late first copy of a refused entry, repeated in between, would be booked behind its sender's back."""
    ledger = opened(100, 1000)
    refusal = ledger.book(Entry.DEBIT, "t/1", 101)
    ledger.book(Entry.CREDIT, "t/2", 500)
    assert ledger.book(Entry.DEBIT, "t/1", 101) == refusal
    assert ledger.balance == 600


_ENTRIES = st.lists(st.tuples(st.sampled_from(Entry), st.integers(0, 9), st.integers(1, 60)), max_size=30)


@given(_ENTRIES)
def test_repeating_everything_in_any_order_books_it_once(entries: list[tuple[Entry, int, int]]) -> None:
    by_id = {f"{kind.value}/{number}": (kind, amount) for kind, number, amount in entries}

    def play(ids: Iterable[str], ledger: Ledger) -> Ledger:
        for entry_id in ids:
            ledger.book(by_id[entry_id][0], entry_id, by_id[entry_id][1])
        return ledger

    once = play(by_id, opened())
    again = play([*by_id, *reversed(by_id), *by_id], opened())
    assert (again.balance, again.booked) == (once.balance, once.booked)
    assert once.balance is not None
    assert once.balance >= 0


@given(_ENTRIES)
def test_an_account_that_was_written_down_goes_on_as_it_was(entries: list[tuple[Entry, int, int]]) -> None:
    ledger = opened()
    for kind, number, amount in entries:
        ledger.book(kind, f"{kind.value}/{number}", amount)
    again = Ledger.load(json.loads(json.dumps(ledger.dump())))
    assert (again.balance, again.booked, again.dump()) == (ledger.balance, ledger.booked, ledger.dump())
    for kind, number, amount in entries:
        entry_id = f"{kind.value}/{number}"
        assert again.has_booked(entry_id) is ledger.has_booked(entry_id)
        assert again.book(kind, entry_id, amount) == ledger.book(kind, entry_id, amount)
    assert again.dump() == ledger.dump()
