"""One account of the demo bank: its balance, and its memory of every entry that was ever asked of it.

An entry is a debit, a credit or a refund, under an id that its sender chose. An account books an id once and gives the
same answer for ever after, a refusal too: so whoever did not hear an answer repeats the entry with the same id, and a
first copy that was only late changes nothing when it arrives. An account forgets no id, since the demo may settle the
first row last; it lives as long as the demo does.

An account must be opened before it books anything. One that is not open has no memory and says so (`UNOPENED`): that
answer proves nothing about what happened before.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from orbit_lite.cli.demo.money import format_cents

__all__ = ["ACCOUNT_TYPE", "Answer", "Booking", "Entry", "Ledger"]

#: Under which the actors of the accounts are known; their keys are the accounts' names.
ACCOUNT_TYPE = "BankAccount"


class Entry(enum.Enum):
    """What can be asked of an account. A refund gives back what a debit took, so that no limit stands in its way."""

    DEBIT = "debit"
    CREDIT = "credit"
    REFUND = "refund"


class Booking(enum.Enum):
    """What the account said."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNOPENED = "unopened"


@dataclass(frozen=True, slots=True)
class Answer:
    """The account's word on one entry id; reason: why not."""

    booking: Booking
    reason: str = ""


class Ledger:
    """Balance and memory of one account. All amounts are cents."""

    __slots__ = ("_answers", "_balance", "_booked", "_limit")

    def __init__(self) -> None:
        self._balance: int | None = None
        self._limit = 0
        self._answers: dict[str, Answer] = {}
        self._booked = 0

    @property
    def balance(self) -> int | None:
        """Cents; None while the account is not open."""
        return self._balance

    @property
    def booked(self) -> int:
        """How many entries were accepted."""
        return self._booked

    def has_booked(self, entry_id: str) -> bool:
        """Whether the entry was accepted."""
        answer = self._answers.get(entry_id)
        return answer is not None and answer.booking is Booking.ACCEPTED

    def open(self, balance: int, limit: int) -> None:
        """Open with this balance; a credit may not lift it above `limit`. An open account stays as it is."""
        if self._balance is None:
            self._balance, self._limit = balance, limit

    def book(self, kind: Entry, entry_id: str, amount: int) -> Answer:
        """Book once, answer always alike."""
        if self._balance is None:
            return Answer(Booking.UNOPENED, "the account is not open")
        answer = self._answers.get(entry_id)
        if answer is None:
            answer = self._answers[entry_id] = self._decide(kind, amount, self._balance)
            if answer.booking is Booking.ACCEPTED:
                self._balance += -amount if kind is Entry.DEBIT else amount
                self._booked += 1
        return answer

    def _decide(self, kind: Entry, amount: int, balance: int) -> Answer:
        if kind is Entry.DEBIT and amount > balance:
            return Answer(Booking.REFUSED, f"insufficient funds: {format_cents(balance)} in the account")
        if kind is Entry.CREDIT and balance + amount > self._limit:
            return Answer(Booking.REFUSED, f"the receiver may hold at most {format_cents(self._limit)}")
        return Answer(Booking.ACCEPTED)

    def dump(self) -> list[Any]:
        """The account as JSON: balance, limit, the reason of each refusal by id (empty: accepted), in their order."""
        return [self._balance, self._limit, {entry_id: answer.reason for entry_id, answer in self._answers.items()}]

    @classmethod
    def load(cls, document: list[Any]) -> Ledger:
        """Read what `dump` gave. Raises ValueError or TypeError for anything of another shape."""
        ledger = cls()
        ledger._balance, ledger._limit, reasons = document
        ledger._answers = {
            entry_id: Answer(Booking.REFUSED if reason else Booking.ACCEPTED, reason)
            for entry_id, reason in dict(reasons).items()
        }
        ledger._booked = sum(not reason for reason in reasons.values())
        return ledger
