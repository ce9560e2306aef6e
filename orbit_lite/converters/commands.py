"""Raft commands ⇄ the JSON text in a log entry.

The text is what serde derives for Orbit-RS's enum: `"HeartBeat"`, or an object whose one name is the variant. Field
order is fixed, no white space, UTF-8 unescaped. Orbit-RS has a second dialect in which node ids are plain strings; both
are read, the first is written. As serde does, unknown fields of a known object are passed over.

The variant `Lite` is ours; Orbit-RS refuses it. There an unknown field is an error: every replica must understand all
of an entry in the same way, so a node that is too old for an entry has to stop rather than guess.

Anything else is an error, never a heartbeat: a log entry that is misread makes replicas differ for good.

Nearly every entry of a busy log is a `Lite` in exactly our text. Those take a short way, by pattern instead of JSON;
whatever differs from it in one character takes the general way, which alone decides what is valid.
"""

from __future__ import annotations

import base64
import binascii
import re

from orbit_lite.converters.json_text import dump_json, load_json_strictly
from orbit_lite.converters.presence import domain
from orbit_lite.errors import ConversionError, quote
from orbit_lite.model import (
    CoordinatorAssignment,
    ElectLeader,
    HeartBeat,
    Json,
    LiteCommand,
    LiteKind,
    NodeId,
    NodeJoin,
    NodeLeave,
    RaftCommand,
)

__all__ = ["RaftCommandConverter"]

_NODE_VARIANTS: dict[str, type[ElectLeader | NodeJoin | NodeLeave]] = {
    "ElectLeader": ElectLeader,
    "NodeJoin": NodeJoin,
    "NodeLeave": NodeLeave,
}
_LITE_KINDS = {kind.value: kind for kind in LiteKind}

#: Text that JSON says as it is. Much else would do, too; these are what sessions are called.
_PLAIN = r"[ !#-\[\]-~]*"
_is_plain = re.compile(_PLAIN).fullmatch
#: Our text up to the data; 19 digits are always a uint64.
_lite_start = re.compile(
    rf'\{{"Lite":\{{"kind":"({"|".join(_LITE_KINDS)})","client":"({_PLAIN})","seq":(0|[1-9][0-9]{{0,18}}),"data":"'
).match
_LITE_END = '"}}'


class RaftCommandConverter:
    """RaftCommand ⇄ JSON text. Errors name the path inside the text, such as `NodeJoin.key`."""

    @staticmethod
    def to_proto(value: RaftCommand) -> str:
        if type(value) is LiteCommand and _is_plain(value.client):
            encoded = binascii.b2a_base64(value.data, newline=False).decode("ascii")
            return (
                f'{{"Lite":{{"kind":"{value.kind.value}","client":"{value.client}",'
                f'"seq":{value.seq},"data":"{encoded}{_LITE_END}'
            )
        return dump_json("", _to_json(value))

    @staticmethod
    def from_proto(proto: str) -> RaftCommand:
        if (command := _canonical_lite(proto)) is not None:
            return command
        document = load_json_strictly("", proto)
        if isinstance(document, str):
            variant, content = document, None
        elif isinstance(document, dict) and len(document) == 1:
            [(variant, content)] = document.items()
        else:
            raise ConversionError("", f"expected one variant, found {quote(proto, 80)!r}")
        return _from_json(variant, content)


def _canonical_lite(text: str) -> LiteCommand | None:
    """The command, if the text is what `to_proto` writes for it; None leaves it to the general way."""
    start = _lite_start(text)
    if start is None or not text.endswith(_LITE_END, start.end()):
        return None
    kind, client, seq = start.groups()
    try:
        data = binascii.a2b_base64(text[start.end() : -len(_LITE_END)], strict_mode=True)
    except ValueError:  # binascii.Error is one
        return None
    return LiteCommand(_LITE_KINDS[kind], client, int(seq), data)


def _to_json(value: RaftCommand) -> Json:
    match value:
        case HeartBeat():
            return "HeartBeat"
        case ElectLeader(node) | NodeJoin(node) | NodeLeave(node):
            return {type(value).__name__: _node_to_json(node)}
        case CoordinatorAssignment(transaction_id, coordinator):
            content: Json = {"transaction_id": transaction_id, "coordinator": _node_to_json(coordinator)}
            return {"CoordinatorAssignment": content}
        case LiteCommand(kind, client, seq, data):
            encoded = base64.b64encode(data).decode("ascii")
            return {"Lite": {"kind": kind.value, "client": client, "seq": seq, "data": encoded}}


def _from_json(variant: str, content: Json) -> RaftCommand:
    if variant == "HeartBeat":
        if content is not None:
            raise ConversionError(variant, "expected no content")
        return HeartBeat()
    if variant in _NODE_VARIANTS:
        return _NODE_VARIANTS[variant](_node_from_json(variant, content))
    if variant == "CoordinatorAssignment":
        members = _members(variant, content)
        transaction_id = _text(variant, members, "transaction_id")
        coordinator = _member(variant, members, "coordinator")
        return CoordinatorAssignment(transaction_id, _node_from_json(f"{variant}.coordinator", coordinator))
    if variant == "Lite":
        return _lite_from_json(_members(variant, content))
    raise ConversionError("", f"unknown variant {quote(variant, 80)!r}")


def _node_to_json(node: NodeId) -> Json:
    return {"key": node.key, "namespace": node.namespace}


def _node_from_json(path: str, content: Json) -> NodeId:
    if isinstance(content, str):
        return domain(path, NodeId.parse, content)
    members = _members(path, content)
    return domain(path, NodeId.normalized, _text(path, members, "key"), _text(path, members, "namespace"))


def _lite_from_json(members: dict[str, Json]) -> LiteCommand:
    if unknown := members.keys() - {"kind", "client", "seq", "data"}:
        raise ConversionError(f"Lite.{quote(min(unknown), 80)}", "unknown field")
    kind = _text("Lite", members, "kind")
    if kind not in _LITE_KINDS:
        raise ConversionError("Lite.kind", f"unknown kind {quote(kind, 80)!r}")
    seq = _member("Lite", members, "seq")
    if not isinstance(seq, int) or isinstance(seq, bool):
        raise ConversionError("Lite.seq", f"expected an integer, found {type(seq).__name__}")
    try:
        data = base64.b64decode(_text("Lite", members, "data"), validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: text that is not ASCII
        raise ConversionError("Lite.data", f"no base64: {error}") from error
    return domain("Lite.seq", LiteCommand, _LITE_KINDS[kind], _text("Lite", members, "client"), seq, data)


def _members(path: str, content: Json) -> dict[str, Json]:
    if not isinstance(content, dict):
        raise ConversionError(path, f"expected an object, found {type(content).__name__}")
    return content


def _member(path: str, members: dict[str, Json], name: str) -> Json:
    if name not in members:
        raise ConversionError(f"{path}.{name}", "missing")
    return members[name]


def _text(path: str, members: dict[str, Json], name: str) -> str:
    value = _member(path, members, name)
    if not isinstance(value, str):
        raise ConversionError(f"{path}.{name}", f"expected text, found {type(value).__name__}")
    return value
