"""The grpc-status-details-bin trailer: a google.rpc.Status whose details are messages of any kind.

The two messages are declared here once more, privately: rpc knows no generated code. Details stay as they come, type
name and bytes; what they mean is for those who know the type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import betterproto

from orbit_lite import codec
from orbit_lite.errors import SerializationError, Status
from orbit_lite.rpc.method import encode

__all__ = ["StatusDetail", "decode_details", "encode_details"]

_TYPE_URL = "type.googleapis.com/"


@dataclass(frozen=True, slots=True)
class StatusDetail:
    """One detail of a failed call. type_url: ends in `/` and the message's full name. value: its bytes."""

    type_url: str
    value: bytes

    @property
    def type_name(self) -> str:
        """The message's full name."""
        return self.type_url.rpartition("/")[2]


@dataclass(eq=False, repr=False)
class _Any(betterproto.Message):
    type_url: str = betterproto.string_field(1)
    value: bytes = betterproto.bytes_field(2)


@dataclass(eq=False, repr=False)
class _Status(betterproto.Message):
    code: int = betterproto.int32_field(1)
    message: str = betterproto.string_field(2)
    details: list[_Any] = betterproto.message_field(3)  # noqa: RUF009  # betterproto's own form


def encode_details(status: Status, message: str, details: Sequence[object]) -> bytes:
    """google.rpc.Status bytes.

    A detail is a StatusDetail or anything with `type_url` and `value` (google.protobuf.Any), or a google.protobuf
    message. Raises SerializationError for anything else.
    """
    return codec.encode(_Status(code=int(status), message=message, details=[_pack(detail) for detail in details]))


def decode_details(data: bytes) -> tuple[StatusDetail, ...]:
    """The details of google.rpc.Status bytes; empty for bytes that are none: the call has failed anyway."""
    try:
        status = codec.decode(_Status, data)
    except SerializationError:
        return ()
    return tuple(StatusDetail(detail.type_url, detail.value) for detail in status.details)


def _pack(detail: object) -> _Any:
    type_url, value = getattr(detail, "type_url", None), getattr(detail, "value", None)
    if isinstance(type_url, str) and isinstance(value, bytes):
        return _Any(type_url=type_url, value=value)
    name = getattr(getattr(detail, "DESCRIPTOR", None), "full_name", None)
    serialize = getattr(detail, "SerializeToString", None)
    if isinstance(name, str) and callable(serialize):
        return _Any(type_url=_TYPE_URL + name, value=encode(detail, type(detail)))
    raise SerializationError(f"status detail of type {type(detail).__name__}: must be a StatusDetail or an Any")
