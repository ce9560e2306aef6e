"""Linearizable reads without an entry in the log (thesis 6.4).

A read may be answered with the state at the commit index of its arrival, once a majority has confirmed that this node
was the leader after that moment. The confirmation is a heartbeat round: every request that the leader sends carries the
number of the latest round begun, and an answer in the same term proves that its receiver took us for the leader after
that round began. A round that a majority answered proves that there was no newer leader when it began.

The same rounds tell a leader since when it has not heard a majority (check-quorum, thesis 6.2) and how long its lease
lasts (thesis 6.4.1): both count from the time when the latest confirmed round began, by the leader's clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["PendingRead", "ReadQueue", "Rounds"]

#: Rounds whose beginning is remembered. A leader that misses more answers has stepped down, unless check-quorum is off.
_REMEMBERED_ROUNDS = 1024


class Rounds:
    """The heartbeat rounds of one leadership. began: when the latest confirmed one did, in seconds."""

    __slots__ = ("_unconfirmed", "began", "confirmed", "current")

    def __init__(self, now: float) -> None:
        self.current = 0
        self.confirmed = 0
        self.began = now  # an election is as good as a round: a majority voted
        self._unconfirmed: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED_ROUNDS)

    def begin(self, now: float) -> None:
        self.current += 1
        self._unconfirmed.append((self.current, now))

    def confirm(self, number: int) -> None:
        """A majority has answered round `number`, and with it all before."""
        if number > self.confirmed:
            self.confirmed = number
            while self._unconfirmed and self._unconfirmed[0][0] <= number:
                self.began = self._unconfirmed.popleft()[1]


@dataclass(frozen=True, slots=True)
class PendingRead:
    """index: what must be applied. round: which must be confirmed. is_remote: a follower asked by ReadIndexRequest."""

    token: object
    is_remote: bool
    index: int
    round: int


class ReadQueue:
    """Reads in the order of their arrival, which is also that of their rounds and indices."""

    __slots__ = ("_reads",)

    def __init__(self) -> None:
        self._reads: deque[PendingRead] = deque()

    def add(self, read: PendingRead) -> None:
        self._reads.append(read)

    def wants_round(self, rounds: Rounds) -> bool:
        """Whether a read waits for a round that has not begun, and none is under way.

        One round at a time: reads that come meanwhile share the next one.
        """
        return bool(self._reads) and self._reads[-1].round > rounds.current == rounds.confirmed

    def take(self, *, confirmed_round: int, commit: int) -> list[PendingRead]:
        """Remove those that may be answered now."""
        taken = []
        while self._reads and self._reads[0].round <= confirmed_round and self._reads[0].index <= commit:
            taken.append(self._reads.popleft())
        return taken

    def take_all(self) -> list[PendingRead]:
        taken = list(self._reads)
        self._reads.clear()
        return taken
