"""HPACK (RFC 7541) by the hpack library, with tables that are values.

The library's decoders and encoders change with what they read and write. What a block means depends on nothing but the
table that it meets, so here a table is a value: a block, read or written with one table, gives the table for the next.
What is known of a block may then be remembered, and any number of connections whose peers say the same may share it.
"""

from __future__ import annotations

from typing import TypeAlias

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

__all__ = ["TABLE_SIZE", "Field", "Fields", "HpackFault", "ListTooLarge", "ReadTable", "Reader", "WriteTable", "Writer"]

Field: TypeAlias = tuple[str, str]
Fields: TypeAlias = tuple[Field, ...]

#: Largest dynamic table, either way, whatever the peer offers (§4.2).
TABLE_SIZE = 4096

#: Fields worth an entry in the peer's table: few values, in nearly every block.
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

_STATIC = frozenset((name.decode("ascii"), value.decode("ascii")) for name, value in HeaderTable.STATIC_TABLE)


class HpackFault(Exception):
    """A block that cannot be decoded. What the peer's table holds is not known from then on."""


class ListTooLarge(HpackFault):
    """The fields of a block are larger than they may be."""


# ---------------------------------------------------------------- reading


class ReadTable:
    """The peer's dynamic table. entries: the newest first; limit: bytes as §4.1 counts them."""

    __slots__ = ("entries", "limit")

    def __init__(self, entries: tuple[tuple[bytes, bytes], ...] = (), limit: int = TABLE_SIZE) -> None:
        self.entries = entries
        self.limit = limit


class Reader:
    """Decodes blocks one after the other. table: the one for the next block; the same object while nothing changes."""

    __slots__ = ("_decoder", "_largest", "table")

    def __init__(self, table: ReadTable, largest: int) -> None:
        """largest: bytes of all fields of a block, counted as in the table."""
        self.table = table
        self._largest = largest
        self._decoder = decoder = Decoder(max_header_list_size=largest)
        decoder.max_allowed_table_size = TABLE_SIZE
        decoder.header_table_size = table.limit
        for name, value in reversed(table.entries):
            decoder.header_table.add(name, value)

    def decode(self, block: bytes) -> Fields:
        """The block's fields, as text of latin-1, which loses and refuses nothing. Raises HpackFault."""
        entries = self._decoder.header_table.dynamic_entries
        count, newest = len(entries), entries[0] if entries else None
        try:
            has_updates = _check_size_updates(block)
            decoded = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError as error:
            raise ListTooLarge(f"header list over {self._largest} bytes") from error
        except HPACKError as error:
            raise HpackFault(str(error)) from error
        except (ValueError, IndexError, OverflowError) as error:  # what a hostile block may raise in the library
            raise HpackFault("it cannot be decoded") from error
        entries = self._decoder.header_table.dynamic_entries
        if has_updates or count != len(entries) or (entries and entries[0] is not newest):
            for at, (name, value) in enumerate(entries):  # before hpack 4.2 they are views of the blocks they came in
                if type(name) is not bytes or type(value) is not bytes:
                    entries[at] = bytes(name), bytes(value)
            now, limit = tuple(entries), self._decoder.header_table_size
            if (now, limit) != (self.table.entries, self.table.limit):
                self.table = ReadTable(now, limit)
        return tuple((bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in decoded)


def _check_size_updates(block: bytes) -> bool:
    """Whether the block begins with any: two at most (§4.2), a shrinking and the size that counts."""
    at = updates = 0
    while at < len(block) and block[at] & 0xE0 == 0x20:
        updates += 1
        if updates > 2:
            raise HpackFault("more than two table size updates")
        if block[at] & 0x1F == 0x1F:
            at += 1
            while at < len(block) and block[at] & 0x80:
                at += 1
        at += 1
    return updates > 0


# ---------------------------------------------------------------- writing


class WriteTable:
    """The table that we keep in the peer. It only grows: nothing is entered that would push out an entry.

    entries: the oldest first; limit, room: bytes of it and what is left; updates: sizes that the next block has to
    announce first.
    """

    __slots__ = ("entries", "limit", "room", "updates")

    def __init__(
        self, entries: Fields = (), limit: int = TABLE_SIZE, room: int = TABLE_SIZE, updates: tuple[int, ...] = ()
    ) -> None:
        self.entries = entries
        self.limit = limit
        self.room = room
        self.updates = updates

    @classmethod
    def limited(cls, limit: int) -> WriteTable:
        """A new beginning with that many bytes.

        It goes down to nothing first: what the peer keeps of the old one is then known to both. However often it
        changes before the next block, these are the two updates that are allowed (§4.2).
        """
        return cls((), limit, limit, (0, limit) if limit else (0,))


class Writer:
    """Encodes blocks one after the other. table: the one for the next block; the same object while nothing changes."""

    __slots__ = ("_encoder", "_entered", "table")

    def __init__(self, table: WriteTable) -> None:
        self.table = table
        self._entered = set(table.entries)
        self._encoder = encoder = Encoder()
        encoder.header_table_size = 0
        encoder.header_table_size = table.limit
        encoder.table_size_changes[:] = table.updates
        encoder.header_table.resized = bool(table.updates)
        for name, value in table.entries:
            encoder.header_table.add(name.encode("latin-1"), value.encode("latin-1"))

    def encode(self, fields: Fields) -> bytes:
        """The block for fields of latin-1 text.

        Text is sent as it is: packing it by Huffman's code takes longer than sending it. Metadata is marked as never to
        be entered (§7.1.3), also by others on the way.
        """
        table = self.table
        new: list[Field] = []
        room = table.room
        marked = []
        for field in fields:
            name, value = field
            is_known = field in _STATIC or field in self._entered or field in new
            if not is_known and name in _ENTERED and (size := len(name) + len(value) + 32) <= room:
                room -= size
                new.append(field)
                is_known = True
            marked.append((name.encode("latin-1"), value.encode("latin-1"), not is_known))
        block: bytes = self._encoder.encode(marked, huffman=False)
        if new or table.updates:
            self._entered.update(new)
            self.table = WriteTable((*table.entries, *new), table.limit, room)
        return block
