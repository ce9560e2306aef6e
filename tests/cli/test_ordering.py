"""Transfers run side by side, with the result of the file read from top to bottom."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.cli.demo.ledger import Entry, Ledger
from orbit_lite.cli.demo.ordering import FileOrder
from orbit_lite.cli.demo.rows import Transfer

_ROWS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef"), st.integers(1, 9)).filter(
        lambda row: row[0] != row[1]
    ),
    max_size=30,
).map(lambda rows: [Transfer(line, *row) for line, row in enumerate(rows, 2)])


def book(transfer: Transfer, ledgers: dict[str, Ledger]) -> None:
    debit = ledgers[transfer.sender].book(Entry.DEBIT, f"{transfer.line}", transfer.amount)
    if not debit.reason:
        ledgers[transfer.receiver].book(Entry.REFUND, f"{transfer.line}", transfer.amount)


def opened() -> dict[str, Ledger]:
    ledgers = {name: Ledger() for name in "abcdef"}
    for ledger in ledgers.values():
        ledger.open(10, 100)
    return ledgers


@given(_ROWS, st.integers(1, 6), st.integers())
def test_any_interleaving_ends_like_the_file_from_top_to_bottom(rows: list[Transfer], width: int, seed: int) -> None:
    dice = random.Random(seed)
    order, ledgers = FileOrder(rows), opened()
    under_way: list[int] = []
    while order.finished < len(rows):
        while len(under_way) < width and (index := order.take()) is not None:
            busy = {name for other in under_way for name in (rows[other].sender, rows[other].receiver)}
            assert not busy & {rows[index].sender, rows[index].receiver}, "two at a time on one account"
            under_way.append(index)
        index = under_way.pop(dice.randrange(len(under_way)))
        book(rows[index], ledgers)
        order.finish(index)
    assert order.take() is None
    in_file_order = opened()
    for transfer in rows:
        book(transfer, in_file_order)
    assert [ledger.balance for ledger in ledgers.values()] == [ledger.balance for ledger in in_file_order.values()]


def test_transfers_without_a_common_account_start_together_and_in_file_order() -> None:
    order = FileOrder([Transfer(2, "a", "b", 1), Transfer(3, "b", "c", 1), Transfer(4, "d", "e", 1)])
    assert [order.take(), order.take(), order.take()] == [0, 2, None]
    order.finish(0)
    assert order.take() == 1
