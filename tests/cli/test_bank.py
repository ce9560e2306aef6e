"""The account as an actor: what can be called on it, and what it answers; and the clerk of a node."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orbit_lite.actors import ActorContext, ActorRegistry, actor_type_of
from orbit_lite.cli.demo.bank import BankAccount, Clerk, account_of, clerk_of
from orbit_lite.cli.demo.books import Books
from orbit_lite.cli.demo.keeper import Keeper
from orbit_lite.cli.demo.ledger import ACCOUNT_TYPE
from orbit_lite.errors import InvocationFailed
from orbit_lite.model import AddressableReference, Json, NodeId

HERE = "(demo:node-1)"


class Log:
    """A cluster that applies at once."""

    def __init__(self) -> None:
        self.books = Books()
        self.applied_index = 0

    async def propose(self, data: bytes, *, timeout: float | None = None) -> bytes:
        self.applied_index += 1
        return self.books.apply(self.applied_index, data)

    async def read(self, timeout: float | None = None) -> None:
        pass


class Nobody:
    async def invoke(
        self, reference: AddressableReference, method: str, args: Sequence[Json], *, timeout: float | None = None
    ) -> Json:
        raise AssertionError


def context(reference: AddressableReference) -> ActorContext:
    return ActorContext(reference, NodeId.parse(HERE), Nobody(), lambda: None)


def made(log: Log | None = None) -> BankAccount:
    """An account as the actor system would make it; it calls nobody."""
    log = log or Log()
    account = account_of(Keeper(log, log.books))()
    account.context = context(AddressableReference.of(ACCOUNT_TYPE, "Ada"))
    return account


async def opened(log: Log | None = None) -> BankAccount:
    account = made(log)
    await account.open(100, 150)
    return account


def test_the_type_offers_its_verbs_and_lives_as_long_as_its_node() -> None:
    registry, log = ActorRegistry(), Log()
    cls = account_of(Keeper(log, log.books))
    registry.register(cls)
    kind = actor_type_of(cls)
    assert kind is not None
    assert kind.name == ACCOUNT_TYPE
    assert set(kind.methods) == {"open", "debit", "credit", "refund", "balance", "statement"}
    assert kind.options["idle_timeout"] is None


async def test_an_account_that_comes_up_anew_holds_what_it_held() -> None:
    log = Log()
    await (await opened(log)).debit("t1/debit", 30, "rent")
    again = made(log)
    assert await again.balance() == {"balance": 70, "entries": 1, "node": HERE}
    assert await again.debit("t1/debit", 30) == {"booking": "accepted", "reason": "", "balance": 70, "node": HERE}
    assert await again.open(1, 1) == {"balance": 70, "entries": 1, "node": HERE}


async def test_a_clerk_says_what_the_books_of_its_node_hold() -> None:
    log = Log()
    await (await opened(log)).debit("t1/debit", 30)
    clerk = clerk_of(Keeper(log, log.books), NodeId.parse(HERE))()
    assert isinstance(clerk, Clerk)
    clerk.context = context(AddressableReference.of("Clerk of node-1"))
    assert await clerk.summary() == {"accounts": 1, "total": 70, "digest": log.books.digest, "applied": 2}
    assert await clerk.missing([["Ada", "t1/debit"], ["Ada", "t2/debit"], ["Eva", "t1/debit"]]) == [
        "t2/debit",
        "t1/debit",
    ]
    with pytest.raises(InvocationFailed, match="list"):
        await clerk.missing("all")


async def test_an_entry_is_booked_once_and_answered_alike() -> None:
    account = await opened()
    first = await account.debit("t1/debit", 30, "rent")
    assert (
        await account.debit("t1/debit", 30, "rent")
        == first
        == {"booking": "accepted", "reason": "", "balance": 70, "node": HERE}
    )
    assert await account.balance() == {"balance": 70, "entries": 1, "node": HERE}


async def test_an_account_that_is_not_open_says_so() -> None:
    account = made()
    assert await account.credit("t1/credit", 1) == {
        "booking": "unopened",
        "reason": "the account is not open",
        "balance": None,
        "node": HERE,
    }
    assert await account.balance() == {"balance": None, "entries": 0, "node": HERE}


async def test_a_statement_repeats_notes_as_they_were_written() -> None:
    account = await opened()
    await account.credit("t1/credit", 1, "e\u0301 🏳️‍🌈 \u202eשלום\n")
    statement = await account.statement()
    assert isinstance(statement, list)
    assert [entry["note"] for entry in statement if isinstance(entry, dict)] == ["e\u0301 🏳️‍🌈 \u202eשלום\n"]


@pytest.mark.parametrize("amount", [0, -1, 1.5, "1", True, None])
async def test_an_amount_that_is_none_is_refused_with_a_reason(amount: Json) -> None:
    account = await opened()
    with pytest.raises(InvocationFailed, match="amount must be an integer of cents, at least 1"):
        await account.debit("t1/debit", amount)
    assert await account.balance() == {"balance": 100, "entries": 0, "node": HERE}


@pytest.mark.parametrize("entry_id", ["", None, 7])
async def test_an_entry_needs_an_id(entry_id: Json) -> None:
    with pytest.raises(InvocationFailed, match="entry id"):
        await (await opened()).debit(entry_id, 1)
