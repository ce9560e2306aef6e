"""The replicated books: deterministic, deaf to nonsense, whole after a snapshot; and how a node writes in them."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.cli.demo.books import Books, Document, booking_command, open_command, read_replies, write_page
from orbit_lite.cli.demo.keeper import Keeper
from orbit_lite.cli.demo.ledger import Entry
from orbit_lite.errors import InternalError, OrbitError
from orbit_lite.raft import NotLeader, ProposalLost

NAMES = ("Ada", "Žofie", "🦊", "\ud800")

_COMMANDS = st.lists(
    st.one_of(
        st.builds(open_command, st.sampled_from(NAMES), st.integers(0, 100), st.integers(0, 200)),
        st.builds(
            booking_command, st.sampled_from(Entry), st.sampled_from(NAMES), st.sampled_from("xyz"), st.integers(1, 60)
        ),
    ),
    max_size=12,
)
_PAGES = st.lists(_COMMANDS, max_size=6)


def play(pages: list[list[Document]], books: Books | None = None) -> tuple[Books, list[bytes]]:
    books = books or Books()
    return books, [books.apply(index, write_page(page)) for index, page in enumerate(pages, 1)]


@given(_PAGES)
def test_equal_pages_make_equal_books_and_replies(pages: list[list[Document]]) -> None:
    one, other = play(pages), play(pages)
    assert one[1] == other[1]
    assert one[0].digest == other[0].digest
    assert one[0].snapshot() == other[0].snapshot()


@given(_PAGES, _PAGES)
def test_a_replica_that_took_a_snapshot_goes_on_like_the_others(
    before: list[list[Document]], after: list[list[Document]]
) -> None:
    whole, _ = play(before)
    late = Books()
    late.restore(whole.snapshot())
    assert late.digest == whole.digest
    assert play(after, late)[1] == play(after, whole)[1]
    assert (late.digest, late.total) == (whole.digest, whole.total)


@given(_PAGES)
def test_pages_that_come_again_change_nothing(pages: list[list[Document]]) -> None:
    opened: list[list[Document]] = [[open_command(name, 100, 150) for name in NAMES]]
    once, replies = play(opened + pages)
    digest, total = once.digest, once.total
    again = play(opened + pages, once)[1]
    assert (once.digest, once.total) == (digest, total)
    assert [[reply["booking"] for reply in json.loads(page)] for page in again] == [
        [reply["booking"] for reply in json.loads(page)] for page in replies
    ]


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"{}", b"null", b"[" * 100_000, b'{"op": "open"}'],
)
def test_what_is_no_page_is_answered_and_stops_nobody(data: bytes) -> None:
    books = Books()
    assert "no page" in json.loads(books.apply(7, data))["error"]
    assert books.digest == Books().digest
    with pytest.raises(InternalError, match="no page"):
        read_replies(books.apply(7, data), 1)


@pytest.mark.parametrize(
    "command",
    [
        *(None, 1, [], {}, {"op": "steal"}, {"op": "debit", "account": "a"}),
        {"op": "open", "account": [], "balance": 1, "limit": 1},
        {"op": "open", "account": "a", "balance": "much", "limit": 1},
    ],
)
def test_a_command_without_sense_is_answered_and_the_next_one_applied(command: object) -> None:
    books = Books()
    page = json.dumps([command, open_command("Ada", 5, 9)]).encode()
    refused, accepted = read_replies(books.apply(1, page), 2)
    assert "makes no sense" in refused["error"]
    assert accepted["booking"] == "accepted"
    assert books.total == 5


def test_what_is_missing_is_named() -> None:
    books, _ = play([[open_command("a", 10, 20), booking_command(Entry.DEBIT, "a", "x", 3)]])
    books.apply(2, write_page([booking_command(Entry.DEBIT, "a", "refused", 100)]))
    assert books.missing([("a", "x"), ("a", "refused"), ("b", "x")]) == ["refused", "x"]


# ---------------------------------------------------------------- a node that writes


class Log:
    """Applies when the test lets it; loses what it is told to lose, after or before it was applied."""

    def __init__(self) -> None:
        self.books = Books()
        self.applied_index = 0
        self.pages: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fate: list[tuple[bool, OrbitError]] = []

    async def propose(self, data: bytes, *, timeout: float | None = None) -> bytes:
        await self.gate.wait()
        is_applied, error = self.fate.pop(0) if self.fate else (True, None)
        reply = b""
        if is_applied:
            self.applied_index += 1
            self.pages.append(len(json.loads(data)))
            reply = self.books.apply(self.applied_index, data)
        if error is not None:
            raise error
        return reply

    async def read(self, timeout: float | None = None) -> None:
        raise NotLeader("nobody leads")


async def test_what_comes_while_a_page_is_decided_goes_on_the_next_one() -> None:
    log = Log()
    keeper = Keeper(log, log.books)
    log.gate.clear()
    first = asyncio.create_task(keeper.write(open_command("a", 100, 200)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [
        asyncio.create_task(keeper.write(booking_command(Entry.DEBIT, "a", f"t{number}", 1))) for number in range(600)
    ]
    for _ in range(4):
        await asyncio.sleep(0)
    log.gate.set()
    assert (await first)["balance"] == 100
    bookings = [reply["booking"] for reply in await asyncio.gather(*rest)]
    assert (bookings.count("accepted"), bookings.count("refused")) == (100, 500)
    assert sorted(log.pages) == [1, 88, 256, 256]


async def test_a_page_of_which_nobody_knows_what_became_is_written_again_and_booked_once() -> None:
    log = Log()
    keeper = Keeper(log, log.books)
    await keeper.write(open_command("a", 100, 200))
    log.fate = [(True, ProposalLost("after")), (False, ProposalLost("before"))]
    assert (await keeper.write(booking_command(Entry.DEBIT, "a", "t1", 30)))["balance"] == 70
    assert log.books.total == 70


async def test_who_waits_is_told_when_the_books_do_not_answer_and_the_next_page_is_tried() -> None:
    log = Log()
    keeper = Keeper(log, log.books)
    log.fate = [(False, NotLeader("nobody leads"))]
    with pytest.raises(ProposalLost, match="nobody leads"):
        await keeper.write(open_command("a", 100, 200))
    assert (await keeper.write(open_command("a", 100, 200)))["balance"] == 100
    with pytest.raises(NotLeader):
        await keeper.read()
    with pytest.raises(InternalError, match="makes no sense"):
        await keeper.write({"op": "steal"})


async def test_one_after_the_other_each_is_answered() -> None:
    log = Log()
    keeper = Keeper(log, log.books)
    await keeper.write(open_command("a", 1000, 2000))
    for number in range(50):
        booked = booking_command(Entry.DEBIT, "a", f"t{number}", 1)
        async with asyncio.timeout(5):
            await asyncio.gather(*(keeper.write(booked) for _ in range(1 + number % 4)))
    assert log.books.total == 950


async def test_a_caller_who_gives_up_holds_nobody_up() -> None:
    log = Log()
    keeper = Keeper(log, log.books)
    log.gate.clear()
    leaving = asyncio.create_task(keeper.write(open_command("a", 100, 200)))
    staying = asyncio.create_task(keeper.write(open_command("b", 50, 200)))
    await asyncio.sleep(0)
    leaving.cancel()
    log.gate.set()
    assert (await staying)["balance"] == 50
    assert set(log.books.accounts) == {"a", "b"}
