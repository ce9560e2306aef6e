"""Header blocks: HPACK by the hpack library, behind a memory of the blocks that mean the same every time (RFC 9113 §8).

A block means the same as long as the dynamic table has not changed (RFC 7541 §2.3), and most blocks of a connection are
repetitions: the same method, the same answer. So each direction remembers bytes ↔ fields and forgets all of it when its
table changes. What the receiver found out about a block (is it well-formed? which method is it?) is kept with it.

To keep our table still, only fields that describe calls in general are entered into it, never metadata, and nothing
that would push out an entry.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

from orbit_lite.http2.errors import ConnectionFault, ErrorCode

__all__ = ["Fields", "HeaderBlock", "HeaderDecoder", "HeaderEncoder", "Malformed"]

Fields: TypeAlias = tuple[tuple[str, str], ...]

#: Largest dynamic table, either way, whatever the peer offers (RFC 7541 §4.2).
TABLE_SIZE = 4096
#: Blocks remembered in each direction, and the largest of them in bytes.
_MEMORY = 256
_LARGEST = 1024

#: Fields worth an entry in the table: few values, in nearly every block.
_ENTERED = frozenset({
    ":authority",
    ":method",
    ":path",
    ":scheme",
    ":status",
    "accept-encoding",
    "content-type",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-status",
    "te",
    "user-agent",
})  # fmt: skip

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")  # RFC 9110 §5.6.2, without capitals (RFC 9113 §8.2.1)
_NAME = re.compile(r"[0-9a-z_.-]+")  # what gRPC allows in requests
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_BLANK = " \t"
_LENGTH = re.compile("[0-9]{1,18}", re.ASCII)
_STATUS = re.compile("[1-9][0-9][0-9]", re.ASCII)
_CONNECTION = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
_REQUEST = frozenset({":method", ":scheme", ":path", ":authority", ":protocol"})
_RESPONSE = frozenset({":status"})
_NONE: frozenset[str] = frozenset()


class Malformed(Exception):
    """A header block that HTTP/2 does not allow: the stream ends with PROTOCOL_ERROR (RFC 9113 §8.1.1)."""


class HeaderBlock:
    """The fields of one block. The same object stands for all its repetitions, so `memo` is for whoever reads it."""

    __slots__ = ("_problems", "content_length", "fields", "is_oversized", "memo", "plain")

    def __init__(self, fields: Fields, *, is_oversized: bool = False) -> None:
        self.fields = fields
        #: Over the limit that we advertised; to be refused by whoever can give an answer.
        self.is_oversized = is_oversized
        self.content_length: int | None = None
        #: What kind of block it has proved to be, if nothing about it needs attention.
        self.plain: str | None = None
        #: What the user of the connection learned from the fields.
        self.memo: Any = None
        self._problems: dict[str, str | None] = {}

    def check(self, kind: str) -> None:
        """Raise Malformed unless the fields may be those of a `request`, `response` or `trailers`."""
        try:
            problem = self._problems[kind]
        except KeyError:
            problem = self._problems[kind] = self._check(kind)
        if problem is not None:
            raise Malformed(problem)
        if self.content_length is None and not self.is_oversized and not (kind == "response" and self.is_interim):
            self.plain = kind

    @property
    def is_interim(self) -> bool:
        """Whether it is a response before the response (RFC 9113 §8.1); to be asked of responses."""
        return self.fields[0][1].startswith("1")

    def _check(self, kind: str) -> str | None:
        allowed = _REQUEST if kind == "request" else _RESPONSE if kind == "response" else _NONE
        seen: dict[str, str] = {}
        regular = False
        for name, value in self.fields:
            if _CONTROL.search(value):
                return f"forbidden character in the value of {name!r}"
            # gRPC's grammar lets a message begin and end with blanks; its status is not to be lost for one.
            if value != value.strip(_BLANK) and name != "grpc-message":
                return f"the value of {name!r} begins or ends with a blank"  # RFC 9113 §8.2.1
            if name.startswith(":"):
                if regular or name not in allowed or name in seen:
                    return f"pseudo-header {name!r} is unknown, repeated or late"
                seen[name] = value
                continue
            regular = True
            if not (_NAME if kind == "request" else _TOKEN).fullmatch(name):
                return f"header name {name!r} is not allowed"
            if name in _CONNECTION or (name == "te" and value != "trailers"):
                return f"header {name!r} is not allowed in HTTP/2"
            if name == "content-length":
                if not _LENGTH.fullmatch(value) or seen.setdefault(name, value) != value:
                    return "content-length is no number, or two"
                self.content_length = int(value)
        if kind == "request":
            return _check_request(seen)
        if kind == "response" and not _STATUS.fullmatch(seen.get(":status", "")):
            return ":status is missing or no status"
        return None


def _check_request(pseudo: dict[str, str]) -> str | None:
    if not pseudo.get(":method"):
        return "pseudo-header ':method' is missing"
    if pseudo[":method"] == "CONNECT" and ":protocol" not in pseudo:
        return None if ":path" not in pseudo and ":scheme" not in pseudo else "CONNECT with a path or a scheme"
    if not pseudo.get(":scheme"):
        return "pseudo-header ':scheme' is missing"
    path = pseudo.get(":path", "")
    if not path.startswith("/") and not (path == "*" and pseudo[":method"] == "OPTIONS"):
        return "pseudo-header ':path' is missing, empty or without its slash"
    return None


class HeaderDecoder:
    """Blocks that arrive → fields. limit: bytes of a header list as we advertised it; most: number of its fields."""

    __slots__ = ("_decoder", "_known", "_limit", "_most")

    def __init__(self, limit: int, most: int) -> None:
        self._limit = limit
        self._most = most
        self._decoder: Decoder | None = None  # an idle connection needs none
        self._known: dict[bytes, HeaderBlock] = {}

    def recall(self, data: bytes) -> HeaderBlock | None:
        """The block, if it is remembered."""
        return self._known.get(data)

    def decode(self, data: bytes) -> HeaderBlock:
        """Raises ConnectionFault: after a block that cannot be decoded the table is no longer the peer's."""
        block = self._known.get(data)
        return self._decode(data) if block is None else block

    def _decode(self, data: bytes) -> HeaderBlock:
        decoder = self._decoder
        if decoder is None:
            decoder = self._decoder = Decoder(max_header_list_size=4 * self._limit)
            decoder.max_allowed_table_size = TABLE_SIZE
        entries = decoder.header_table.dynamic_entries
        before = len(entries), entries[0] if entries else None
        has_updates = _is_size_update(data, 0)
        try:
            _check_size_updates(data)
            decoded = decoder.decode(data, raw=True)
        except OversizedHeaderListError as error:
            reason = f"header list over {4 * self._limit} bytes"
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, reason, b"header_list_too_large") from error
        except HPACKError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"header block: {error}") from error
        except (ValueError, IndexError, OverflowError) as error:  # what a hostile block may raise in hpack
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "header block cannot be decoded") from error
        size = 0
        fields = []
        for name, value in decoded:
            size += len(name) + len(value) + 32  # RFC 9113 §6.5.2
            fields.append((bytes(name).decode("latin-1"), bytes(value).decode("latin-1")))  # loses and refuses nothing
        block = HeaderBlock(tuple(fields), is_oversized=size > self._limit or len(fields) > self._most)
        entries = decoder.header_table.dynamic_entries
        if has_updates or before[0] != len(entries) or (entries and entries[0] is not before[1]):
            self._known.clear()
        elif len(data) <= _LARGEST:
            if len(self._known) >= _MEMORY:
                self._known.clear()
            self._known[data] = block
        return block


def _is_size_update(data: bytes, at: int) -> bool:
    return at < len(data) and data[at] & 0xE0 == 0x20


def _check_size_updates(data: bytes) -> None:
    """At most two of them (RFC 7541 §4.2): a shrinking and the size that counts."""
    at = updates = 0
    while _is_size_update(data, at):
        updates += 1
        if updates > 2:
            raise HPACKError("more than two table size updates")
        if data[at] & 0x1F == 0x1F:
            at += 1
            while at < len(data) and data[at] & 0x80:
                at += 1
        at += 1


class HeaderEncoder:
    """Fields → blocks to be sent."""

    __slots__ = ("_encoder", "_entered", "_known", "_limit", "_room")

    def __init__(self) -> None:
        self._encoder: Encoder | None = None
        self._known: dict[Fields, bytes] = {}
        self._entered: set[tuple[str, str]] = set()
        self._limit = self._room = TABLE_SIZE

    def limit_table(self, size: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE; ours is never larger than 4096 bytes."""
        size = min(size, TABLE_SIZE)
        if size == self._limit:
            return
        encoder = self._start()
        # Down to nothing first: what the peer keeps of the old table is then known to both.
        encoder.header_table_size = 0
        if size:
            encoder.header_table_size = size
        # However often it changed before the next block: two updates at most (RFC 7541 §4.2).
        encoder.table_size_changes[:] = [0, size] if size else [0]
        self._limit = size
        self._known.clear()
        self._entered.clear()
        self._room = size

    def _start(self) -> Encoder:
        if self._encoder is None:
            self._encoder = Encoder()
        return self._encoder

    def encode(self, fields: Fields) -> bytes:
        """The block for the fields, which must be text of latin-1."""
        block = self._known.get(fields)
        return self._encode(fields) if block is None else block

    def _encode(self, fields: Fields) -> bytes:
        encoder = self._start()
        entered = len(self._entered)
        has_updates = bool(encoder.table_size_changes)
        marked = [
            (name.encode("latin-1"), value.encode("latin-1"), not self._enters((name, value))) for name, value in fields
        ]
        # Text is sent as it is: packing it by Huffman's code takes longer than sending it.
        block: bytes = encoder.encode(marked, huffman=False)
        if len(self._entered) != entered or has_updates:
            self._known.clear()
        elif len(block) <= _LARGEST:
            if len(self._known) >= _MEMORY:
                self._known.clear()
            self._known[fields] = block
        return block

    def _enters(self, field: tuple[str, str]) -> bool:
        """Whether the field is in the table, or may enter it without pushing out another."""
        if field in self._entered:
            return True
        size = len(field[0]) + len(field[1]) + 32
        if field[0] not in _ENTERED or size > self._room:
            return False
        self._room -= size
        self._entered.add(field)
        return True
