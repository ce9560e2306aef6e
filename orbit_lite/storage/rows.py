"""Values as they lie in the store's rows.

Commands of our own kinds are bytes, without the base64 of their JSON text; all others are that text.
"""

from __future__ import annotations

import struct
from typing import Any

from orbit_lite.converters import RaftCommandConverter
from orbit_lite.errors import ParseError
from orbit_lite.model import LiteCommand, LiteKind, NodeId, RaftCommand
from orbit_lite.raft import SnapshotMeta, decode_configuration, encode_configuration

__all__ = ["dump_command", "dump_snapshot", "load_command", "load_snapshot", "node_from_json", "node_to_json"]

_LITE = struct.Struct(">cBQH")  # "L", kind, seq, length of the client's name
_KINDS = (LiteKind.DATA, LiteKind.NOOP, LiteKind.CONFIG, LiteKind.DIRECTORY)
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}


def dump_command(command: RaftCommand) -> bytes:
    if type(command) is not LiteCommand:
        return b"J" + RaftCommandConverter.to_proto(command).encode()
    client = command.client.encode()
    return _LITE.pack(b"L", _NUMBERS[command.kind], command.seq, len(client)) + client + command.data


def load_command(data: bytes) -> RaftCommand:
    """Raises ParseError and what else the parts raise; struct.error for what is cut off."""
    if data[:1] == b"J":
        return RaftCommandConverter.from_proto(data[1:].decode())
    mark, kind, seq, length = _LITE.unpack_from(data)
    if mark != b"L" or kind >= len(_KINDS):
        raise ParseError(f"command of kind {mark!r} {kind}")
    end = _LITE.size + length
    return LiteCommand(_KINDS[kind], data[_LITE.size : end].decode(), seq, data[end:])


def node_to_json(node_id: NodeId | None) -> list[str] | None:
    return None if node_id is None else [node_id.key, node_id.namespace]


def node_from_json(value: list[str] | None) -> NodeId | None:
    return None if value is None else NodeId(*value)


def dump_snapshot(meta: SnapshotMeta) -> dict[str, Any]:
    return {
        "index": meta.index,
        "term": meta.term,
        "configuration": encode_configuration(meta.configuration).decode(),
        "size": meta.size,
        "checksum": meta.checksum,
    }


def load_snapshot(value: dict[str, Any] | None) -> SnapshotMeta | None:
    if value is None:
        return None
    configuration = decode_configuration(value["configuration"].encode())
    return SnapshotMeta(value["index"], value["term"], configuration, value["size"], value["checksum"])
