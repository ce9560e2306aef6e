"""What the core owes the outside, and what has to be durable before (Raft, figure 2; thesis 10.2.1).

Writes are numbered: the n-th `Ready` that has something to persist is write n, and there is one write at a time. Every
answer waits for the write that holds what it promises. Requests promise nothing but the term, and the vote in it.
"""

from __future__ import annotations

from dataclasses import replace

from orbit_lite.model import AppendEntriesResponse
from orbit_lite.raft.messages import (
    Answer,
    HardState,
    InstallSnapshotResponse,
    Outgoing,
    ReadState,
    SnapshotChunk,
    SnapshotMeta,
)

__all__ = ["Duties"]


class Duties:
    """Collected between two `RaftCore.ready`."""

    __slots__ = (
        "_answers",
        "_ballot_write",
        "chunk",
        "install",
        "outgoing",
        "reads",
        "restore",
        "stored",
        "write_began",
        "writes",
        "written",
    )

    def __init__(self, stored: HardState) -> None:
        self.stored = stored  # the hard state that was handed out last
        self.writes = 0  # number of the write that was handed out last
        self.written = 0  # … and of the one that is durable
        self.write_began = 0.0  # when the latest was handed out; seconds
        self.chunk: SnapshotChunk | None = None
        self.install: SnapshotMeta | None = None
        self.restore: SnapshotMeta | None = None
        self.outgoing: list[Outgoing] = []
        self.reads: list[ReadState] = []
        self._answers: list[tuple[int, Answer]] = []  # with the write that each waits for
        self._ballot_write = 0  # the write that holds the present term and vote

    @property
    def is_writing(self) -> bool:
        return self.written < self.writes

    @property
    def next_write(self) -> int:
        return self.writes + 1

    @property
    def must_write_ballot(self) -> bool:
        """Whether term or vote changed since they were handed out."""
        return self._ballot_write > self.writes

    @property
    def is_ballot_durable(self) -> bool:
        return self._ballot_write <= self.written

    def begin_write(self, now: float) -> None:
        self.writes += 1
        self.write_began = now

    def ballot_changed(self) -> None:
        self._ballot_write = self.next_write

    def answer(self, answer: Answer, write: int = 0) -> None:
        """Give the answer when term, vote and that write are durable."""
        self._answers.append((max(write, self._ballot_write), answer))

    def withdraw(self, term: int) -> None:
        """A later term began: what earlier leaders were to be promised of the log may be overwritten before it
        is durable.

        They are refused instead, in the new term.
        """
        for at, (write, answer) in enumerate(self._answers):
            response = answer.response
            if write > self.written and isinstance(response, AppendEntriesResponse | InstallSnapshotResponse):
                if isinstance(response, AppendEntriesResponse):
                    response = replace(response, term=term, success=False)
                else:
                    response = replace(response, term=term, next_offset=0)
                self._answers[at] = self._ballot_write, Answer(answer.token, response)

    def has_answers(self) -> bool:
        """Whether some wait for nothing."""
        return any(write <= self.written for write, _ in self._answers)

    def take_answers(self, *, with_write: bool) -> tuple[Answer, ...]:
        """Those that wait for nothing; with_write: or for the write that is handed out together with them."""
        if not self._answers:
            return ()
        durable = self.next_write if with_write else self.written
        taken = tuple(answer for write, answer in self._answers if write <= durable)
        self._answers = [(write, answer) for write, answer in self._answers if write > durable]
        return taken
