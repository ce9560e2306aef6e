"""One transfer's life: whatever is lost, late, doubled or refused, money is neither made nor destroyed.

The model knows what the state machine cannot: which entries the accounts really booked. A transfer's state is held
against that after every step.
"""

from __future__ import annotations

import enum
import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orbit_lite.cli.demo.ledger import Booking, Entry, Ledger
from orbit_lite.cli.demo.rows import Transfer
from orbit_lite.cli.demo.transfers import Order, Signal, State, TransferRun, advance
from orbit_lite.errors import InternalError


class Fate(enum.Enum):
    """What the network does with a question."""

    ANSWERED = "answered"
    ANSWER_LOST = "booked, the answer lost"
    LOST = "lost on the way"
    LATE = "arrives after the asker has given up"
    NOT_RUN = "refused before it ran"
    DOUBLED = "arrives twice"


@dataclass
class Bank:
    """Accounts, questions still on their way, and the truth about what was booked."""

    ledgers: dict[str, Ledger]
    on_their_way: list[tuple[Order, int]] = field(default_factory=list)
    booked: set[str] = field(default_factory=set)

    @classmethod
    def opened(cls, balances: dict[str, int], limit: int) -> Bank:
        bank = cls({name: Ledger() for name in balances})
        for name, balance in balances.items():
            bank.ledgers[name].open(balance, limit)
        return bank

    def arrive(self, order: Order, amount: int) -> Signal:
        answer = self.ledgers[order.account].book(order.kind, order.entry_id, amount)
        if answer.booking is Booking.ACCEPTED:
            self.booked.add(order.entry_id)
        return Signal.of(answer.booking)

    def ask(self, order: Order, amount: int, fate: Fate) -> Signal:
        match fate:
            case Fate.ANSWERED:
                return self.arrive(order, amount)
            case Fate.DOUBLED:
                first = self.arrive(order, amount)
                assert self.arrive(order, amount) is first
                return first
            case Fate.ANSWER_LOST:
                self.arrive(order, amount)
                return Signal.SILENCE
            case Fate.LATE:
                self.on_their_way.append((order, amount))
                return Signal.SILENCE
            case Fate.LOST:
                return Signal.SILENCE
            case Fate.NOT_RUN:
                return Signal.NOT_RUN

    def step(self, run: TransferRun, fate: Fate) -> None:
        order = run.order()
        if order is not None:
            run.hear(self.ask(order, run.transfer.amount, fate))

    def truth(self, run: TransferRun) -> tuple[bool, bool, bool]:
        """(debited, credited, refunded), as it really is."""
        debited, credited, refunded = (f"{run.transfer_id}/{kind.value}" in self.booked for kind in Entry)
        return debited, credited, refunded

    def check(self, run: TransferRun) -> None:
        debited, credited, refunded = self.truth(run)
        assert debited or not (credited or refunded)
        assert not (credited and refunded), "the money went both ways"
        expected = {
            State.DEBIT: [(False, False, False)],
            State.DEBIT_IN_DOUBT: [(False, False, False), (True, False, False)],
            State.CREDIT: [(True, False, False)],
            State.CREDIT_IN_DOUBT: [(True, False, False), (True, True, False)],
            State.REFUND: [(True, False, False)],
            State.REFUND_IN_DOUBT: [(True, False, False), (True, False, True)],
            State.DONE: [(True, True, False)],
            State.REJECTED: [(False, False, False)],
            State.REFUNDED: [(True, False, True)],
        }
        assert (debited, credited, refunded) in expected[run.state]

    def money(self, runs: list[TransferRun]) -> int:
        """All balances, and what has left one account and not reached another."""
        in_transit = sum(
            run.transfer.amount
            for run in runs
            for debited, credited, refunded in [self.truth(run)]
            if debited and not credited and not refunded
        )
        return sum(ledger.balance or 0 for ledger in self.ledgers.values()) + in_transit


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize(("state", "signal"), list(itertools.product(State, Signal)))
def test_every_state_knows_every_signal_unless_it_is_final(state: State, signal: Signal) -> None:
    if state.is_final:
        with pytest.raises(InternalError):
            advance(state, signal)
    else:
        assert isinstance(advance(state, signal), State)


@pytest.mark.parametrize("signal", [Signal.SILENCE, Signal.NOT_RUN, Signal.UNOPENED])
@pytest.mark.parametrize("state", [state for state in State if state.is_in_doubt])
def test_doubt_ends_only_on_the_word_of_an_account_that_remembers(state: State, signal: Signal) -> None:
    assert advance(state, signal) is state


def test_an_entry_is_repeated_under_the_same_id() -> None:
    run = TransferRun(Transfer(2, "a", "b", 5), "t2")
    first = run.order()
    run.hear(Signal.SILENCE, "timed out")
    assert run.order() == first == Order("a", Entry.DEBIT, "t2/debit")


def test_a_refund_goes_to_the_sender_under_its_own_id_and_keeps_the_reason() -> None:
    run = TransferRun(Transfer(2, "a", "b", 5), "t2")
    run.hear(Signal.ACCEPTED)
    run.hear(Signal.REFUSED, "limit")
    assert run.order() == Order("a", Entry.REFUND, "t2/refund")
    run.hear(Signal.SILENCE, "timed out")
    run.hear(Signal.ACCEPTED)
    assert (run.state, run.reason, run.order()) == (State.REFUNDED, "limit", None)


# ---------------------------------------------------------------- all interleavings


@pytest.mark.parametrize(("balance", "limit"), [(10, 100), (3, 100), (10, 12)], ids=["done", "rejected", "refunded"])
def test_one_transfer_under_every_sequence_of_fates(balance: int, limit: int) -> None:
    """All sequences of four fates, late questions arriving at once, or only after the end; then all is settled."""
    for fates, late_at_once in itertools.product(itertools.product(Fate, repeat=4), (True, False)):
        bank = Bank.opened({"a": balance, "b": 10}, limit)
        run = TransferRun(Transfer(2, "a", "b", 5), "t2")
        for fate in fates:
            bank.step(run, fate)
            if late_at_once:
                while bank.on_their_way:
                    bank.arrive(*bank.on_their_way.pop())
            bank.check(run)
        while not run.state.is_final:
            bank.step(run, Fate.ANSWERED)
        for question in bank.on_their_way:
            bank.arrive(*question)
        bank.check(run)
        assert bank.money([]) == balance + 10


class Transfers(RuleBasedStateMachine):
    """Many transfers between few accounts, steps and late arrivals in any order; now and then an account is lost."""

    @initialize(
        rows=st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 8)).filter(lambda row: row[0] != row[1]),
            min_size=1,
            max_size=8,
        )
    )
    def open(self, rows: list[tuple[int, int, int]]) -> None:
        self.bank = Bank.opened(dict.fromkeys("abcd", 10), limit=14)
        self.runs = [
            TransferRun(Transfer(line, "abcd"[sender], "abcd"[receiver], amount), f"t{line}")
            for line, (sender, receiver, amount) in enumerate(rows, 2)
        ]
        self.opening = 40
        self.has_lost_an_account = False

    @rule(which=st.integers(0, 7), fate=st.sampled_from(Fate))
    def step(self, which: int, fate: Fate) -> None:
        self.bank.step(self.runs[which % len(self.runs)], fate)

    @precondition(lambda self: self.bank.on_their_way)
    @rule(which=st.integers(0, 7), again=st.booleans())
    def arrive_late(self, which: int, again: bool) -> None:
        question = self.bank.on_their_way[which % len(self.bank.on_their_way)]
        if not again:
            self.bank.on_their_way.remove(question)
        self.bank.arrive(*question)

    @precondition(lambda self: not self.has_lost_an_account)
    @rule(name=st.sampled_from("abcd"), dies=st.integers(0, 9))
    def lose(self, name: str, dies: int) -> None:
        if dies == 0:
            self.bank.ledgers[name] = Ledger()
            self.has_lost_an_account = True

    @invariant()
    def no_state_claims_more_than_what_is_true(self) -> None:
        for run in self.runs:
            self.bank.check(run)

    @invariant()
    def money_is_conserved(self) -> None:
        if not self.has_lost_an_account:
            assert self.bank.money(self.runs) == self.opening

    def teardown(self) -> None:
        if not hasattr(self, "runs") or self.has_lost_an_account:
            return
        for run in self.runs:
            while not run.state.is_final:
                self.bank.step(run, Fate.ANSWERED)
        for question in self.bank.on_their_way:
            self.bank.arrive(*question)
        assert self.bank.money([]) == self.opening


TestTransfers = Transfers.TestCase
TestTransfers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
