"""The life of one transfer, as a table: a debit, then a credit, and a refund when the credit is refused.

    DEBIT ──accepted──▶ CREDIT ──accepted──▶ DONE
      │refused            │refused or unopened
      ▼                   ▼
    REJECTED            REFUND ──accepted──▶ REFUNDED

An entry whose answer does not come (`SILENCE`) leaves the transfer *in doubt* in its present step: the same entry under
the same id is the only thing that may follow, and an account that remembers will say what became of it. `NOT_RUN` is
silence with a proof that nothing ran. `UNOPENED` comes from an account without memory. Where no copy of the entry can
have been booked, it is as good as a refusal; where one may have been, it says nothing and the doubt stays. So a
transfer ends only on proof, and one that does not end is reported.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from orbit_lite.cli.demo.ledger import Booking, Entry
from orbit_lite.cli.demo.rows import Transfer
from orbit_lite.errors import InternalError

__all__ = ["Order", "Signal", "State", "TransferRun", "advance"]


class State(enum.Enum):
    """Where a transfer stands; the text is what the report calls it."""

    DEBIT = "debit not made"
    DEBIT_IN_DOUBT = "debit unknown"
    CREDIT = "debited, credit not made"
    CREDIT_IN_DOUBT = "debited, credit unknown"
    REFUND = "debited, credit refused, refund not made"
    REFUND_IN_DOUBT = "debited, credit refused, refund unknown"
    DONE = "done"
    REJECTED = "rejected"
    REFUNDED = "refunded"

    @property
    def is_final(self) -> bool:
        """Nothing is left to do, and nothing is unknown."""
        return self in _FINAL

    @property
    def is_in_doubt(self) -> bool:
        """An entry was sent and nobody said what became of it."""
        return self in _IN_DOUBT


_FINAL = {State.DONE, State.REJECTED, State.REFUNDED}
_IN_DOUBT = {State.DEBIT_IN_DOUBT, State.CREDIT_IN_DOUBT, State.REFUND_IN_DOUBT}


class Signal(enum.Enum):
    """What came of asking an account."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNOPENED = "unopened"
    NOT_RUN = "not run"
    SILENCE = "silence"

    @classmethod
    def of(cls, booking: Booking) -> Signal:
        """The signal for an account's answer."""
        return cls(booking.value)


_NEXT = {
    (State.DEBIT, Signal.ACCEPTED): State.CREDIT,
    (State.DEBIT, Signal.REFUSED): State.REJECTED,
    (State.DEBIT, Signal.UNOPENED): State.REJECTED,  # no copy can have been booked: nothing moved
    (State.DEBIT, Signal.NOT_RUN): State.DEBIT,
    (State.DEBIT, Signal.SILENCE): State.DEBIT_IN_DOUBT,
    (State.DEBIT_IN_DOUBT, Signal.ACCEPTED): State.CREDIT,
    (State.DEBIT_IN_DOUBT, Signal.REFUSED): State.REJECTED,  # a refusal is remembered, so a late copy is refused too
    (State.DEBIT_IN_DOUBT, Signal.UNOPENED): State.DEBIT_IN_DOUBT,
    (State.DEBIT_IN_DOUBT, Signal.NOT_RUN): State.DEBIT_IN_DOUBT,
    (State.DEBIT_IN_DOUBT, Signal.SILENCE): State.DEBIT_IN_DOUBT,
    (State.CREDIT, Signal.ACCEPTED): State.DONE,
    (State.CREDIT, Signal.REFUSED): State.REFUND,
    (State.CREDIT, Signal.UNOPENED): State.REFUND,
    (State.CREDIT, Signal.NOT_RUN): State.CREDIT,
    (State.CREDIT, Signal.SILENCE): State.CREDIT_IN_DOUBT,
    (State.CREDIT_IN_DOUBT, Signal.ACCEPTED): State.DONE,
    (State.CREDIT_IN_DOUBT, Signal.REFUSED): State.REFUND,
    (State.CREDIT_IN_DOUBT, Signal.UNOPENED): State.CREDIT_IN_DOUBT,
    (State.CREDIT_IN_DOUBT, Signal.NOT_RUN): State.CREDIT_IN_DOUBT,
    (State.CREDIT_IN_DOUBT, Signal.SILENCE): State.CREDIT_IN_DOUBT,
    # No account refuses a refund; were one to, the money would still be owed.
    (State.REFUND, Signal.ACCEPTED): State.REFUNDED,
    (State.REFUND, Signal.REFUSED): State.REFUND,
    (State.REFUND, Signal.UNOPENED): State.REFUND,
    (State.REFUND, Signal.NOT_RUN): State.REFUND,
    (State.REFUND, Signal.SILENCE): State.REFUND_IN_DOUBT,
    (State.REFUND_IN_DOUBT, Signal.ACCEPTED): State.REFUNDED,
    (State.REFUND_IN_DOUBT, Signal.REFUSED): State.REFUND_IN_DOUBT,
    (State.REFUND_IN_DOUBT, Signal.UNOPENED): State.REFUND_IN_DOUBT,
    (State.REFUND_IN_DOUBT, Signal.NOT_RUN): State.REFUND_IN_DOUBT,
    (State.REFUND_IN_DOUBT, Signal.SILENCE): State.REFUND_IN_DOUBT,
}

_ENTRY = {
    State.DEBIT: Entry.DEBIT,
    State.DEBIT_IN_DOUBT: Entry.DEBIT,
    State.CREDIT: Entry.CREDIT,
    State.CREDIT_IN_DOUBT: Entry.CREDIT,
    State.REFUND: Entry.REFUND,
    State.REFUND_IN_DOUBT: Entry.REFUND,
}


_BOOKED = {
    State.CREDIT: (Entry.DEBIT,),
    State.CREDIT_IN_DOUBT: (Entry.DEBIT,),
    State.REFUND: (Entry.DEBIT,),
    State.REFUND_IN_DOUBT: (Entry.DEBIT,),
    State.DONE: (Entry.DEBIT, Entry.CREDIT),
    State.REFUNDED: (Entry.DEBIT, Entry.REFUND),
}


def advance(state: State, signal: Signal) -> State:
    """The next state. Raises InternalError for a final one: nothing is asked in it."""
    try:
        return _NEXT[state, signal]
    except KeyError:
        raise InternalError(f"transfer is {state.value} and heard {signal.value}") from None


@dataclass(frozen=True, slots=True)
class Order:
    """What to ask of which account next. entry_id: the same for every repetition of the same entry."""

    account: str
    kind: Entry
    entry_id: str


@dataclass(slots=True)
class TransferRun:
    """A transfer on its way. transfer_id: unique among all transfers that these accounts will ever see."""

    transfer: Transfer
    transfer_id: str
    state: State = field(default=State.DEBIT, init=False)
    reason: str = field(default="", init=False)
    """Why it was refused, or the last thing heard of it."""

    def order(self) -> Order | None:
        """What to do now; None once the transfer is over."""
        kind = _ENTRY.get(self.state)
        if kind is None:
            return None
        account = self.transfer.receiver if kind is Entry.CREDIT else self.transfer.sender
        return Order(account, kind, f"{self.transfer_id}/{kind.value}")

    @property
    def acknowledged(self) -> list[tuple[str, str]]:
        """(account, entry id) of what an account said that it had booked."""
        kinds = _BOOKED.get(self.state, ())
        accounts = {Entry.CREDIT: self.transfer.receiver}
        return [(accounts.get(kind, self.transfer.sender), f"{self.transfer_id}/{kind.value}") for kind in kinds]

    def hear(self, signal: Signal, reason: str = "") -> None:
        """Take what came of the order."""
        before, self.state = self.state, advance(self.state, signal)
        if before not in (State.REFUND, State.REFUND_IN_DOUBT):  # why there is a refund is what matters then
            self.reason = reason
