"""The replicated log as a node holds it in memory (Raft §5.3, §7).

Entries are contiguous. What a snapshot covers is forgotten but for the position right before the first entry (`base`),
whose term the consistency check needs. Terms never decrease along a log, so positions are found by bisection.

Three marks run along the log: `last_index`, its end; `handed`, the end of what was given out to be written; `durable`,
the end of what is known to be on disk. Configurations are found in the log, and a truncation brings the older one back.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from orbit_lite.errors import ParseError
from orbit_lite.model import (
    CoordinatorAssignment,
    HeartBeat,
    LiteCommand,
    LogEntry,
    NodeId,
    RaftCommand,
)
from orbit_lite.raft.errors import StoreCorrupt
from orbit_lite.raft.membership import configuration_of
from orbit_lite.raft.messages import Configuration, SnapshotMeta, Stored

__all__ = ["RaftLog", "wire_bytes"]

#: JSON names, punctuation and numbers of a command, and tags, lengths and numbers of the entry around it.
_ENTRY_OVERHEAD = 160

#: A character that JSON has to escape takes six bytes; no character takes more.
_BYTES_PER_CHARACTER = 6


def wire_bytes(command: RaftCommand) -> int:
    """At most how many bytes an entry with this command takes in an AppendEntries; base64 makes data a third larger."""
    if type(command) is LiteCommand:
        return (len(command.data) + 2) // 3 * 4 + _BYTES_PER_CHARACTER * len(command.client) + _ENTRY_OVERHEAD
    match command:
        case HeartBeat() | LiteCommand():
            return _ENTRY_OVERHEAD
        case CoordinatorAssignment(transaction_id, coordinator):
            return _ENTRY_OVERHEAD + _BYTES_PER_CHARACTER * len(transaction_id) + _node_bytes(coordinator)
        case _:
            return _ENTRY_OVERHEAD + _node_bytes(command.node)


def _node_bytes(node_id: NodeId) -> int:
    return _BYTES_PER_CHARACTER * (len(node_id.key) + len(node_id.namespace))


class RaftLog:
    """See the module's text. An index is valid when it is in base_index..last_index."""

    __slots__ = (
        "_base_size",
        "_configurations",
        "_entries",
        "_sizes",
        "_terms",
        "base_index",
        "base_term",
        "durable",
        "handed",
    )

    def __init__(self, stored: Stored) -> None:
        """Take over what a store holds. Raises StoreCorrupt where that has gaps or contradicts itself."""
        entries, snapshot = stored.entries, stored.snapshot
        if snapshot is not None and entries and entries[-1].index < snapshot.index:
            entries = ()
        covered = snapshot.index if snapshot is not None else 0
        if entries and entries[0].index > covered + 1:
            raise StoreCorrupt(f"the log begins at {entries[0].index}, and the snapshot before it ends at {covered}")
        self._configurations: list[tuple[int, Configuration]] = []
        if snapshot is not None:
            self._reset(snapshot.index, snapshot.term)
            if entries and entries[0].index <= snapshot.index:
                self._reset(entries[0].index, entries[0].term)
                entries = entries[1:]
        else:
            self._reset(0, 0)
        for position, entry in enumerate(entries, self.base_index + 1):
            if entry.index != position or entry.term < self.last_term:
                raise StoreCorrupt(f"the log's entry {position} reads {entry.index} of term {entry.term}")
            self._push(entry)
        if snapshot is not None:
            if self.term(snapshot.index) != snapshot.term:
                raise StoreCorrupt(f"the log's entry {snapshot.index} is not that of the snapshot's end")
            later = [(index, known) for index, known in self._configurations if index > snapshot.index]
            self._configurations = [(snapshot.index, snapshot.configuration), *later]
        self.durable = self.handed = self.last_index

    def _reset(self, base_index: int, base_term: int) -> None:
        self.base_index = base_index
        self.base_term = base_term
        self._entries: list[LogEntry] = []
        self._terms: list[int] = []  # of the entries
        self._sizes: list[int] = []  # wire bytes of all up to and with the entry, counted from some origin
        self._base_size = 0

    def _push(self, entry: LogEntry) -> None:
        try:
            configuration = configuration_of(entry)
        except ParseError as exc:
            raise StoreCorrupt(f"the log's entry {entry.index}: {exc}") from exc
        if configuration is not None:
            self._configurations.append((entry.index, configuration))
        sizes = self._sizes
        sizes.append((sizes[-1] if sizes else self._base_size) + wire_bytes(entry.command))
        self._terms.append(entry.term)
        self._entries.append(entry)

    # ------------------------------------------------------------ what is there

    @property
    def first_index(self) -> int:
        """Index of the first entry in memory, or where it will be."""
        return self.base_index + 1

    @property
    def last_index(self) -> int:
        return self.base_index + len(self._entries)

    @property
    def last_term(self) -> int:
        return self._terms[-1] if self._terms else self.base_term

    def term(self, index: int) -> int | None:
        """The term of the entry; None when the log does not say: behind its end, or before its base."""
        position = index - self.base_index
        if 0 < position <= len(self._terms):
            return self._terms[position - 1]
        return self.base_term if position == 0 else None

    def last_with_term_up_to(self, term: int, index: int) -> int:
        """The largest valid index not above `index` whose term is not above `term`; base_index - 1 if there is none."""
        position = bisect_right(self._terms, term, 0, max(0, min(index - self.base_index, len(self._terms))))
        if position == 0 and (self.base_term > term or index < self.base_index):
            return self.base_index - 1
        return self.base_index + position

    def slice(self, first: int, last: int) -> tuple[LogEntry, ...]:
        """The entries first..last, both included; first ≥ first_index."""
        return tuple(self._entries[first - self.base_index - 1 : last - self.base_index])

    def batch(self, first: int, *, max_bytes: int, max_entries: int) -> tuple[LogEntry, ...]:
        """The entries from `first` on that fit into one AppendEntries: at least one, if there is one."""
        start = first - self.base_index - 1
        before = self._sizes[start - 1] if start > 0 else self._base_size
        end = bisect_right(self._sizes, before + max_bytes, start, min(start + max_entries, len(self._sizes)))
        return tuple(self._entries[start : max(end, start + 1)])

    def wire_bytes_behind(self, index: int) -> int:
        """What the entries behind a valid index take on the wire."""
        if not self._sizes:
            return 0
        position = index - self.base_index
        return self._sizes[-1] - (self._sizes[position - 1] if position > 0 else self._base_size)

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """Whether a log with this end is at least as up to date as this one (Raft §5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    # ------------------------------------------------------------ configurations

    @property
    def configuration(self) -> Configuration:
        """The latest one in the log, committed or not; without members when none is known yet."""
        return self._configurations[-1][1] if self._configurations else _UNKNOWN

    @property
    def configuration_index(self) -> int:
        return self._configurations[-1][0] if self._configurations else 0

    def configuration_at(self, index: int) -> Configuration:
        """The one in force at a valid index."""
        position = bisect_right(self._configurations, index, key=lambda known: known[0])
        return self._configurations[position - 1][1] if position else _UNKNOWN

    # ------------------------------------------------------------ changes

    def append(self, entries: Sequence[LogEntry]) -> None:
        """Take entries that continue this log, or take the place of all at and behind the first of them."""
        first = entries[0].index
        if first <= self.last_index:
            self._truncate(first)
        for entry in entries:
            self._push(entry)

    def _truncate(self, first: int) -> None:
        position = first - self.base_index - 1
        del self._entries[position:], self._terms[position:], self._sizes[position:]
        while self._configurations and self._configurations[-1][0] >= first:
            self._configurations.pop()
        self.handed = min(self.handed, first - 1)
        self.durable = min(self.durable, first - 1)

    def compact(self, first_index: int) -> None:
        """Forget what is before first_index; first_index - 1 must be a valid index."""
        count = first_index - 1 - self.base_index
        if count <= 0:
            return
        self.base_index, self.base_term, self._base_size = (
            first_index - 1,
            self._terms[count - 1],
            self._sizes[count - 1],
        )
        del self._entries[:count], self._terms[:count], self._sizes[:count]
        in_force = bisect_left(self._configurations, first_index, key=lambda known: known[0]) - 1
        del self._configurations[: max(0, in_force)]

    def restart(self, snapshot: SnapshotMeta) -> None:
        """Put a snapshot in the place of the whole log; its configuration is the one in force."""
        self._reset(snapshot.index, snapshot.term)
        self._configurations = [(snapshot.index, snapshot.configuration)]
        self.durable = self.handed = snapshot.index


_UNKNOWN = Configuration("")
