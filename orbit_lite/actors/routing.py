"""What becomes of a call that reached this node: run it here, pass it on, or refuse it.

Nodes may see different members for a moment, and then each thinks that the other hosts the actor. So a request is
passed on a bounded number of times; the count travels with it.
"""

from __future__ import annotations

from dataclasses import dataclass

from orbit_lite.errors import AddressableNotFound
from orbit_lite.model import AddressableReference, NodeId

__all__ = ["MAX_FORWARDS", "Forward", "route"]

#: How often a request may be passed on.
MAX_FORWARDS = 3


@dataclass(frozen=True, slots=True)
class Forward:
    """Pass the request on to `node_id`; attempts: its count of forwards, this one included."""

    node_id: NodeId
    attempts: int


def route(
    reference: AddressableReference, home: NodeId | None, *, self_id: NodeId, is_hosted: bool, attempts: int
) -> Forward | None:
    """None: run the call here.

    home: the actor's node as this node sees it. is_hosted: whether this node knows the actor's type. attempts: how
    often the request was passed on before; peers choose it, so less than none counts as none. Raises
    AddressableNotFound when the actor has no home, when its home is here and does not know it, or when the request has
    been passed on MAX_FORWARDS times.
    """
    if home == self_id and is_hosted:
        return None
    attempts = max(0, attempts)
    if home is None or home == self_id or attempts >= MAX_FORWARDS:
        raise AddressableNotFound(str(reference))
    return Forward(home, attempts + 1)
