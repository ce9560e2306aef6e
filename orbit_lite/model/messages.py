"""What travels on an actor stream: a message, whom it is for, and one of six contents."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from orbit_lite.errors import PLATFORM, ParseError
from orbit_lite.model.identifiers import AddressableReference, NodeId

__all__ = [
    "Content",
    "ErrorContent",
    "InfoRequest",
    "InfoResponse",
    "InvocationError",
    "InvocationReason",
    "InvocationRequest",
    "InvocationResponse",
    "Json",
    "Message",
    "RoutedUnicast",
    "Target",
    "Unicast",
]

#: A JSON value as the standard library's json module reads it.
Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_INT64 = 1 << 63


class InvocationReason(enum.Enum):
    """Why an invocation reaches a node: asked by the caller, or passed on by a node that does not host the actor."""

    INVOCATION = 0
    REROUTED = 1


@dataclass(frozen=True, slots=True)
class Unicast:
    """For one node; None answers a peer that did not say who it is."""

    target: NodeId | None = None


@dataclass(frozen=True, slots=True)
class RoutedUnicast:
    """For the last node of the path, by way of those before it."""

    path: tuple[NodeId, ...]


Target: TypeAlias = Unicast | RoutedUnicast


@dataclass(frozen=True, slots=True)
class ErrorContent:
    """A failure that concerns the stream rather than one invocation."""

    description: str


@dataclass(frozen=True, slots=True)
class InfoRequest:
    """Who are you?"""


@dataclass(frozen=True, slots=True)
class InfoResponse:
    """The answer to InfoRequest."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class InvocationRequest:
    """Call `method` of an actor. arguments: JSON text of an array, raw values or `{"value", "type_name"}` objects."""

    reference: AddressableReference
    method: str
    arguments: str = "[]"
    reason: InvocationReason = InvocationReason.INVOCATION


@dataclass(frozen=True, slots=True)
class InvocationResponse:
    """The method's result as JSON text."""

    value: str


@dataclass(frozen=True, slots=True)
class InvocationError:
    """The invocation failed: an error's text form, and the implementation that wrote it."""

    description: str
    platform: str = PLATFORM


Content: TypeAlias = (
    ErrorContent | InfoRequest | InfoResponse | InvocationRequest | InvocationResponse | InvocationError
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an actor stream.

    message_id: int64, unique among the requests of one stream; an answer repeats it, in any order. source and target
    are None where the peer left them out (Orbit-RS clients send no source). attempts: int64, how often passed on.
    """

    message_id: int
    content: Content
    source: NodeId | None = None
    target: Target | None = None
    attempts: int = 0

    def __post_init__(self) -> None:
        for name, number in (("message_id", self.message_id), ("attempts", self.attempts)):
            if not -_INT64 <= number < _INT64:
                raise ParseError(f"{name} {number}: out of range of int64")
