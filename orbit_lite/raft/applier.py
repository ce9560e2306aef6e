"""Committed entries become state: each once, in order, on every node alike (Raft §5.3).

Pure but for the state machines, which are the user's. A snapshot is the sessions and the state of each machine.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orbit_lite.errors import InternalError, OrbitError, ParseError
from orbit_lite.model import LiteCommand, LiteKind, LogEntry
from orbit_lite.raft.messages import Configuration, SnapshotMeta
from orbit_lite.raft.ports import StateMachine
from orbit_lite.raft.sessions import Sessions

__all__ = ["Applier", "Frozen", "checksum"]

_MAGIC = b"ORBS\x01"
_SECTION = struct.Struct(">BQ")
_SECTIONS = {"sessions": 0, LiteKind.DATA: 1, LiteKind.DIRECTORY: 2}

#: What an entry without a machine gives: configurations, and the entry with which a leader begins.
_NOTHING = b""


def checksum(data: bytes) -> str:
    """As a SnapshotMeta has it."""
    return hashlib.blake2b(data, digest_size=32).hexdigest()


@dataclass(frozen=True, slots=True)
class Frozen:
    """The state at one index, its parts not all written down yet."""

    index: int
    term: int
    configuration: Configuration
    parts: tuple[tuple[int, bytes | Callable[[], bytes]], ...]

    def thaw(self) -> tuple[SnapshotMeta, bytes]:
        """The snapshot, and what it covers; in any thread. Raises InternalError when a machine fails."""
        pieces = [_MAGIC]
        for number, state in self.parts:
            data = self._written(state)
            pieces += (_SECTION.pack(number, len(data)), data)
        data = b"".join(pieces)
        return SnapshotMeta(self.index, self.term, self.configuration, len(data), checksum(data)), data

    def _written(self, state: bytes | Callable[[], bytes]) -> bytes:
        if callable(state):
            try:
                state = state()
            except Exception as error:  # whatever it is, this replica cannot go on
                raise InternalError(f"the state machine gave no snapshot at {self.index}: {error!r}") from error
        if not isinstance(state, bytes):
            raise InternalError(f"the state machine gave {type(state).__name__} as its snapshot, not bytes")
        return state


class Applier:
    """Applies entries. index, term: of the last one; the state is that of a log which ends there."""

    def __init__(self, machines: Mapping[LiteKind, StateMachine], *, max_sessions: int) -> None:
        """machines: for commands of kind DATA and DIRECTORY; a command without a machine stops the node."""
        self._machines = dict(machines)
        self._max_sessions = max_sessions
        self._sessions = Sessions(max_sessions)
        self.index = self.term = 0

    def handles(self, kind: LiteKind) -> bool:
        """Whether there is a machine for commands of this kind."""
        return kind in self._machines

    def apply(self, entry: LogEntry) -> bytes | OrbitError:
        """The result, or the error that is this proposal's own affair.

        Raises InternalError when the machine failed: replicas that fail differently have different states, so this
        node must not go on.
        """
        if entry.index != self.index + 1:
            raise InternalError(f"entry {entry.index} is to be applied after {self.index}")
        command = entry.command
        result: bytes | OrbitError = _NOTHING
        if type(command) is LiteCommand and (command.kind is LiteKind.DATA or command.kind is LiteKind.DIRECTORY):
            result = self._run(entry.index, command)
        self.index, self.term = entry.index, entry.term
        return result

    def _run(self, index: int, command: LiteCommand) -> bytes | OrbitError:
        machine = self._machines.get(command.kind)
        if machine is None:
            raise InternalError(f"entry {index} is of kind {command.kind.value}, for which there is no state machine")

        def run() -> bytes:
            try:
                result = machine.apply(index, command.data)
            except Exception as error:  # whatever it is, this replica cannot go on
                raise InternalError(f"the state machine failed at entry {index}: {error!r}") from error
            if not isinstance(result, bytes):
                raise InternalError(f"the state machine gave {type(result).__name__} for entry {index}, not bytes")
            return result

        if not command.client:
            return run()
        try:
            return self._sessions.apply(command.client, command.seq, run)
        except InternalError:
            raise
        except OrbitError as error:
            return error

    # ------------------------------------------------------------ snapshots

    def freeze(self, configuration: Configuration) -> Frozen:
        """The state of now, to be written down later. configuration: the one in force at `index`.

        Raises InternalError when a machine fails.
        """
        machines = sorted(self._machines.items(), key=lambda item: _SECTIONS[item[0]])
        states = [(_SECTIONS[kind], self._state_of(machine)) for kind, machine in machines]
        return Frozen(self.index, self.term, configuration, ((0, self._sessions.dump()), *states))

    def snapshot(self, configuration: Configuration) -> tuple[SnapshotMeta, bytes]:
        """`freeze` and `thaw` at once."""
        return self.freeze(configuration).thaw()

    def _state_of(self, machine: StateMachine) -> bytes | Callable[[], bytes]:
        try:
            return machine.snapshot()
        except Exception as error:  # whatever it is, this replica cannot go on
            raise InternalError(f"the state machine gave no snapshot at {self.index}: {error!r}") from error

    def restore(self, meta: SnapshotMeta, data: bytes) -> None:
        """Take the state of a snapshot. Raises ParseError for what is none, InternalError for a machine that fails."""
        sections = _sections(data)
        expected = {0, *(_SECTIONS[kind] for kind in self._machines)}
        if sections.keys() != expected:
            raise ParseError(f"snapshot {meta.index}: has the parts {sorted(sections)}, expected {sorted(expected)}")
        sessions = Sessions(self._max_sessions)
        sessions.load(sections[0])
        for kind, machine in self._machines.items():
            try:
                machine.restore(sections[_SECTIONS[kind]])
            except Exception as error:  # whatever it is, this replica cannot go on
                raise InternalError(f"the state machine failed to restore snapshot {meta.index}: {error!r}") from error
        self._sessions = sessions
        self.index, self.term = meta.index, meta.term


def _sections(data: bytes) -> dict[int, bytes]:
    if not data.startswith(_MAGIC):
        raise ParseError(f"snapshot: begins with {data[:8]!r}, of another version or kind")
    sections: dict[int, bytes] = {}
    at = len(_MAGIC)
    while at < len(data):
        try:
            number, size = _SECTION.unpack_from(data, at)
        except struct.error as error:
            raise ParseError(f"snapshot: {error}") from error
        at += _SECTION.size
        if number in sections or at + size > len(data):
            raise ParseError(f"snapshot: part {number} is cut off or repeated")
        sections[number] = data[at : at + size]
        at += size
    return sections
