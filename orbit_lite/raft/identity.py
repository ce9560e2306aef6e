"""Who speaks: nothing counts of a node of another cluster, or of one that has lost its store.

Each request says in metadata of which cluster and node and store its sender is, and whom it takes the receiver for.
The receiver refuses what does not fit, so an answer proves that it came from the node that was asked. A node's store id
is remembered when it is seen first, durably, and forgotten when the node leaves the cluster: until then a node that
comes back under its id without its store would vote a second time in a term, or confirm entries that it forgot.

An Orbit-RS node says none of this and acknowledges entries without storing them: it never counts.

This keeps honest nodes from harm by mistakes of configuration and lost disks. It is no protection against an attacker,
who can say anything; that is TLS's work.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote as percent_encoded
from urllib.parse import unquote

from orbit_lite.errors import ParseError, quote
from orbit_lite.model import NodeId
from orbit_lite.raft.errors import ClusterMismatch, WipedNode

__all__ = [
    "CLUSTER",
    "MOST_PEERS",
    "NODE",
    "STORE",
    "TO_NODE",
    "TO_STORE",
    "WIPED",
    "check_peer",
    "check_receiver",
    "check_sender",
    "introduce",
]

CLUSTER = "orbit-cluster"
NODE = "orbit-raft-node"
STORE = "orbit-raft-store"
TO_NODE = "orbit-raft-to-node"
TO_STORE = "orbit-raft-to-store"
#: Trailing metadata of a refusal because of a lost store.
WIPED = "orbit-raft-wiped"

#: Store ids that a node remembers; each costs a write, and who is no member yet may call, too.
MOST_PEERS = 1000

#: Printable ASCII but for the blank, at which a value must not begin or end, and the percent sign.
_SAFE = "!\"#$&'()*+,/:;<=>?@[\\]^`{|}"

_WHAT_TO_DO = "remove it from the cluster, then add it again"


def introduce(cluster_id: str, node_id: NodeId, store_id: str, to: NodeId, to_store: str | None) -> dict[str, str]:
    """The metadata of requests to a node. to_store: its store id, where that is known."""
    said = {CLUSTER: cluster_id, NODE: str(node_id), STORE: store_id, TO_NODE: str(to)}
    if to_store is not None:
        said[TO_STORE] = to_store
    return {name: _written(value) for name, value in said.items()}


def _written(text: str) -> str:
    """Percent-encoded where it is not printable ASCII: metadata carries no other text, but names are Unicode."""
    return percent_encoded(text, safe=_SAFE)


def _read(metadata: Mapping[str, str | bytes], name: str) -> str | None:
    value = metadata.get(name)
    if not isinstance(value, str):
        return None
    return unquote(value) if "%" in value else value


def check_sender(
    metadata: Mapping[str, str | bytes], cluster_id: str, known: Mapping[NodeId, str], claimed: NodeId | None = None
) -> tuple[NodeId, str]:
    """Who sent it: node and store id; remember them if they are new. claimed: whom the message itself names as sender.

    Raises ClusterMismatch, WipedNode.
    """
    theirs, text, store_id = _read(metadata, CLUSTER), _read(metadata, NODE), _read(metadata, STORE)
    if theirs is not None and theirs != cluster_id:
        raise ClusterMismatch(f"this is cluster {cluster_id!r}, the sender is of {quote(theirs)!r}")
    if theirs is None or not text or not store_id:
        raise ClusterMismatch("the sender does not say which node and store it is; Orbit-RS nodes cannot take part")
    node_id = _parsed(text)
    if claimed is not None and claimed != node_id:
        raise ClusterMismatch(f"{node_id} sends a message of {claimed}")
    _check_store(node_id, store_id, known, "sender")
    return node_id, store_id


def check_receiver(metadata: Mapping[str, str | bytes], node_id: NodeId, store_id: str) -> None:
    """Whether this node is the one that the sender means. Raises ClusterMismatch, WipedNode."""
    meant, meant_store = _read(metadata, TO_NODE), _read(metadata, TO_STORE)
    if meant is not None and meant != str(node_id):
        raise ClusterMismatch(f"this is {node_id}, not {quote(meant)}")
    if meant_store is not None:
        _check_store(node_id, store_id, {node_id: meant_store}, "receiver")


def check_peer(said: tuple[str, str, str], cluster_id: str, expected: NodeId, known: Mapping[NodeId, str]) -> bool:
    """Whether the peer's store is to be remembered, because it is seen for the first time.

    said: cluster, node and store id in its own words. expected: the node that was looked for.
    Raises ClusterMismatch, WipedNode.
    """
    cluster, node, store_id = said
    if cluster != cluster_id:
        raise ClusterMismatch(f"{expected}: it is of cluster {quote(cluster)!r}, this is {cluster_id!r}")
    if (node_id := _parsed(node)) != expected:
        raise ClusterMismatch(f"{node_id} answers where {expected} was expected")
    if not store_id:
        raise ClusterMismatch(f"{expected} does not say which store it has")
    _check_store(expected, store_id, known, None)
    return expected not in known


def _parsed(text: str) -> NodeId:
    try:
        return NodeId.parse(text)
    except ParseError as error:
        raise ClusterMismatch(f"a node's name cannot be read: {error.message}") from error


def _check_store(node_id: NodeId, store_id: str, known: Mapping[NodeId, str], who: str | None) -> None:
    """who: has it, for the other side: see WIPED."""
    if (expected := known.get(node_id)) is None:
        if len(known) >= MOST_PEERS:
            raise ClusterMismatch(f"{node_id} is unknown, and {len(known)} nodes are remembered already")
    elif expected != store_id:
        reason = f"{node_id} is known with another store: it has lost its data; {_WHAT_TO_DO}"
        raise WipedNode(reason, metadata={} if who is None else {WIPED: who})
