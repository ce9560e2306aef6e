"""What an actor system says of its actors."""

from __future__ import annotations

from dataclasses import dataclass

from orbit_lite.model import AddressableReference

__all__ = ["ActorView", "ActorsDrained"]


@dataclass(frozen=True, slots=True)
class ActorView:
    """An actor as operators see it. state: a MailboxState's value. mailbox_depth: calls that wait. idle: seconds since
    the last call ended, 0 while one runs."""

    reference: AddressableReference
    state: str
    mailbox_depth: int
    calls: int
    idle: float


@dataclass(frozen=True, slots=True)
class ActorsDrained:
    """What a drain did: calls that ended by themselves, calls that were cut off, actors deactivated."""

    finished: int = 0
    cancelled: int = 0
    deactivated: int = 0
