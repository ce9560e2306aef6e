"""The actors of the demo: bank accounts, the front ends of the replicated books, and a clerk on each node.

An account keeps no money: what it is told it proposes to the cluster, and answers when a majority has it on disk. So
an account that comes up on another node, because its own was killed, holds what it held. The clerk says what the books
on its own node hold; its type is the node's alone, so that it lives there.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from orbit_lite.actors import ActorContext, actor
from orbit_lite.cli.demo.books import booking_command, open_command, state_of
from orbit_lite.cli.demo.keeper import Keeper
from orbit_lite.cli.demo.ledger import ACCOUNT_TYPE, Entry
from orbit_lite.cli.demo.money import format_cents
from orbit_lite.errors import InvocationFailed
from orbit_lite.model import Json, KeyKind, NodeId

__all__ = ["BankAccount", "Clerk", "account_of", "clerk_of", "clerk_type"]

#: Entries that a statement shows.
_STATEMENT_LENGTH = 20


class BankAccount:
    """An account within reach of the cluster. All amounts are integers of cents; answers name the node of the actor."""

    context: ActorContext
    keeper: ClassVar[Keeper]

    def __init__(self) -> None:
        self._entries: deque[dict[str, Json]] = deque(maxlen=_STATEMENT_LENGTH)

    async def open(self, balance: Json, limit: Json) -> Json:
        """Open the account; again has no effect."""
        command = open_command(self._name, _cents("balance", balance, least=0), _cents("limit", limit, least=0))
        reply = await self.keeper.write(command)
        return {"balance": reply["balance"], "entries": reply["entries"], "node": self._node}

    async def debit(self, entry_id: Json, amount: Json, note: Json = "") -> Json:
        """Take an amount out, once per entry id."""
        return await self._book(Entry.DEBIT, entry_id, amount, note)

    async def credit(self, entry_id: Json, amount: Json, note: Json = "") -> Json:
        """Put an amount in, once per entry id, as far as the limit allows."""
        return await self._book(Entry.CREDIT, entry_id, amount, note)

    async def refund(self, entry_id: Json, amount: Json, note: Json = "") -> Json:
        """Put back what a debit took, once per entry id."""
        return await self._book(Entry.REFUND, entry_id, amount, note)

    async def balance(self) -> Json:
        """What is in the account (null: it is not open), and how many entries made it so."""
        books = await self.keeper.read()
        return {**state_of(books.accounts.get(self._name)), "node": self._node}

    async def statement(self) -> Json:
        """The last entries since the actor came up, oldest first."""
        return list(self._entries)

    async def _book(self, kind: Entry, entry_id: Json, amount: Json, note: Json) -> Json:
        if not (isinstance(entry_id, str) and entry_id):
            raise InvocationFailed.because("the entry id must be a text that is not empty")
        cents = _cents("amount", amount, least=1)
        reply = await self.keeper.write(booking_command(kind, self._name, entry_id, cents))
        balance = reply["balance"]
        text = "" if balance is None else format_cents(balance)
        self._entries.append(
            {"entry": entry_id, "amount": amount, "note": note, "booking": reply["booking"], "balance": text}
        )
        return {"booking": reply["booking"], "reason": reply["reason"], "balance": balance, "node": self._node}

    @property
    def _name(self) -> str:
        return str(self.context.key.value)

    @property
    def _node(self) -> str:
        return str(self.context.node_id)


class Clerk:
    """Tells what the books on its node hold."""

    context: ActorContext
    keeper: ClassVar[Keeper]

    async def summary(self) -> Json:
        """Accounts, cents in all of them, a digest of all that is in the books, and the last log entry in them."""
        books = await self.keeper.read()
        return {
            "accounts": len(books.accounts),
            "total": books.total,
            "digest": books.digest,
            "applied": self.keeper.applied,
        }

    async def missing(self, entries: Json) -> Json:
        """Ids of those [account, id] that are not booked."""
        if not isinstance(entries, list):
            raise InvocationFailed.because("entries must be a list of [account, id]")
        found: list[Json] = [*(await self.keeper.read()).missing(entries)]  # type: ignore[arg-type]  # as its caller says
        return found


def account_of(keeper: Keeper) -> type[BankAccount]:
    """The actor class of accounts in these books."""
    cls = type("BankAccount", (BankAccount,), {"keeper": keeper})
    return actor(ACCOUNT_TYPE, key=KeyKind.STRING, idle_timeout=None)(cls)


def clerk_of(keeper: Keeper, node_id: NodeId) -> type[Clerk]:
    """The actor class of the node's own clerk."""
    return actor(clerk_type(node_id), key=KeyKind.NONE)(type("Clerk", (Clerk,), {"keeper": keeper}))


def clerk_type(node_id: NodeId) -> str:
    """Under which the clerk of a node is known."""
    return f"Clerk of {node_id.key}"


def _cents(name: str, value: Json, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvocationFailed.because(f"{name} must be an integer of cents, at least {least}")
    return value
