"""Driving transfers against a bank that loses, delays and refuses questions, in one process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.cli.demo.ledger import Entry, Ledger
from orbit_lite.cli.demo.rows import Transfer
from orbit_lite.cli.demo.teller import DOUBT_LIMIT, Teller
from orbit_lite.cli.demo.transfers import State, TransferRun
from orbit_lite.errors import ConnectError, ConnectionLost
from orbit_lite.model import AddressableReference, Json

OPENING, LIMIT = 100, 140


class Bank:
    """Ledgers behind a network; of a hundred entries `faults` fail, not run, or before or after they were booked."""

    def __init__(self, *, faults: int = 0, seed: int = 0) -> None:
        self.ledgers: dict[str, Ledger] = {}
        self.unreachable: set[str] = set()
        self.under_way = self.most_under_way = 0
        self.faults = faults
        self._dice = random.Random(seed)

    async def invoke(self, reference: AddressableReference, method: str, arguments: Sequence[Json]) -> Json:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)
            return self._serve(str(reference.key), method, arguments)
        finally:
            self.under_way -= 1

    def _serve(self, name: str, method: str, arguments: Sequence[Json]) -> Json:
        if name in self.unreachable:
            raise ConnectionLost("the stream ended")
        ledger = self.ledgers.setdefault(name, Ledger())
        if method == "balance":
            return {"balance": ledger.balance}
        if method == "open":
            ledger.open(OPENING, LIMIT)
            return None
        fault = self._dice.choice(["not run", "before", "after"]) if self._dice.randrange(100) < self.faults else ""
        if fault == "not run":
            raise ConnectError("refused")
        if fault == "before":
            raise ConnectionLost("the stream ended")
        entry_id, amount, _note = arguments
        assert isinstance(amount, int)
        answer = ledger.book(Entry(method), str(entry_id), amount)
        if fault == "after":
            raise ConnectionLost("the stream ended")
        return {"booking": answer.booking.value, "reason": answer.reason}


def runs_of(*rows: tuple[str, str, int]) -> list[TransferRun]:
    return [TransferRun(Transfer(line, *row), f"t{line}") for line, row in enumerate(rows, 2)]


async def start(bank: Bank, runs: list[TransferRun], *, stop: asyncio.Event | None = None) -> list[TransferRun]:
    teller = Teller(bank.invoke, width=4, pause=0.0)
    await teller.open_accounts("abcd", balance=OPENING, limit=LIMIT)
    return await teller.run(runs, stop=stop or asyncio.Event(), progress=lambda done: None)


async def balances(bank: Bank) -> dict[str, int | None]:
    found = await Teller(bank.invoke).balances("abcd")
    return {name: holding.balance for name, holding in found.items()}


async def test_transfers_end_done_rejected_or_refunded_in_file_order() -> None:
    bank, runs = Bank(), runs_of(("a", "b", 30), ("a", "c", 80), ("a", "b", 20), ("c", "d", 5))
    assert await start(bank, runs) == runs
    assert [run.state for run in runs] == [State.DONE, State.REJECTED, State.REFUNDED, State.DONE]
    assert await balances(bank) == {"a": 70, "b": 130, "c": 95, "d": 105}


async def test_no_more_than_the_width_is_under_way_and_that_much_is() -> None:
    bank = Bank()
    teller = Teller(bank.invoke, width=4, pause=0.0)
    await teller.open_accounts([f"a{number}" for number in range(50)], balance=OPENING, limit=LIMIT)
    assert bank.most_under_way == 4
    runs = runs_of(*((f"a{number}", f"a{number + 1}", 1) for number in range(0, 50, 2)))
    await teller.run(runs, stop=asyncio.Event(), progress=lambda done: None)
    assert bank.most_under_way == 4


_ROWS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.integers(1, 60)).filter(
        lambda row: row[0] != row[1]
    ),
    max_size=20,
)


@given(_ROWS, st.integers(0, 60), st.integers(0, 2**32))
def test_settling_ends_every_doubt_once_the_network_is_well(
    rows: list[tuple[str, str, int]], faults: int, seed: int
) -> None:
    async def scenario() -> None:
        bank, runs = Bank(faults=faults, seed=seed), runs_of(*rows)
        assert len(await start(bank, runs)) == len(runs)
        bank.faults = 0
        await Teller(bank.invoke, pause=0.0).settle(runs, time_limit=10.0)
        assert all(run.state.is_final for run in runs)
        assert sum(balance or 0 for balance in (await balances(bank)).values()) == 4 * OPENING

    asyncio.run(scenario())


async def test_with_patience_a_transfer_outlasts_the_silence_of_an_account() -> None:
    bank, runs = Bank(), runs_of(("a", "b", 30), ("c", "d", 5))
    teller = Teller(bank.invoke, pause=0.001, patience=30.0)
    await teller.open_accounts("abcd", balance=OPENING, limit=LIMIT)
    bank.unreachable.add("b")
    asyncio.get_running_loop().call_later(0.05, bank.unreachable.clear)
    await teller.run(runs, stop=asyncio.Event(), progress=lambda done: None)
    assert [run.state for run in runs] == [State.DONE, State.DONE]
    assert teller.slowest > 0
    assert [entry for run in runs for entry in run.acknowledged] == [
        ("a", "t2/debit"),
        ("b", "t2/credit"),
        ("c", "t3/debit"),
        ("d", "t3/credit"),
    ]


async def test_patience_ends_where_there_is_no_hope() -> None:
    bank, runs = Bank(), runs_of(("a", "b", 30))
    bank.unreachable.update("ab")
    teller = Teller(bank.invoke, pause=1000.0, patience=1000.0, is_hopeless=lambda: True)
    await teller.run(runs, stop=asyncio.Event(), progress=lambda done: None)
    assert runs[0].state is State.DEBIT_IN_DOUBT
    assert runs[0].acknowledged == []
    assert (await teller.balances("a"))["a"].problem == "the stream ended"


async def test_a_transfer_whose_account_cannot_be_reached_stays_open_and_is_named() -> None:
    bank, runs = Bank(), runs_of(("a", "b", 30), ("c", "d", 5))
    bank.ledgers = {}
    teller = Teller(bank.invoke, pause=0.0)
    await teller.open_accounts("abcd", balance=OPENING, limit=LIMIT)
    bank.unreachable.add("b")
    await teller.run(runs, stop=asyncio.Event(), progress=lambda done: None)
    await teller.settle(runs, time_limit=10.0)
    assert [run.state for run in runs] == [State.CREDIT_IN_DOUBT, State.DONE]
    assert runs[0].reason == "the stream ended"
    assert (await teller.balances("b"))["b"].problem == "the stream ended"


async def test_an_account_that_lost_its_memory_is_told_from_an_empty_one() -> None:
    bank = Bank()
    await start(bank, [])
    bank.ledgers["a"] = Ledger()
    holding = (await Teller(bank.invoke).balances("a"))["a"]
    assert holding.balance is None
    assert "lost" in holding.problem


async def test_nothing_new_is_begun_after_stop() -> None:
    stop = asyncio.Event()
    stop.set()
    assert await start(Bank(), runs_of(("a", "b", 1)), stop=stop) == []


async def test_nothing_new_is_begun_while_too_much_is_in_doubt() -> None:
    bank, runs = Bank(faults=100), runs_of(*[("a", "b", 1)] * 500)
    started = await start(bank, runs)
    assert DOUBT_LIMIT < len(started) <= DOUBT_LIMIT + 4


async def test_settling_gives_up_in_time_and_knows_that_it_does_not_know() -> None:
    async def never(reference: AddressableReference, method: str, arguments: Sequence[Json]) -> Json:
        await asyncio.Event().wait()
        raise AssertionError

    runs = runs_of(("a", "b", 1))
    await Teller(never, pause=0.0).settle(runs, time_limit=0.01)
    assert runs[0].state is State.DEBIT_IN_DOUBT


async def test_an_answer_without_sense_leaves_the_transfer_in_doubt() -> None:
    async def babble(reference: AddressableReference, method: str, arguments: Sequence[Json]) -> Json:
        return {"booking": "perhaps"}

    runs = runs_of(("a", "b", 1))
    await Teller(babble).run(runs, stop=asyncio.Event(), progress=lambda done: None)
    assert runs[0].state is State.DEBIT_IN_DOUBT
