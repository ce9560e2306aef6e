"""The checker against an obvious one, on histories that are right, and on the same with one lie."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from random import Random
from typing import Any

import pytest

from orbit_lite.testing.simulation import (
    ILLEGAL,
    Call,
    KeyValueMachine,
    KeyValueOperation,
    KeyValueWorkload,
    check_linearizability,
)

WORKLOAD = KeyValueWorkload(keys=2)
TINY_HISTORIES = 4_000
MUTATED_HISTORIES = 300


def get(key: str = "k") -> KeyValueOperation:
    return KeyValueOperation("get", key)


def put(value: str, key: str = "k") -> KeyValueOperation:
    return KeyValueOperation("put", key, value)


def check(*calls: Call[KeyValueOperation]) -> bool | None:
    return check_linearizability(calls, WORKLOAD).ok


# ---------------------------------------------------------------- by hand


def test_an_empty_history_is_linearizable() -> None:
    assert check() is True


def test_a_read_sees_the_write_that_ended_before_it() -> None:
    write = Call("a", put("1"), 0, 1, b"")
    assert check(write, Call("b", get(), 2, 3, b"1")) is True
    assert check(write, Call("b", get(), 2, 3, b"")) is False


def test_a_read_that_overlaps_a_write_sees_either() -> None:
    write = Call("a", put("1"), 0, 2, b"")
    assert check(write, Call("b", get(), 1, 3, b"1")) is True
    assert check(write, Call("b", get(), 1, 3, b"")) is True


def test_what_one_read_saw_a_later_one_sees() -> None:
    write = Call("a", put("1"), 0, 9, b"")
    assert check(write, Call("b", get(), 1, 2, b"1"), Call("c", get(), 3, 4, b"1")) is True
    assert check(write, Call("b", get(), 1, 2, b"1"), Call("c", get(), 3, 4, b"")) is False


def test_a_write_without_an_end_may_have_happened_or_not_or_happen_late() -> None:
    write = Call("a", put("1"), 0)
    assert check(write, Call("b", get(), 1, 2, b"")) is True
    assert check(write, Call("b", get(), 1, 2, b"1")) is True
    assert check(write, Call("b", get(), 1, 2, b""), Call("b", get(), 3, 4, b"1")) is True
    assert check(write, Call("b", get(), 1, 2, b"1"), Call("b", get(), 3, 4, b"")) is False


def test_keys_are_apart_from_each_other() -> None:
    assert check(Call("a", put("1", "x"), 0, 1, b""), Call("b", get("y"), 2, 3, b"")) is True


def test_calls_that_touch_overlap() -> None:
    assert check(Call("a", put("1"), 0, 1, b""), Call("b", get(), 1, 2, b"")) is True


def test_a_history_without_order_is_told_by_its_shortest_prefix() -> None:
    calls = [Call("a", put("1"), 0, 1, b""), Call("b", get(), 2, 3, b""), Call("a", put("2"), 4, 5, b"")]
    verdict = check_linearizability(calls, WORKLOAD)
    assert [str(call.operation) for call in verdict.calls] == ["put k = 1", "get k"]
    assert "no order explains these calls" in str(verdict)


def test_a_search_that_is_too_long_is_given_up_and_not_called_right() -> None:
    calls = [Call(f"c{number}", put(str(number)), 0, 9, b"") for number in range(12)]
    calls.append(Call("r", get(), 10, 11, b"nonsense"))
    assert check_linearizability(calls, WORKLOAD, limit=100).ok is None


# ---------------------------------------------------------------- against all orders


def has_order(calls: Sequence[Call[KeyValueOperation]]) -> bool:
    """All orders of all calls with an end and any of the others."""
    ended = [call for call in calls if call.end is not None]
    open_ended = [call for call in calls if call.end is None]
    return any(
        explains(order)
        for number in range(len(open_ended) + 1)
        for some in combinations(open_ended, number)
        for order in permutations([*ended, *some])
    )


def explains(order: Sequence[Call[KeyValueOperation]]) -> bool:
    if any(late.end is not None and late.end < early.start for early, late in combinations(order, 2)):
        return False
    states: dict[Hashable, Hashable] = {}
    for call in order:
        key = WORKLOAD.partition(call.operation)
        states[key] = WORKLOAD.step(states.get(key, WORKLOAD.initial()), call.operation, call.result)
        if states[key] is ILLEGAL:
            return False
    return True


def tiny_histories(random: Random) -> Iterator[list[Call[KeyValueOperation]]]:
    """At most five calls with answers that may be anything: about half of them have no order."""
    while True:
        calls = []
        for number in range(random.randint(1, 5)):
            start = random.randint(0, 8)
            end = None if random.random() < 0.2 else start + random.randint(0, 5)
            kind = random.choice(("get", "get", "put", "append", "swap"))
            operation = KeyValueOperation(kind, "xy"[random.random() < 0.2], random.choice("12"), random.choice("12"))
            answers = {"get": (b"", b"1", b"2", b"12"), "put": (b"",), "append": (b"1", b"2", b"12", b"21")}
            result = random.choice(answers.get(kind, (b"swapped", b"refused")))
            calls.append(Call(f"c{number}", operation, start, end, None if end is None else result))
        yield calls


def test_it_agrees_with_trying_all_orders() -> None:
    verdicts = {True: 0, False: 0}
    for _, calls in zip(range(TINY_HISTORIES), tiny_histories(Random(1)), strict=False):
        expected = has_order(calls)
        assert check_linearizability(calls, WORKLOAD).ok is expected, calls
        verdicts[expected] += 1
    assert min(verdicts.values()) > TINY_HISTORIES / 5


# ---------------------------------------------------------------- histories with one lie


def true_history(random: Random, *, clients: int = 5, operations: int = 60) -> list[Call[KeyValueOperation]]:
    """Concurrent calls on a machine that does each at one instant between its start and its end."""
    machine = KeyValueMachine()
    workload = KeyValueWorkload(keys=2)
    free_at = [random.random() for _ in range(clients)]
    instants = []
    for number in range(operations):
        client = min(range(clients), key=free_at.__getitem__)
        start = free_at[client]
        instant = start + random.random()
        end = instant + random.random()
        free_at[client] = end + 0.1 * random.random()
        operation = workload.draw(f"c{client}", number, random)
        instants.append((instant, start, end, f"c{client}", operation))
    calls = []
    for index, (_, start, end, client_name, operation) in enumerate(sorted(instants, key=lambda item: item[0])):
        command = workload.command(operation)
        result = workload.query(machine, operation) if command is None else machine.apply(index, command)
        calls.append(Call(client_name, operation, start, end, result))
    return calls


@pytest.fixture(scope="module")
def histories() -> list[list[Call[KeyValueOperation]]]:
    random = Random(2)
    return [true_history(random) for _ in range(MUTATED_HISTORIES)]


def test_true_histories_are_accepted(histories: list[list[Call[KeyValueOperation]]]) -> None:
    assert all(check_linearizability(calls, WORKLOAD).ok for calls in histories)


def test_a_stale_read_is_rejected(histories: list[list[Call[KeyValueOperation]]]) -> None:
    """A read answers with what the key held before a write that was seen by another read that ended earlier."""
    found = 0
    for calls in histories:
        for call in calls:
            earlier = [
                other
                for other in calls
                if other.operation.kind == "get" == call.operation.kind
                and other.operation.key == call.operation.key
                and other.end is not None
                and other.end < call.start
                and other.result not in (b"", call.result)
            ]
            if not earlier or any(other.result == call.result for other in earlier):
                continue
            lie = replace(call, result=b"")  # nothing that a later put could bring back
            assert check_linearizability([lie if other is call else other for other in calls], WORKLOAD).ok is False
            found += 1
            break
    assert found > MUTATED_HISTORIES / 2


def test_a_lost_write_is_rejected(histories: list[list[Call[KeyValueOperation]]]) -> None:
    """A write that somebody read is not in the history: nobody else can have written its value."""
    found = 0
    for calls in histories:
        for call in calls:
            operation: Any = call.operation
            seen = call.operation.kind == "put" and any(
                other.operation.key == operation.key
                and other.operation.kind == "get"
                and operation.value.encode() == other.result
                for other in calls
            )
            if seen:
                assert check_linearizability([other for other in calls if other is not call], WORKLOAD).ok is False
                found += 1
                break
    assert found > MUTATED_HISTORIES / 2


def test_a_write_that_came_out_twice_is_rejected(histories: list[list[Call[KeyValueOperation]]]) -> None:
    for calls in histories:
        call = next(call for call in calls if call.operation.kind == "append" and call.result is not None)
        twice = replace(call, result=(call.result or b"") + call.operation.value.encode())
        assert check_linearizability([twice if other is call else other for other in calls], WORKLOAD).ok is False
