"""Which connection takes a call: the pool's decisions for one endpoint, without any I/O.

A connection is dialled, then open, then perhaps retiring (it takes no new calls and is closed when its last call ends).
The rules:

- a call goes to the open connection with the fewest calls;
- a further connection is dialled only when all open ones are saturated, one at a time: however many callers wait for a
  connection, they wait for the same dial;
- there are never more live connections than `max_connections`; when all are saturated and no more are allowed, the call
  goes to the least loaded all the same, whose own flow of streams makes it wait;
- a connection that is lost is forgotten at once;
- after a failed dial the next one waits: exponential backoff, jittered, unless another connection is open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from orbit_lite.rpc.config import PoolConfig

__all__ = ["Assignment", "Dial", "Slot", "Wait"]


class Line(Protocol):
    """A connection as the decisions see it."""

    @property
    def is_connected(self) -> bool: ...
    @property
    def stream_limit(self) -> int | None: ...


L = TypeVar("L", bound=Line)


@dataclass(slots=True, eq=False)
class Slot(Generic[L]):
    """One connection. opened, last_used: monotonic seconds; retires: when it takes no new calls any more."""

    line: L
    opened: float
    retires: float
    last_used: float
    calls: int = 0
    is_retiring: bool = False


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a connection, then ask again. delay: seconds to wait before."""

    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Wait:
    """A connection is being opened: wait for it, then ask again."""


@dataclass(slots=True)
class Assignment(Generic[L]):
    """The connections of one endpoint. Times are monotonic seconds."""

    config: PoolConfig
    max_connections: int
    slots: list[Slot[L]] = field(default_factory=list)
    closing: list[L] = field(default_factory=list)
    """Connections that nothing refers to any more, for the caller to close and to take out."""
    is_dialling: bool = False
    failed_dials: int = 0
    next_dial: float = 0.0

    # ------------------------------------------------------------ a call

    def assign(self, now: float, avoid: Slot[L] | None = None) -> Slot[L] | Dial | Wait:
        """The connection for a call, which counts as its call from now on; else what has to happen first.

        avoid: the connection on which the call failed before, taken only if there is no other. Even when a connection
        is given, `wants_dial` may say that a further one is due.
        """
        self._forget_lost()
        best = min(self._usable(now), key=lambda slot: (slot is avoid, slot.calls), default=None)
        if best is not None:
            best.calls += 1
            best.last_used = now
            return best
        if self.is_dialling:
            return Wait()
        return Dial(max(0.0, self.next_dial - now))

    def wants_dial(self, now: float) -> bool:
        """Whether a further connection is due: all that are open are saturated, and one more is allowed."""
        if self.is_dialling or now < self.next_dial:
            return False
        if self.open_connections >= self.max_connections:
            return False
        usable = list(self._usable(now))
        return bool(usable) and all(slot.calls >= self._limit(slot) for slot in usable)

    def ended(self, slot: Slot[L], now: float) -> None:
        """A call of the slot has ended."""
        slot.calls -= 1
        slot.last_used = now
        self._close_if_done(slot)

    def _close_if_done(self, slot: Slot[L]) -> None:
        if slot.calls == 0 and slot.is_retiring and slot in self.slots:
            self.slots.remove(slot)
            self.closing.append(slot.line)

    def _usable(self, now: float) -> Iterator[Slot[L]]:
        for slot in self.slots:
            if slot.line.is_connected and not slot.is_retiring and now < slot.retires:
                yield slot

    def _limit(self, slot: Slot[L]) -> int:
        return min(self.config.soft_stream_limit, slot.line.stream_limit or self.config.soft_stream_limit)

    # ------------------------------------------------------------ dialling

    def dialling(self) -> None:
        """A dial has begun."""
        self.is_dialling = True

    def opened(self, line: L, now: float, draw: float) -> None:
        """The dial succeeded. draw: random in 0..1, which spreads the ends of connections opened together."""
        self.is_dialling = False
        self.failed_dials = 0
        self.next_dial = 0.0
        retires = now + self.config.max_age * (0.9 + 0.2 * draw)
        self.slots.append(Slot(line, now, retires, now))

    def dial_failed(self, now: float, draw: float) -> None:
        """The dial failed; the next one has to wait. draw: random in 0..1 (full jitter)."""
        self.is_dialling = False
        bound = min(self.config.redial_max, self.config.redial_initial * 2.0 ** min(self.failed_dials, 60))
        self.failed_dials += 1
        self.next_dial = now + bound * draw

    def dial_given_up(self) -> None:
        """The dial was ended by ourselves; nothing was learned from it."""
        self.is_dialling = False

    # ------------------------------------------------------------ cleaning up

    def retire(self, now: float, max_idle: float) -> None:
        """Retire what is too old, or has been idle for `max_idle` seconds or longer."""
        self._forget_lost()
        for slot in list(self.slots):
            is_idle = slot.calls == 0 and now - slot.last_used >= max_idle
            if is_idle or now >= slot.retires:
                slot.is_retiring = True
            self._close_if_done(slot)

    def _forget_lost(self) -> None:
        """Connections that are lost, or that the peer is closing, take no new calls; theirs find out by themselves."""
        for slot in list(self.slots):
            if not slot.line.is_connected:
                slot.is_retiring = True
            self._close_if_done(slot)

    @property
    def open_connections(self) -> int:
        """Connections that are open now, retiring ones included."""
        return sum(slot.line.is_connected for slot in self.slots)

    @property
    def open_calls(self) -> int:
        """Calls on all connections."""
        return sum(slot.calls for slot in self.slots)
