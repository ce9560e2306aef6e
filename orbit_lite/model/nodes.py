"""What a node says of itself, and the leases that bound how long others believe it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from orbit_lite.errors import ParseError
from orbit_lite.model.identifiers import AddressableReference, NodeId

__all__ = ["AddressableLease", "NodeCapabilities", "NodeInfo", "NodeLease", "NodeStatus"]


class NodeStatus(enum.Enum):
    """What a node does with new work: ACTIVE takes it, DRAINING finishes what it has, STOPPED does neither."""

    ACTIVE = 0
    DRAINING = 1
    STOPPED = 2


def _check_aware(name: str, moment: datetime) -> None:
    if moment.tzinfo is None:
        raise ParseError(f"{name} must be an aware datetime")


@dataclass(frozen=True, slots=True)
class NodeCapabilities:
    """What a node hosts.

    addressable_types: actor types in the order announced. max_addressables: most actors at a time, 0..2**32-1; None =
    not said. tags: free pairs of text.
    """

    addressable_types: tuple[str, ...] = ()
    max_addressables: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_addressables is not None and not 0 <= self.max_addressables < 1 << 32:
            raise ParseError(f"max_addressables {self.max_addressables}: must be in 0..2**32-1")


@dataclass(frozen=True, slots=True)
class NodeLease:
    """Until when a node may be believed (aware UTC datetimes), and the token that proves who renews it."""

    node_id: NodeId
    expires_at: datetime
    renew_at: datetime
    challenge_token: str | None = None

    def __post_init__(self) -> None:
        _check_aware("expires_at", self.expires_at)
        _check_aware("renew_at", self.renew_at)

    def is_expired(self, now: datetime) -> bool:
        """True from `expires_at` on."""
        return now >= self.expires_at


@dataclass(frozen=True, slots=True)
class AddressableLease:
    """Which node an actor lives on, and until when (aware UTC datetimes)."""

    reference: AddressableReference
    node_id: NodeId
    expires_at: datetime
    renew_at: datetime

    def __post_init__(self) -> None:
        _check_aware("expires_at", self.expires_at)
        _check_aware("renew_at", self.renew_at)

    def is_expired(self, now: datetime) -> bool:
        """True from `expires_at` on."""
        return now >= self.expires_at


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node as others see it.

    url: `http://host:port` or `http://host`; port: 0..65535, repeated in `url` or not.
    """

    id: NodeId
    url: str
    port: int
    capabilities: NodeCapabilities = field(default_factory=NodeCapabilities)
    status: NodeStatus = NodeStatus.ACTIVE
    lease: NodeLease | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ParseError(f"port {self.port}: must be in 0..65535")
