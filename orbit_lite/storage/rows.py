"""Values as they lie in the store's rows.

Commands of our own kinds are bytes, without the base64 of their JSON text; all others are that text.

Checksums are blake2b of eight bytes. CRC-32 would be half a microsecond cheaper on an entry of 300 bytes; but it is
linear, so that the CRC of a chain says little more than the CRC of its last link, and it promises nothing for entries
of megabytes.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from orbit_lite.converters import RaftCommandConverter
from orbit_lite.errors import OrbitError, ParseError
from orbit_lite.model import LiteCommand, LiteKind, LogEntry, NodeId, RaftCommand
from orbit_lite.model.json import parse_json
from orbit_lite.raft import HardState, SnapshotMeta, decode_configuration, encode_configuration

__all__ = [
    "CHAIN_START",
    "Damaged",
    "EntryRow",
    "Held",
    "State",
    "checksum",
    "dump_command",
    "dump_entry",
    "dump_snapshot",
    "dump_state",
    "load_command",
    "load_entry",
    "load_snapshot",
    "load_state",
]

#: index, term, timestamp_ms, command, checksum
EntryRow = tuple[int, int, int, bytes, bytes]

CHAIN_START: Final = bytes(8)
_ENTRY: Final = struct.Struct(">QQq")  # index, term, timestamp_ms
_LITE: Final = struct.Struct(">cBQI")  # "L", kind, seq, length of the client's name
_KINDS: Final = (LiteKind.DATA, LiteKind.NOOP, LiteKind.CONFIG, LiteKind.DIRECTORY)
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}
_MAX_INDEX: Final = (1 << 63) - 1  # of an INTEGER


class Damaged(Exception):
    """A row is not what was written; the text says which. `database.reading` makes it a StoreCorrupt."""


@dataclass(frozen=True, slots=True)
class Held:
    """A snapshot in the database. number: of its pieces. received: bytes that are there."""

    meta: SnapshotMeta
    number: int
    received: int


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that is known of the store, beside the entries and the bytes of snapshots.

    number: of the write that made it. base: index before the first entry. base_checksum: what its checksum builds on.
    last: index of the last entry, base when there is none. next_number: never used for a snapshot so far.
    """

    number: int
    store_id: bytes  # 16 bytes
    hard_state: HardState = field(default_factory=HardState)
    base: int = 0
    base_checksum: bytes = CHAIN_START
    last: int = 0
    last_checksum: bytes = CHAIN_START
    snapshot: Held | None = None
    incoming: Held | None = None
    next_number: int = 1
    peers: Mapping[NodeId, str] = field(default_factory=dict)


def checksum(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.digest()


# ---------------------------------------------------------------- entries


def dump_entry(entry: LogEntry, before: bytes) -> EntryRow:
    """The entry's row; before: the checksum of the entry before it.

    Raises OrbitError for what cannot be stored: an index of 2**63 or more, text that JSON cannot hold.
    """
    if entry.index > _MAX_INDEX:
        raise ParseError(f"entry {entry.index}: a store holds indices up to {_MAX_INDEX}")
    command = dump_command(entry.command)
    digest = checksum(before, _ENTRY.pack(entry.index, entry.term, entry.timestamp_ms), command)
    return entry.index, _signed(entry.term), entry.timestamp_ms, command, digest


def load_entry(row: EntryRow, before: bytes) -> LogEntry:
    """Read a row back. Raises Damaged when it is not what `dump_entry` wrote behind `before`."""
    index, term, timestamp_ms, command, stored = row
    try:
        term &= (1 << 64) - 1
        if checksum(before, _ENTRY.pack(index, term, timestamp_ms), command) != stored:
            raise Damaged(f"entry {index} is not what was written, or not behind the one that was before it")
        return LogEntry(term, index, load_command(command), timestamp_ms)
    except (OrbitError, struct.error, TypeError, ValueError) as error:  # a damaged row may hold any type
        raise Damaged(f"entry {index!r} cannot be read: {error}") from error


def _signed(number: int) -> int:
    """An uint64 in the range of an INTEGER."""
    return number - (1 << 64) if number >> 63 else number


def dump_command(command: RaftCommand) -> bytes:
    """Raises ConversionError for a text that JSON cannot hold."""
    if type(command) is not LiteCommand:
        return b"J" + RaftCommandConverter.to_proto(command).encode()
    client = command.client.encode("utf-8", "surrogatepass")
    return _LITE.pack(b"L", _NUMBERS[command.kind], command.seq, len(client)) + client + command.data


def load_command(data: bytes) -> RaftCommand:
    """Raises OrbitError, struct.error or ValueError for bytes that `dump_command` does not write."""
    if data[:1] == b"J":
        return RaftCommandConverter.from_proto(data[1:].decode())
    letter, kind, seq, length = _LITE.unpack_from(data)
    end = _LITE.size + length
    if letter != b"L" or kind >= len(_KINDS) or end > len(data):
        raise ParseError(f"command of unknown form {data[: _LITE.size].hex()}")
    return LiteCommand(_KINDS[kind], data[_LITE.size : end].decode("utf-8", "surrogatepass"), seq, data[end:])


# ---------------------------------------------------------------- the state


def dump_state(state: State) -> bytes:
    """One JSON object, readable with SQLite's shell."""
    vote = state.hard_state.vote
    document = {
        "number": state.number,
        "store_id": state.store_id.hex(),
        "term": state.hard_state.term,
        "vote": None if vote is None else [vote.key, vote.namespace],
        "commit": state.hard_state.commit,
        "base": state.base,
        "base_checksum": state.base_checksum.hex(),
        "last": state.last,
        "last_checksum": state.last_checksum.hex(),
        "snapshot": _dump_held(state.snapshot),
        "incoming": _dump_held(state.incoming),
        "next_number": state.next_number,
        "peers": [[node_id.key, node_id.namespace, store_id] for node_id, store_id in state.peers.items()],
    }
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode()


def load_state(body: bytes) -> State:
    """Read what `dump_state` wrote. Raises Damaged."""
    try:
        document = parse_json(body)
        vote = document["vote"]
        return State(
            number=document["number"],
            store_id=bytes.fromhex(document["store_id"]),
            hard_state=HardState(document["term"], None if vote is None else NodeId(*vote), document["commit"]),
            base=document["base"],
            base_checksum=bytes.fromhex(document["base_checksum"]),
            last=document["last"],
            last_checksum=bytes.fromhex(document["last_checksum"]),
            snapshot=_load_held(document["snapshot"]),
            incoming=_load_held(document["incoming"]),
            next_number=document["next_number"],
            peers={NodeId(key, namespace): store_id for key, namespace, store_id in document["peers"]},
        )
    except (OrbitError, ValueError, TypeError, LookupError) as error:
        raise Damaged(f"its state row cannot be read: {error}") from error


def dump_snapshot(meta: SnapshotMeta) -> dict[str, Any]:
    return {
        "index": meta.index,
        "term": meta.term,
        "configuration": encode_configuration(meta.configuration).decode(),
        "size": meta.size,
        "checksum": meta.checksum,
    }


def load_snapshot(document: dict[str, Any]) -> SnapshotMeta:
    """Raises OrbitError, ValueError, TypeError or LookupError for what `dump_snapshot` does not make."""
    configuration = decode_configuration(document["configuration"].encode())
    return SnapshotMeta(document["index"], document["term"], configuration, document["size"], document["checksum"])


def _dump_held(held: Held | None) -> dict[str, Any] | None:
    return None if held is None else dump_snapshot(held.meta) | {"number": held.number, "received": held.received}


def _load_held(document: dict[str, Any] | None) -> Held | None:
    return None if document is None else Held(load_snapshot(document), document["number"], document["received"])
