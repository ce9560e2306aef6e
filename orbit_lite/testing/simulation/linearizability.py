"""Is there an order of the calls, one at a time, that explains what every client saw (Herlihy and Wing 1990)?

The search of Wing and Gong (1993) with Lowe's memory of visited configurations (2017): take any call that could have
come first, let the model step, go on; come back when no call is left that could be next. Two branches that took the
same set of calls and reached the same state have the same future, so the second is cut. Histories split into parts that
share no state (keys) are checked part by part, which is sound and exponentially faster (Horn and Kroening 2015).

A call without an end may have taken effect at any time after its start, or never.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

__all__ = ["ILLEGAL", "Call", "Model", "Verdict", "check_linearizability"]

OperationT = TypeVar("OperationT")
ModelT_contra = TypeVar("ModelT_contra", contravariant=True)

#: What `Model.step` returns when the result cannot come from the state.
ILLEGAL: Final[Hashable] = object()


@dataclass(frozen=True, slots=True)
class Call(Generic[OperationT]):
    """One operation of a client. start, end: time; end and result are None when the client never learnt the outcome."""

    client: str
    operation: OperationT
    start: float
    end: float | None = None
    result: bytes | None = None

    def __str__(self) -> str:
        if self.end is None:
            return f"{self.start:9.4f} …           {self.client}  {self.operation} → ?"
        return f"{self.start:9.4f} … {self.end:9.4f} {self.client}  {self.operation} → {self.result!r}"


class Model(Protocol[ModelT_contra]):
    """What the clients believe that they talk to: the sequential specification."""

    def partition(self, operation: ModelT_contra, /) -> Hashable:
        """Operations of different partitions share no state."""
        ...

    def initial(self) -> Hashable:
        """The state of a partition before the first operation."""
        ...

    def step(self, state: Hashable, operation: ModelT_contra, result: bytes | None, /) -> Hashable:
        """The state after the operation; ILLEGAL when it cannot give this result. None: any result."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """ok: None when the search was given up. calls: the smallest part that has no order, by start."""

    ok: bool | None
    calls: tuple[Call[object], ...] = ()

    def __str__(self) -> str:
        if self.ok:
            return "linearizable"
        head = "no order explains these calls:" if self.ok is False else "gave up looking for an order of these calls:"
        return "\n".join([head, *(f"  {call}" for call in self.calls)])


def check_linearizability(
    history: Iterable[Call[OperationT]], model: Model[OperationT], *, limit: int = 1_000_000
) -> Verdict:
    """Look for an order. limit: visited configurations of a part after which the search is given up."""
    parts: dict[Hashable, list[Call[OperationT]]] = {}
    for call in history:
        parts.setdefault(model.partition(call.operation), []).append(call)
    for part in parts.values():
        part.sort(key=lambda call: call.start)
        if (ok := _has_order(part, model, limit)) is not True:
            shortest = _shortest_prefix(part, model, limit) if ok is False else part
            return Verdict(ok, tuple(shortest))  # type: ignore[arg-type]  # a Call of anything is a Call of object
    return Verdict(True)


def _shortest_prefix(
    part: Sequence[Call[OperationT]], model: Model[OperationT], limit: int
) -> Sequence[Call[OperationT]]:
    """The first calls of a part without order that have no order themselves.

    A prefix in time: calls that ended later count as calls without an end.
    """
    ends = sorted(call.end for call in part if call.end is not None)
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if _has_order(_until(part, ends[middle]), model, limit) is False:
            high = middle
        else:
            low = middle + 1
    return _until(part, ends[low])


def _until(part: Sequence[Call[OperationT]], time: float) -> list[Call[OperationT]]:
    return [
        call if call.end is not None and call.end <= time else Call(call.client, call.operation, call.start)
        for call in part
        if call.start <= time
    ]


def _has_order(calls: Sequence[Call[OperationT]], model: Model[OperationT], limit: int) -> bool | None:
    """The search over one part. calls: by start.

    Starts and ends stand in one doubly linked list, by time; a call that is taken leaves the list with its end, and
    comes back when the search turns back. What stands before the first end could be next.
    """
    events = [(call.start, 0, number) for number, call in enumerate(calls)]
    events += [(call.end, 1, number) for number, call in enumerate(calls) if call.end is not None]
    events.sort()  # at the same instant starts come first: such calls overlap
    size = len(events)
    after = list(range(1, size + 3))  # positions 1 … size are the events, 0 and size + 1 the list's two ends
    before = list(range(-1, size + 1))
    number_at = [-1, *(number if kind == 0 else -1 for _, kind, number in events), -1]
    end_of = [0] * len(calls)
    for position, (_, kind, number) in enumerate(events, 1):
        if kind == 1:
            end_of[number] = position

    waiting = size - len(calls)  # calls with an end that are not taken yet
    state: Hashable = model.initial()
    taken = 0
    seen: set[tuple[int, Hashable]] = set()
    trail: list[tuple[int, Hashable]] = []
    position = after[0]
    step = model.step
    while waiting:
        number = number_at[position]
        if number >= 0:
            call = calls[number]
            following = step(state, call.operation, call.result)
            if following is not ILLEGAL:
                reached = (taken | 1 << number, following)
                if reached not in seen:
                    if len(seen) >= limit:
                        return None
                    seen.add(reached)
                    trail.append((position, state))
                    taken, state = reached
                    end = end_of[number]
                    for gone in (position, end) if end else (position,):
                        after[before[gone]], before[after[gone]] = after[gone], before[gone]
                    waiting -= end > 0
                    position = after[0]
                    continue
            position = after[position]
            continue
        if not trail:
            return False
        position, state = trail.pop()
        number = number_at[position]
        taken ^= 1 << number
        end = end_of[number]
        for back in (end, position) if end else (position,):
            after[before[back]] = before[after[back]] = back
        waiting += end > 0
        position = after[position]
    return True
