"""What nodes say to the replicated directory, and what it answers.

Commands and replies travel through the log as canonical JSON: equal values give equal bytes, and bytes that mean the
same in another form are refused. A command says nothing about the time but what `Tick` says.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from orbit_lite.errors import ParseError, quote
from orbit_lite.model import (
    AddressableReference,
    Int32Key,
    Int64Key,
    Key,
    NodeCapabilities,
    NodeId,
    NodeInfo,
    NodeStatus,
    NoKey,
    StringKey,
)
from orbit_lite.model.json import parse_json

__all__ = [
    "LONGEST_LEASE_MS",
    "LONGEST_TICK_MS",
    "SHORTEST_LEASE_MS",
    "ActorPlacement",
    "Command",
    "Place",
    "Refusal",
    "Refused",
    "Register",
    "Registered",
    "Release",
    "Released",
    "Reply",
    "Tick",
    "Ticked",
    "decode_command",
    "decode_reply",
    "encode_command",
    "encode_reply",
    "reference_from_json",
    "reference_to_json",
    "register_from_json",
    "register_to_json",
]

#: Most that one Tick adds to the cluster's clock; a leader that stood still adds no more either.
LONGEST_TICK_MS: Final = 2_000

SHORTEST_LEASE_MS: Final = 1_000
LONGEST_LEASE_MS: Final = 3_600_000

_LARGEST = (1 << 63) - 1

_V = TypeVar("_V")


# ---------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True)
class Tick:
    """The leader of `term` measured that so much time has passed since its last tick."""

    term: int
    elapsed_ms: int


@dataclass(frozen=True, slots=True)
class Register:
    """A node says what it is, and is believed for a lease; said again before the lease ends, it is renewed.

    incarnation: drawn at each start of the node, growing. revision: grows whenever `info` changes. info.lease: None.
    """

    info: NodeInfo
    incarnation: int
    revision: int
    lease_ms: int


@dataclass(frozen=True, slots=True)
class Place:
    """Somebody looks for the actor: if it lives nowhere, it is to live on this node."""

    reference: AddressableReference
    node_id: NodeId


@dataclass(frozen=True, slots=True)
class Release:
    """The actor's node gives up the placement with this epoch."""

    reference: AddressableReference
    node_id: NodeId
    epoch: int


Command: TypeAlias = Tick | Register | Place | Release


# ---------------------------------------------------------------- replies


class Refusal(enum.Enum):
    """Why a command had no effect."""

    MALFORMED = "malformed"
    """It could not be read."""

    STALE = "stale"
    """The same incarnation has said something newer."""

    SUPERSEDED = "superseded"
    """A later incarnation of the node is registered: another process goes by this id."""

    FULL = "full"
    """The directory holds as many nodes or actors as it may."""

    INELIGIBLE = "ineligible"
    """The node cannot take the actor: not registered, not ACTIVE, not of the type, or full."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """What the cluster's clock shows."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class Registered:
    """The node is believed until the cluster's clock shows `expires_ms`."""

    expires_ms: int


@dataclass(frozen=True, slots=True)
class ActorPlacement:
    """Where an actor lives. epoch: grows from placement to placement; what is written in its name is fenced by it."""

    node_id: NodeId
    epoch: int


@dataclass(frozen=True, slots=True)
class Released:
    """was_held: whether the placement was still that of this epoch."""

    was_held: bool


@dataclass(frozen=True, slots=True)
class Refused:
    reason: Refusal
    message: str


Reply: TypeAlias = Ticked | Registered | ActorPlacement | Released | Refused


# ---------------------------------------------------------------- JSON


def _dump(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def encode_command(command: Command) -> bytes:
    """The command as JSON."""
    match command:
        case Tick(term, elapsed_ms):
            return _dump({"op": "tick", "term": term, "elapsed_ms": elapsed_ms})
        case Register():
            return _dump({"op": "register", **register_to_json(command)})
        case Place(reference, node_id):
            return _dump({"op": "place", "actor": reference_to_json(reference), "node": str(node_id)})
        case Release(reference, node_id, epoch):
            actor = reference_to_json(reference)
            return _dump({"op": "release", "actor": actor, "node": str(node_id), "epoch": epoch})


def decode_command(data: bytes) -> Command:
    """Read what `encode_command` wrote. Raises ParseError for anything else."""
    return _decode(data, _command, encode_command)


def _command(document: Any) -> Command:
    match document["op"]:
        case "tick":
            return Tick(_integer(document, "term"), _integer(document, "elapsed_ms"))
        case "register":
            return register_from_json(document)
        case "place":
            return Place(reference_from_json(document["actor"]), NodeId.parse(_text(document, "node")))
        case "release":
            reference = reference_from_json(document["actor"])
            return Release(reference, NodeId.parse(_text(document, "node")), _integer(document, "epoch"))
        case other:
            raise ParseError(f"op {quote(repr(other))} is not known")


def encode_reply(reply: Reply) -> bytes:
    """The reply as JSON."""
    match reply:
        case Ticked(now_ms):
            return _dump({"now_ms": now_ms})
        case Registered(expires_ms):
            return _dump({"registered": expires_ms})
        case ActorPlacement(node_id, epoch):
            return _dump({"node": str(node_id), "epoch": epoch})
        case Released(was_held):
            return _dump({"released": was_held})
        case Refused(reason, message):
            return _dump({"refused": reason.value, "message": message})


def decode_reply(data: bytes) -> Reply:
    """Read what `encode_reply` wrote. Raises ParseError for anything else."""
    return _decode(data, _reply, encode_reply)


def _reply(document: Any) -> Reply:
    if "now_ms" in document:
        return Ticked(_integer(document, "now_ms"))
    if "registered" in document:
        return Registered(_integer(document, "registered"))
    if "epoch" in document:
        return ActorPlacement(NodeId.parse(_text(document, "node")), _integer(document, "epoch"))
    if "released" in document:
        return Released(document["released"] is True)
    return Refused(Refusal(document["refused"]), _text(document, "message"))


def _decode(data: bytes, read: Callable[[Any], _V], write: Callable[[_V], bytes]) -> _V:
    try:
        value = read(parse_json(data))
        if write(value) == data:
            return value
    except ParseError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ParseError(f"directory: {quote(repr(data))} cannot be read: {error!r}") from error
    raise ParseError(f"directory: {quote(repr(data))} is not in canonical form")


def _integer(document: Mapping[str, Any], name: str, least: int = 0, most: int = _LARGEST) -> int:
    value = document[name]
    if type(value) is not int or not least <= value <= most:
        raise ParseError(f"{name} {quote(repr(value))}: must be an integer from {least} to {most}")
    return value


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document[name]
    if type(value) is not str:
        raise ParseError(f"{name} {quote(repr(value))}: must be text")
    return value


def _all_texts(values: Any) -> bool:
    return all(type(value) is str for value in values)


# ---------------------------------------------------------------- the model's values

_KEYS: dict[str, Callable[..., Key]] = {"string": StringKey, "int32": Int32Key, "int64": Int64Key, "none": NoKey}


def reference_to_json(reference: AddressableReference) -> list[Any]:
    """[type, kind of key, key], without the key where there is none."""
    key = reference.key
    value = [] if key.value is None else [key.value]
    return [reference.addressable_type, key.kind.name.lower(), *value]


def reference_from_json(document: Any) -> AddressableReference:
    """Raises ParseError, or what a document of another shape leads to."""
    addressable_type, kind, *value = document
    return AddressableReference(addressable_type, _KEYS[kind](*value))


def register_to_json(register: Register) -> dict[str, Any]:
    """The fields of the command."""
    info, capabilities = register.info, register.info.capabilities
    return {
        "node": str(info.id),
        "url": info.url,
        "port": info.port,
        "types": list(capabilities.addressable_types),
        "max": capabilities.max_addressables,
        "tags": dict(capabilities.tags),
        "status": info.status.name.lower(),
        "incarnation": register.incarnation,
        "revision": register.revision,
        "lease_ms": register.lease_ms,
    }


def register_from_json(document: Mapping[str, Any]) -> Register:
    """Raises ParseError, or what a document of another shape leads to."""
    types, tags = document["types"], document["tags"]
    if type(types) is not list or not _all_texts(types):
        raise ParseError("types: must be a list of texts")
    if type(tags) is not dict or not _all_texts(tags.values()):
        raise ParseError("tags: must be texts by name")
    limit = None if document["max"] is None else _integer(document, "max", most=(1 << 32) - 1)
    info = NodeInfo(
        NodeId.parse(_text(document, "node")),
        _text(document, "url"),
        _integer(document, "port", most=65535),
        NodeCapabilities(tuple(types), limit, tags),
        NodeStatus[_text(document, "status").upper()],
    )
    return Register(
        info,
        _integer(document, "incarnation"),
        _integer(document, "revision"),
        _integer(document, "lease_ms", SHORTEST_LEASE_MS, LONGEST_LEASE_MS),
    )
