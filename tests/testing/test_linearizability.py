"""The checker agrees with trying all orders, and refuses what no order explains."""

from __future__ import annotations

import itertools
import random
from collections.abc import Hashable

import pytest

from orbit_lite.testing.simulation import ILLEGAL, Call, check_linearizability

Operation = tuple[str, str | None]


class Register:
    """`("put", value)` gives b"ok"; `("get", None)` gives the value."""

    def partition(self, operation: Operation) -> Hashable:
        return "the register"

    def initial(self) -> Hashable:
        return ""

    def step(self, state: Hashable, operation: Operation, result: bytes | None) -> Hashable:
        kind, value = operation
        if kind == "put":
            return value if result in {None, b"ok"} else ILLEGAL
        return state if result is None or result == str(state).encode() else ILLEGAL


def brute(history: list[Call[Operation]]) -> bool:
    """Whether some order of all ended calls, and any of the others, explains the history."""
    model = Register()
    ended = [call for call in history if call.end is not None]
    opened = [call for call in history if call.end is None]
    for count in range(len(opened) + 1):
        for some in itertools.combinations(opened, count):
            for order in itertools.permutations([*ended, *some]):
                if any(
                    later.end is not None and later.end < earlier.start
                    for earlier, later in itertools.combinations(order, 2)
                ):
                    continue
                state = model.initial()
                for call in order:
                    state = model.step(state, call.operation, call.result)
                    if state is ILLEGAL:
                        break
                else:
                    return True
    return False


def drawn(draw: random.Random, calls: int) -> list[Call[Operation]]:
    """Results of a real register at a random moment of each call; sometimes one of them is changed."""
    moments = []
    for number in range(calls):
        start = draw.random() * 3
        end = start + draw.random() * 2
        operation = ("put", f"v{number}") if draw.random() < 0.5 else ("get", None)
        moments.append((start + (end - start) * draw.random(), start, end, operation))
    state = ""
    history = []
    for number, (_, start, end, (kind, value)) in enumerate(sorted(moments)):
        result = b"ok" if kind == "put" else state.encode()
        if kind == "put":
            state = str(value)
        lost = draw.random() < 0.2
        history.append(Call(f"c{number}", (kind, value), start, None if lost else end, None if lost else result))
    return history


@pytest.mark.parametrize("batch", range(8))
def test_it_agrees_with_trying_all_orders(batch: int) -> None:
    draw = random.Random(batch)
    refused = 0
    for _ in range(150):
        history = drawn(draw, draw.randint(1, 5))
        assert check_linearizability(history, Register()).ok is True
        gets = [at for at, call in enumerate(history) if call.operation[0] == "get" and call.end is not None]
        if gets:
            at = draw.choice(gets)
            call = history[at]
            result = draw.choice([b"", b"v0", b"v1", b"v2", b"never"])
            history[at] = Call(call.client, call.operation, call.start, call.end, result)
        verdict = check_linearizability(history, Register()).ok
        assert verdict is brute(history)
        refused += not verdict
    assert refused > 10


def test_a_stale_read_a_lost_write_and_time_running_backwards_are_refused() -> None:
    put: Call[Operation] = Call("a", ("put", "1"), 0.0, 1.0, b"ok")
    stale: list[Call[Operation]] = [put, Call("b", ("get", None), 2.0, 3.0, b"")]
    assert check_linearizability(stale, Register()).ok is False
    maybe: list[Call[Operation]] = [Call("a", ("put", "1"), 0.0), Call("b", ("get", None), 2.0, 3.0, b"")]
    assert check_linearizability(maybe, Register()).ok is True
    back: list[Call[Operation]] = [
        *maybe,
        Call("b", ("get", None), 4.0, 5.0, b"1"),
        Call("b", ("get", None), 6.0, 7.0, b""),
    ]
    verdict = check_linearizability(back, Register())
    assert verdict.ok is False
    assert "no order explains" in str(verdict)
