"""The demo bank's books: the ledgers of all accounts, as the state machine that the cluster replicates.

Every replica applies the same commands in the same order, so all hold the same balances. A command that changes a
balance has an id that its sender chose and is booked once under it (`ledger`), so it may be proposed again whenever
nobody knows what became of it.

An entry of the log is a page: commands in their order. Pages and replies are JSON. What makes no sense gets a reply
that says so: raising would stop the node.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

from orbit_lite.cli.demo.ledger import Booking, Entry, Ledger
from orbit_lite.errors import InternalError, quote
from orbit_lite.model import Json

__all__ = ["Books", "Document", "booking_command", "open_command", "read_replies", "state_of", "write_page"]


#: A command or a reply to one.
Document: TypeAlias = Mapping[str, Json]


def open_command(account: str, balance: int, limit: int) -> Document:
    """Open an account with this balance, in cents; no credit lifts it above the limit."""
    return {"op": "open", "account": account, "balance": balance, "limit": limit}


def booking_command(kind: Entry, account: str, entry_id: str, amount: int) -> Document:
    """Book an entry, once under its id."""
    return {"op": kind.value, "account": account, "id": entry_id, "amount": amount}


def write_page(commands: Sequence[Document]) -> bytes:
    """The commands as `Books.apply` takes them."""
    return _dump(list(commands))


def read_replies(data: bytes, count: int) -> list[dict[str, Any]]:
    """What `Books.apply` gave for a page of so many commands. Raises InternalError for what is no answer to it."""
    replies = json.loads(data)
    if not isinstance(replies, list) or len(replies) != count:
        raise InternalError(f"{count} commands were answered by {quote(repr(replies))}")
    return replies


class Books:
    """StateMachine. Its reply to each command: booking, reason, balance and how many entries were booked; or error."""

    def __init__(self) -> None:
        self._accounts: dict[str, Ledger] = {}

    # ------------------------------------------------------------ StateMachine

    def apply(self, index: int, data: bytes) -> bytes:
        """Book what the page says, or say why not. Never raises."""
        try:
            page = json.loads(data)
        except (ValueError, RecursionError):
            page = None
        if not isinstance(page, list):
            return _dump({"error": f"entry {index} is no page"})
        return _dump([self._reply(command) for command in page])

    def _reply(self, command: Any) -> Document:
        try:
            return self._apply(command)
        except (ValueError, TypeError, LookupError) as error:
            return {"error": f"the command makes no sense: {error!r}"}

    def _apply(self, command: Mapping[str, Any]) -> dict[str, Json]:
        name = command["account"]
        if command["op"] == "open":
            balance, limit = int(command["balance"]), int(command["limit"])
            ledger = self._accounts.setdefault(name, Ledger())
            ledger.open(balance, limit)
            return {"booking": Booking.ACCEPTED.value, "reason": "", **state_of(ledger)}
        kind, entry_id, amount = Entry(command["op"]), command["id"], int(command["amount"])
        ledger = self._accounts.get(name) or Ledger()
        answer = ledger.book(kind, entry_id, amount)
        return {"booking": answer.booking.value, "reason": answer.reason, **state_of(ledger)}

    def snapshot(self) -> bytes:
        """All accounts; equal books give equal bytes."""
        return _dump({name: self._accounts[name].dump() for name in sorted(self._accounts)})

    def restore(self, data: bytes) -> None:
        """Become the books of a snapshot. Raises ValueError, TypeError or LookupError for what is none."""
        self._accounts = {name: Ledger.load(document) for name, document in json.loads(data).items()}

    # ------------------------------------------------------------ what this replica holds

    @property
    def accounts(self) -> Mapping[str, Ledger]:
        """The accounts, a live view."""
        return MappingProxyType(self._accounts)

    @property
    def total(self) -> int:
        """Cents in all accounts."""
        return sum(ledger.balance or 0 for ledger in self._accounts.values())

    @property
    def digest(self) -> str:
        """The same for the same books, and for no others."""
        return hashlib.blake2b(self.snapshot(), digest_size=8).hexdigest()

    def missing(self, entries: Iterable[Sequence[str]]) -> list[str]:
        """Ids of those (account, id) that are not booked here."""
        return [entry_id for name, entry_id in entries if not self._has(name, entry_id)]

    def _has(self, name: str, entry_id: str) -> bool:
        ledger = self._accounts.get(name)
        return ledger is not None and ledger.has_booked(entry_id)


def state_of(ledger: Ledger | None) -> dict[str, Json]:
    """What an account says of itself."""
    if ledger is None:
        return {"balance": None, "entries": 0}
    return {"balance": ledger.balance, "entries": ledger.booked}


def _dump(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
