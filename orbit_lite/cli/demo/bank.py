"""The actor of the demo: a bank account. A node hosts it with `--actors orbit_lite.cli.demo.bank`."""

from __future__ import annotations

from collections import deque

from orbit_lite.actors import ActorContext, actor
from orbit_lite.cli.demo.ledger import ACCOUNT_TYPE, Entry, Ledger
from orbit_lite.cli.demo.money import format_cents
from orbit_lite.errors import InvocationFailed
from orbit_lite.model import Json, KeyKind

__all__ = ["BankAccount"]

#: Entries that a statement shows.
_STATEMENT_LENGTH = 20


@actor(ACCOUNT_TYPE, key=KeyKind.STRING, idle_timeout=None)
class BankAccount:
    """A `Ledger` within reach of the cluster. All amounts are integers of cents.

    It lives as long as its node: were it deactivated when idle, its money would be gone. Answers name the node that
    gave them.
    """

    context: ActorContext

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._entries: deque[dict[str, Json]] = deque(maxlen=_STATEMENT_LENGTH)

    async def open(self, balance: Json, limit: Json) -> Json:
        """Open the account; again has no effect."""
        self._ledger.open(_cents("balance", balance, least=0), _cents("limit", limit, least=0))
        return await self.balance()

    async def debit(self, entry_id: Json, amount: Json, note: Json = "") -> Json:
        """Take an amount out, once per entry id."""
        return self._book(Entry.DEBIT, entry_id, amount, note)

    async def credit(self, entry_id: Json, amount: Json, note: Json = "") -> Json:
        """Put an amount in, once per entry id, as far as the limit allows."""
        return self._book(Entry.CREDIT, entry_id, amount, note)

    async def refund(self, entry_id: Json, amount: Json, note: Json = "") -> Json:
        """Put back what a debit took, once per entry id."""
        return self._book(Entry.REFUND, entry_id, amount, note)

    async def balance(self) -> Json:
        """What is in the account (null: it is not open), and how many entries made it so."""
        return {"balance": self._ledger.balance, "entries": self._ledger.booked, "node": self._node}

    async def statement(self) -> Json:
        """The last entries, oldest first."""
        return list(self._entries)

    def _book(self, kind: Entry, entry_id: Json, amount: Json, note: Json) -> Json:
        if not (isinstance(entry_id, str) and entry_id):
            raise InvocationFailed.because("the entry id must be a text that is not empty")
        answer = self._ledger.book(kind, entry_id, _cents("amount", amount, least=1))
        balance = self._ledger.balance
        text = "" if balance is None else format_cents(balance)
        self._entries.append(
            {"entry": entry_id, "amount": amount, "note": note, "booking": answer.booking.value, "balance": text}
        )
        return {"booking": answer.booking.value, "reason": answer.reason, "balance": balance, "node": self._node}

    @property
    def _node(self) -> str:
        return str(self.context.node_id)


def _cents(name: str, value: Json, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvocationFailed.because(f"{name} must be an integer of cents, at least {least}")
    return value
