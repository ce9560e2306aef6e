"""Which connection takes a call: the pool's decisions for one endpoint, without any I/O.

A connection is dialled, then open, then perhaps retiring: it takes no new calls, and is closed when its last one ends.
A call gets a connection at once, or waits in line. The rules:

- a call goes to the open connection with the fewest calls, never beyond what the peer lets run at once;
- a further connection is dialled only when all open ones are saturated, one at a time: however many callers wait, they
  wait for the same dial;
- there are never more than `max_connections` that are open or being dialled. Retiring ones come on top, else one call
  that never ends could keep all others from ever getting a connection;
- who waits is served first come, first served, and at most `max_waiting` wait;
- a connection that is lost, or that its peer is closing, takes no call from that moment;
- dials keep a distance that grows with each failure (gRPC's connection backoff: times 1.6, jitter 0.2). A connection
  that does not outlive this distance counts as a failure too, else a server that accepts and closes would be stormed.
  A failed dial fails those who wait for it, unless an open connection can still serve them.

After each call of a method the caller does what has become due: `granted`, `closing`, `dial_due`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from orbit_lite.errors import OverloadedError
from orbit_lite.rpc.config import PoolConfig

__all__ = ["MAX_WAITING", "Assignment", "Connectable", "Postponed", "Slot", "Waiter"]

#: grpc/doc/connection-backoff.md; the initial delay and its upper bound are configured.
BACKOFF_MULTIPLIER = 1.6
BACKOFF_JITTER = 0.2
#: Connections opened together shall not end together (gRFC A9).
AGE_JITTER = 0.1
#: Callers that may wait for one endpoint.
MAX_WAITING = 10_000


class Connectable(Protocol):
    """A connection as the decisions see it."""

    @property
    def is_connected(self) -> bool: ...
    @property
    def stream_limit(self) -> int | None: ...


C = TypeVar("C", bound=Connectable)


@dataclass(slots=True, eq=False)
class Slot(Generic[C]):
    """One connection. Times are monotonic seconds."""

    channel: C
    redial: float
    """Lost before this time, it counts as a failed dial."""
    retires: float
    """From this time on it takes no new calls."""
    last_used: float
    calls: int = 0
    is_retiring: bool = False


@dataclass(slots=True, eq=False)
class Waiter(Generic[C]):
    """A call in line. slot: its connection, once it has been granted."""

    avoid: Slot[C] | None = None
    slot: Slot[C] | None = None


@dataclass(frozen=True, slots=True)
class Postponed:
    """No connection within the caller's patience: the next dial may begin in `delay` seconds."""

    delay: float


@dataclass(slots=True)
class Assignment(Generic[C]):
    """The connections of one endpoint, and the calls that wait for them."""

    config: PoolConfig
    max_connections: int
    max_waiting: int = MAX_WAITING
    slots: list[Slot[C]] = field(default_factory=list)
    waiting: deque[Waiter[C]] = field(default_factory=deque)
    granted: list[Waiter[C]] = field(default_factory=list)
    """Waiters that have their slot now, to be told and taken out."""
    closing: list[C] = field(default_factory=list)
    """Connections that nothing refers to any more, to be closed and taken out."""
    is_dialling: bool = False
    failures: int = 0
    """Dials in a row that failed, or whose connection did not last."""
    next_dial: float = 0.0
    """No dial before this time."""

    # ------------------------------------------------------------ calls

    def ask(
        self, now: float, *, avoid: Slot[C] | None = None, patience: float = float("inf")
    ) -> Slot[C] | Waiter[C] | Postponed:
        """A call begins: its connection, which `ended` gives back, or its place in line, which `leave` gives up.

        avoid: the connection on which the call failed before, taken only if there is no other. patience: seconds that
        the caller is willing to wait before a dial even begins. Raises OverloadedError when too many wait.
        """
        self._sweep(now)
        self._grant(now)
        if not self.waiting and (slot := self._best(now, avoid)) is not None:
            return self._take(slot, now)
        delay = max(0.0, self.next_dial - now)
        if delay > patience and not any(self._usable(now)):
            return Postponed(delay)
        if len(self.waiting) >= self.max_waiting:
            raise OverloadedError(f"{len(self.waiting)} calls wait for a connection")
        waiter = Waiter(avoid)
        self.waiting.append(waiter)
        return waiter

    def take(self, now: float) -> Slot[C] | None:
        """A call begins, as in `ask`, if nothing makes it wait."""
        self._sweep(now)
        if self.waiting or (slot := self._best(now, None)) is None:
            return None
        return self._take(slot, now)

    def leave(self, waiter: Waiter[C], now: float) -> None:
        """The caller waits no more; a connection that it was granted meanwhile goes to the next."""
        if waiter.slot is not None:
            slot, waiter.slot = waiter.slot, None
            self.ended(slot, now)
        elif waiter in self.waiting:
            self.waiting.remove(waiter)

    def ended(self, slot: Slot[C], now: float) -> None:
        """A call of the slot has ended."""
        slot.calls -= 1
        slot.last_used = now
        self._sweep(now)
        self._grant(now)

    # ------------------------------------------------------------ dialling

    def dial_due(self, now: float) -> float | None:
        """Seconds after which a further connection is to be dialled; None: no need, or no leave."""
        usable = list(self._usable(now))
        if self.is_dialling or len(usable) >= self.max_connections:
            return None
        delay = max(0.0, self.next_dial - now)
        if self.waiting:
            return delay
        is_saturated = bool(usable) and all(slot.calls >= self._soft_limit(slot) for slot in usable)
        return delay if is_saturated and delay == 0.0 else None

    def dialling(self) -> None:
        """A dial has begun, or waits for its time."""
        self.is_dialling = True

    def opened(self, channel: C, now: float, draw: float) -> None:
        """The dial succeeded. draw: random in 0..1."""
        self.is_dialling = False
        self._note_stability(now)
        redial = now + self._backoff(draw)
        retires = now + self.config.max_age * (1.0 + AGE_JITTER * (2.0 * draw - 1.0))
        self.slots.append(Slot(channel, redial, retires, now))
        self._grant(now)

    def dial_failed(self, now: float, draw: float) -> list[Waiter[C]]:
        """The dial failed; the next one has to wait. Gives those who fail with it. draw: random in 0..1."""
        self.is_dialling = False
        self._note_stability(now)
        self.next_dial = now + self._backoff(draw)
        self.failures += 1
        self._sweep(now)
        return [] if any(self._usable(now)) else self.abandon()

    def abandon(self) -> list[Waiter[C]]:
        """Everyone who waits, taken out of the line."""
        waiters = list(self.waiting)
        self.waiting.clear()
        return waiters

    # ------------------------------------------------------------ cleaning up

    def retire(self, now: float, max_idle: float) -> None:
        """Retire what is too old, or has been idle for `max_idle` seconds or longer."""
        for slot in self.slots:
            if slot.calls == 0 and now - slot.last_used >= max_idle:
                slot.is_retiring = True
        self._sweep(now)

    @property
    def open_connections(self) -> int:
        """Connections that are open now, retiring ones included."""
        return sum(slot.channel.is_connected for slot in self.slots)

    @property
    def open_calls(self) -> int:
        """Calls on all connections."""
        return sum(slot.calls for slot in self.slots)

    # ------------------------------------------------------------ decisions

    def _grant(self, now: float) -> None:
        while self.waiting and (slot := self._best(now, self.waiting[0].avoid)) is not None:
            waiter = self.waiting.popleft()
            waiter.slot = self._take(slot, now)
            self.granted.append(waiter)

    def _best(self, now: float, avoid: Slot[C] | None) -> Slot[C] | None:
        open_to_calls = (slot for slot in self._usable(now) if slot.calls < self._hard_limit(slot))
        return min(open_to_calls, key=lambda slot: (slot is avoid, slot.calls), default=None)

    @staticmethod
    def _take(slot: Slot[C], now: float) -> Slot[C]:
        slot.calls += 1
        slot.last_used = now
        return slot

    def _usable(self, now: float) -> Iterator[Slot[C]]:
        for slot in self.slots:
            if slot.channel.is_connected and not slot.is_retiring and now < slot.retires:
                yield slot

    def _hard_limit(self, slot: Slot[C]) -> int:
        """Calls that the peer lets run at once. A peer that allows none may change its mind: one call waits there."""
        limit = slot.channel.stream_limit
        return self.config.soft_stream_limit if limit is None else max(1, limit)

    def _soft_limit(self, slot: Slot[C]) -> int:
        return min(self.config.soft_stream_limit, self._hard_limit(slot))

    def _backoff(self, draw: float) -> float:
        # The exponent is bounded so that no number of failures overflows a float; the cap has been reached long before.
        growth = BACKOFF_MULTIPLIER ** min(self.failures, 100)
        bound = min(self.config.redial_max, self.config.redial_initial * growth)
        return bound * (1.0 + BACKOFF_JITTER * (2.0 * draw - 1.0))

    def _note_stability(self, now: float) -> None:
        """A connection that lasts ends a row of failures."""
        if any(now >= slot.redial for slot in self._usable(now)):
            self.failures = 0

    def _sweep(self, now: float) -> None:
        """Retire what is lost or too old, and let go of what is retiring and has no calls left.

        The calls of a lost connection find out by themselves.
        """
        for slot in list(self.slots):
            if not slot.channel.is_connected and not slot.is_retiring:
                slot.is_retiring = True
                if now < slot.redial:
                    self.failures += 1
                    self.next_dial = max(self.next_dial, slot.redial)
                else:
                    self.failures = 0
            elif now >= slot.retires:
                slot.is_retiring = True
            if slot.is_retiring and slot.calls == 0:
                self.slots.remove(slot)
                self.closing.append(slot.channel)
