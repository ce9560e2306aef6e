"""Who speaks: nothing counts of a node of another cluster, or of one that has lost its store.

Each request says in metadata of which cluster and node and store its sender is, and whom it takes the receiver for.
The receiver refuses what does not fit, so an answer proves that it came from the node that was asked. A node's store id
is remembered when it is seen first, durably, and forgotten when the node leaves the cluster: until then a node that
comes back under its id without its store would vote a second time in a term, or confirm entries that it forgot.

An Orbit-RS node says none of this and acknowledges entries without storing them: it never counts.
"""

from __future__ import annotations

from collections.abc import Mapping

from orbit_lite.errors import ParseError, quote
from orbit_lite.model import NodeId
from orbit_lite.raft.errors import ClusterMismatch, WipedNode

__all__ = ["CLUSTER", "NODE", "STORE", "TO_NODE", "TO_STORE", "WIPED", "check_receiver", "check_sender", "introduce"]

CLUSTER = "orbit-cluster"
NODE = "orbit-raft-node"
STORE = "orbit-raft-store"
TO_NODE = "orbit-raft-to-node"
TO_STORE = "orbit-raft-to-store"
#: Trailing metadata of a refusal because of a lost store.
WIPED = "orbit-raft-wiped"

_WHAT_TO_DO = "remove it from the cluster, then add it again"


def introduce(cluster_id: str, node_id: NodeId, store_id: str, to: NodeId, to_store: str | None) -> dict[str, str]:
    """The metadata of requests to a node. to_store: its store id, where that is known."""
    said = {CLUSTER: cluster_id, NODE: str(node_id), STORE: store_id, TO_NODE: str(to)}
    return said if to_store is None else said | {TO_STORE: to_store}


def check_sender(
    metadata: Mapping[str, str | bytes], cluster_id: str, known: Mapping[NodeId, str]
) -> tuple[NodeId, str]:
    """Who sent it: node and store id; remember them if they are new. Raises ClusterMismatch, WipedNode."""
    said = {name: value for name, value in metadata.items() if isinstance(value, str)}
    if (theirs := said.get(CLUSTER)) != cluster_id:
        raise ClusterMismatch(f"this is cluster {cluster_id!r}, the sender is of {quote(str(theirs))!r}")
    text, store_id = said.get(NODE), said.get(STORE)
    if not text or not store_id:
        raise ClusterMismatch("the sender does not say which node and store it is; Orbit-RS nodes cannot take part")
    try:
        node_id = NodeId.parse(text)
    except ParseError as error:
        raise ClusterMismatch(f"the sender's name cannot be read: {error.message}") from error
    if known.get(node_id, store_id) != store_id:
        reason = f"{node_id} is known with another store: it has lost its data; {_WHAT_TO_DO}"
        raise WipedNode(reason, metadata={WIPED: "sender"})
    return node_id, store_id


def check_receiver(metadata: Mapping[str, str | bytes], node_id: NodeId, store_id: str) -> None:
    """Whether this node is the one that the sender means. Raises ClusterMismatch, WipedNode."""
    meant, meant_store = metadata.get(TO_NODE), metadata.get(TO_STORE)
    if isinstance(meant, str) and meant != str(node_id):
        raise ClusterMismatch(f"this is {node_id}, not {quote(meant)}")
    if isinstance(meant_store, str) and meant_store != store_id:
        reason = f"{node_id} is known with another store: it has lost its data; {_WHAT_TO_DO}"
        raise WipedNode(reason, metadata={WIPED: "receiver"})
