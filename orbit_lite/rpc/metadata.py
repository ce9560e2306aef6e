"""Call metadata: names, values, `-bin` values, and the percent-encoding of grpc-message.

What arrives is read leniently (a broken value never breaks the connection), what leaves is checked strictly, before any
byte is sent. Source: grpc/doc/PROTOCOL-HTTP2.md, `Custom-Metadata` and `Status-Message`.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from orbit_lite.errors import SerializationError, quote

__all__ = [
    "NOTHING",
    "Headers",
    "Metadata",
    "MetadataError",
    "MetadataLike",
    "as_metadata",
    "decode_message",
    "encode_message",
]

Value = str | bytes
Headers = tuple[tuple[str, str], ...]
MetadataLike = Mapping[str, Value] | Iterable[tuple[str, Value]]
_D = TypeVar("_D")

_NAME = re.compile(r"[0-9a-z_.-]+")
# Visible ASCII, space and obs-text (RFC 9110 §5.5): gRPC asks for printable ASCII, but a value that an HTTP peer could
# send us must also pass back through us. No control character, so no CR, LF or NUL.
_TEXT = re.compile("[\x20-\x7e\x80-\xff]*")
_UNSAFE_IN_MESSAGE = re.compile(rb"[^\x20-\x24\x26-\x7e]|\A | \Z")

# The call's own definition, and what HTTP/2 forbids or gives a meaning of its own (RFC 9113 §8.2.2).
_RESERVED = frozenset({
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
})  # fmt: skip


class MetadataError(SerializationError, ValueError):
    """Metadata that cannot be sent as it is. Nothing was sent."""

    orb_code = "ORB-1508"


class Metadata:
    """Names and values in the order of the wire; a name may occur several times.

    Values are `bytes` for names that end in `-bin`, else `str`. Reading is like grpclib's multi-dictionary: `m[name]`
    and `get` give the first value, `getall` all of them, iteration and `items` every pair.
    """

    __slots__ = ("_headers", "_pairs")

    def __init__(self, metadata: MetadataLike | None = None) -> None:
        self._headers: Headers | None = None  # once they were asked for: many calls share one introduction
        pairs = metadata.items() if isinstance(metadata, Mapping) else metadata or ()
        self._pairs: tuple[tuple[str, Value], ...] = tuple(pairs)

    @classmethod
    def decode(cls, headers: Iterable[tuple[str, str]]) -> Metadata:
        """The user's metadata of a header block: without pseudo-headers, gRPC's own and HTTP's own headers.

        A `-bin` value may be padded or not, and several may be joined by commas; one that is not base64 is left out.
        """
        pairs: list[tuple[str, Value]] = []
        for name, text in headers:
            if _is_reserved(name):
                continue
            if name.endswith("-bin"):
                pairs += [(name, value) for value in map(_decode_binary, text.split(",")) if value is not None]
            else:
                pairs.append((name, text.strip(" \t")))
        return cls(pairs)

    def encode(self) -> Headers:
        """As headers. Raises MetadataError, which names what may not be sent and why."""
        if self._headers is None:
            self._headers = self._encode()
        return self._headers

    def _encode(self) -> Headers:
        headers: list[tuple[str, str]] = []
        for name, value in self._pairs:
            if not isinstance(name, str) or not _NAME.fullmatch(name):  # type: ignore[redundant-expr]  # types may lie
                raise MetadataError(f"metadata name {quote(str(name))!r}: only 0-9 a-z _ . - are allowed")
            if _is_reserved(name):
                raise MetadataError(f"metadata name {name!r} is reserved")
            if name.endswith("-bin"):
                if not isinstance(value, bytes | bytearray | memoryview):
                    raise MetadataError(f"metadata {name!r}: a -bin value must be bytes, not {type(value).__name__}")
                headers.append((name, b64encode(value).rstrip(b"=").decode("ascii")))
            elif not isinstance(value, str):
                raise MetadataError(f"metadata {name!r}: the value must be str (bytes need a name that ends in -bin)")
            elif not _TEXT.fullmatch(value):
                raise MetadataError(f"metadata {name!r}: the value holds control or non-Latin characters; use -bin")
            else:
                headers.append((name, value.strip(" ")))
        return tuple(headers)

    def getall(self, name: str) -> list[Value]:
        """All values of a name, in order; empty when it does not occur."""
        return [value for key, value in self._pairs if key == name]

    def get(self, name: str, default: _D | None = None) -> Value | _D | None:
        """The first value of a name."""
        return next((value for key, value in self._pairs if key == name), default)

    def items(self) -> tuple[tuple[str, Value], ...]:
        """All pairs in order."""
        return self._pairs

    def keys(self) -> list[str]:
        """All names in order, repeated ones as often as they occur."""
        return [name for name, _ in self._pairs]

    def __getitem__(self, name: str) -> Value:
        for key, value in self._pairs:
            if key == name:
                return value
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self._pairs)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Metadata) and self._pairs == other._pairs

    def __hash__(self) -> int:
        return hash(self._pairs)

    def __repr__(self) -> str:
        # Names only: values may be credentials.
        return f"Metadata({', '.join(self.keys())})"


#: No metadata.
NOTHING = Metadata()


def as_metadata(given: MetadataLike | Metadata | None) -> Metadata:
    """What a caller gave, known to be fit for sending. Raises MetadataError."""
    if given is None:
        return NOTHING
    metadata = given if isinstance(given, Metadata) else Metadata(given)
    metadata.encode()
    return metadata


def encode_message(text: str) -> str:
    """grpc-message: UTF-8, all but %x20-24 and %x26-7E percent-encoded. Lone surrogates become `?`.

    A blank at either end is encoded too: HTTP/2 has no such values (RFC 9113 §8.2.1).
    """
    return _UNSAFE_IN_MESSAGE.sub(lambda match: b"%%%02X" % match[0][0], text.encode("utf-8", "replace")).decode(
        "ascii"
    )


def decode_message(text: str) -> str:
    """Read grpc-message; never raises. A broken escape stays as it is, bytes that are not UTF-8 become U+FFFD."""
    return unquote_to_bytes(text.encode("latin-1", "replace")).decode("utf-8", "replace")


def _is_reserved(name: str) -> bool:
    return name.startswith((":", "grpc-")) or name in _RESERVED


def _decode_binary(text: str) -> bytes | None:
    text = text.strip(" \t").rstrip("=")
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
