"""Header blocks: what they say, what HTTP/2 allows them to say (RFC 9113 §8), and a memory of those that are repeated.

A block means the same as long as the dynamic table has not changed (RFC 7541 §2.3), and most blocks of a connection are
repetitions: the same method, the same answer. So bytes ↔ fields are remembered with the table that they belong to, and
what the receiver found out about a block (is it well-formed? which method is it?) is kept with it.

A server's connections share one memory. Clients of one kind begin alike, so their tables are the same objects, nobody
learns what another has learned before, and an idle connection holds no table of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from orbit_lite.http2.errors import ConnectionFault, ErrorCode
from orbit_lite.http2.hpack import (
    TABLE_SIZE,
    Fields,
    HpackFault,
    ListTooLarge,
    Reader,
    ReadTable,
    Writer,
    WriteTable,
)

__all__ = ["Fields", "HeaderBlock", "HeaderDecoder", "HeaderEncoder", "HeaderMemory", "Malformed"]

#: Largest block that is remembered, in bytes.
_LARGEST = 1024
#: Bytes of all that are, counted with what a block takes beside its bytes, and what a table does.
_ROOM = 1 << 20
_BLOCK, _TABLE = 512, 1024
#: Changes of the table from a connection's beginning on that are remembered. Later ones are hardly ever the same on
#: another connection.
_SHARED = 8

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


T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


class _Lexicon(Generic[T, K, V]):
    """A table, and what is known with it. known: blocks that leave the table as it is; steps: those that change it.

    depth: changes since a connection's beginning.
    """

    __slots__ = ("depth", "known", "steps", "table")

    def __init__(self, table: T, depth: int) -> None:
        self.table = table
        self.depth = depth
        self.known: dict[K, V] = {}
        self.steps: dict[K, tuple[V, _Lexicon[T, K, V]]] = {}


_Heard = _Lexicon[ReadTable, bytes, HeaderBlock]
_Said = _Lexicon[WriteTable, Fields, bytes]


class HeaderMemory:
    """What blocks say, for any number of connections. Bounded: when it is full all of it is forgotten.

    limit: bytes of a header list as advertised; most: number of its fields.
    """

    __slots__ = ("_filled", "_left", "heard", "limit", "most", "said")

    def __init__(self, limit: int, most: int) -> None:
        self.limit = limit
        self.most = most
        #: Where every connection begins.
        self.heard: _Heard = _Lexicon(ReadTable(), 0)
        self.said: _Said = _Lexicon(WriteTable(), 0)
        self._filled: list[dict[Any, Any]] = []
        self._left = _ROOM

    def keep(self, where: dict[K, V], key: K, value: V, size: int) -> None:
        """Remember something of `size` bytes."""
        self._left -= size
        if self._left < 0:
            self.forget()
            self._left -= size
        if not where:
            self._filled.append(where)
        where[key] = value

    def forget(self) -> None:
        """Everything: connections go on with the tables they have, and learn again."""
        for where in self._filled:
            where.clear()
        self._filled.clear()
        self._left = _ROOM

    def learn(self, here: _Lexicon[T, K, V], key: K, size: int, value: V, table: T) -> _Lexicon[T, K, V]:
        """Remember a block of `size` bytes, which gave `table`; where to look up the next one."""
        if table is here.table:
            if size <= _LARGEST:
                self.keep(here.known, key, value, size + _BLOCK)
            return here
        there: _Lexicon[T, K, V] = _Lexicon(table, here.depth + 1)
        if size <= _LARGEST and here.depth < _SHARED:
            self.keep(here.steps, key, (value, there), size + _BLOCK + _TABLE)
        return there


class HeaderDecoder:
    """One connection's blocks that arrive → fields."""

    __slots__ = ("_here", "_memory", "_reader", "recall")

    def __init__(self, memory: HeaderMemory) -> None:
        self._memory = memory
        self._reader: Reader | None = None  # at the table of `_here`; made for a block that is not remembered
        self._go_to(memory.heard)

    def _go_to(self, here: _Heard) -> None:
        self._here = here
        #: Bytes → the block, if it is remembered and changes nothing. The dictionary's own method, as it is asked for
        #: most blocks of all calls.
        self.recall: Callable[[bytes], HeaderBlock | None] = here.known.get

    def decode(self, data: bytes) -> HeaderBlock:
        """Raises ConnectionFault: after a block that cannot be decoded the table is no longer the peer's."""
        here = self._here
        if (block := here.known.get(data)) is not None:
            return block
        if (step := here.steps.get(data)) is not None:
            block, there = step
            self._go_to(there)
            self._reader = None
            return block
        memory = self._memory
        reader = self._reader
        if reader is None:
            reader = self._reader = Reader(here.table, 4 * memory.limit)
        try:
            fields = reader.decode(data)
        except ListTooLarge as error:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, str(error), b"header_list_too_large") from error
        except HpackFault as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"header block: {error}") from error
        size = sum(len(name) + len(value) + 32 for name, value in fields)  # RFC 9113 §6.5.2
        block = HeaderBlock(fields, is_oversized=size > memory.limit or len(fields) > memory.most)
        there = memory.learn(here, data, len(data), block, reader.table)
        if there is not here:
            self._go_to(there)
        return block


class HeaderEncoder:
    """Fields → one connection's blocks to be sent."""

    __slots__ = ("_memory", "_writer", "lexicon")

    def __init__(self, memory: HeaderMemory) -> None:
        self._memory = memory
        #: What is known with the table as it is; another object once that has changed.
        self.lexicon = memory.said
        self._writer: Writer | None = None  # at the table of `lexicon`; made for fields that are not remembered

    def limit_table(self, size: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE; ours is never larger than 4096 bytes."""
        size = min(size, TABLE_SIZE)
        if size != self.lexicon.table.limit:
            self.lexicon = _Lexicon(WriteTable.limited(size), _SHARED)
            self._writer = None

    def encode(self, fields: Fields) -> bytes:
        """The block for the fields, which must be text of latin-1."""
        here = self.lexicon
        if (block := here.known.get(fields)) is not None:
            return block
        if (step := here.steps.get(fields)) is not None:
            block, self.lexicon = step
            self._writer = None
            return block
        writer = self._writer
        if writer is None:
            writer = self._writer = Writer(here.table)
        block = writer.encode(fields)
        self.lexicon = self._memory.learn(here, fields, len(block), block, writer.table)
        return block
