"""Which nodes are in the cluster, and how that changes: one node at a time (thesis 4.1).

A configuration is in force on a node as soon as it is in its log, committed or not. Two configurations that differ in
one voter have no disjoint majorities, which is why one node at a time is safe; `leader.change` sees to it that at most
one is under way, and none before the leader has committed an entry of its own term (Ongaro, raft-dev, July 2015).
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from orbit_lite.errors import ParseError, quote
from orbit_lite.model import LiteCommand, LiteKind, LogEntry, NodeId
from orbit_lite.model.json import parse_json
from orbit_lite.raft.errors import ChangeRefused
from orbit_lite.raft.messages import Configuration, HardState, Member, Stored

__all__ = [
    "bootstrap_state",
    "changed",
    "configuration_command",
    "configuration_of",
    "decode_configuration",
    "encode_configuration",
]

T = TypeVar("T")


def encode_configuration(configuration: Configuration) -> bytes:
    """Canonical JSON: equal configurations give equal bytes."""
    document = {
        "cluster_id": configuration.cluster_id,
        "members": [
            {
                "address": member.address,
                "key": member.node_id.key,
                "namespace": member.node_id.namespace,
                "voter": member.voter,
            }
            for member in configuration.members
        ],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def decode_configuration(data: bytes) -> Configuration:
    """Read what `encode_configuration` wrote. Raises ParseError for anything else, even if it means the same."""
    try:
        document: Any = parse_json(data)
        members = tuple(
            Member(NodeId(item["key"], item["namespace"]), _typed(str, item["address"]), _typed(bool, item["voter"]))
            for item in document["members"]
        )
        configuration = Configuration(_typed(str, document["cluster_id"]), members)
        if encode_configuration(configuration) == data:
            return configuration
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as exc:
        raise ParseError(f"configuration {quote(repr(data))}: {exc}") from exc
    raise ParseError(f"configuration {quote(repr(data))}: not in canonical form")


def _typed(expected: type[T], value: object) -> T:
    if not isinstance(value, expected):
        raise TypeError(f"expected {expected.__name__}, found {type(value).__name__}")
    return value


def configuration_command(configuration: Configuration) -> LiteCommand:
    """The log entry that puts the configuration in force."""
    return LiteCommand(LiteKind.CONFIG, "", 0, encode_configuration(configuration))


def configuration_of(entry: LogEntry) -> Configuration | None:
    """The configuration that the entry puts in force; None for an entry of another kind. Raises ParseError."""
    command = entry.command
    if type(command) is LiteCommand and command.kind is LiteKind.CONFIG:
        return decode_configuration(command.data)
    return None


def bootstrap_state(configuration: Configuration) -> Stored:
    """What the store of every founding node begins with: the same first entry, committed.

    configuration: the same on all of them. A node that joins later begins with an empty store instead.
    """
    entry = LogEntry(1, 1, configuration_command(configuration))
    return Stored(HardState(term=1, commit=1), entries=(entry,))


def changed(configuration: Configuration, node_id: NodeId, member: Member | None) -> Configuration:
    """The configuration with `member` as the node's entry, or without the node when it is None.

    Raises ChangeRefused when that is no change of this one node, or when no voter would be left.
    """
    present = configuration.member(node_id)
    if member is not None and member.node_id != node_id:
        raise ChangeRefused(f"a change concerns one node, not both {node_id} and {member.node_id}")
    if member == present:
        raise ChangeRefused(f"{node_id} is no member" if member is None else f"{node_id} is a member like that already")
    others = tuple(other for other in configuration.members if other.node_id != node_id)
    result = Configuration(configuration.cluster_id, others if member is None else (*others, member))
    if not result.voters:
        raise ChangeRefused(f"{node_id} is the last voter: the cluster could never decide anything again")
    return result
