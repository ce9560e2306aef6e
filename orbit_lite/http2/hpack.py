"""HPACK (RFC 7541) with tables that are values: a block, read or written with one table, gives the table for the next.

A table never changes. So what a block means with it never changes either, may be remembered, and any number of
connections whose peers say the same may share both. The static table and Huffman's code are those of the hpack library.
"""

from __future__ import annotations

from typing import TypeAlias

from hpack.exceptions import HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

__all__ = ["TABLE_SIZE", "Field", "Fields", "HpackFault", "ListTooLarge", "ReadTable", "WriteTable", "decode", "encode"]

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

_STATIC: Fields = tuple((name.decode("ascii"), value.decode("ascii")) for name, value in HeaderTable.STATIC_TABLE)
_STATIC_INDEX = {field: index for index, field in enumerate(_STATIC, 1)}
_STATIC_NAME = {name: index for index, (name, _) in reversed(list(enumerate(_STATIC, 1)))}

# How a field is represented (§6), and the bits of the first byte that are left for an index or a size.
_INDEXED, _INDEXED_BITS = 0x80, 0x7F
_ENTERING, _ENTERING_BITS = 0x40, 0x3F
_UPDATE, _UPDATE_BITS = 0x20, 0x1F
_NEVER, _PLAIN_BITS = 0x10, 0x0F
_HUFFMAN, _LENGTH_BITS = 0x80, 0x7F
#: Bits of a number beyond its first byte: up to 2**35, more than anything here may be.
_NUMBER_BITS = 35


class HpackFault(Exception):
    """A block that cannot be decoded. What the peer's table holds is not known from then on."""


class ListTooLarge(HpackFault):
    """The fields of a block are larger than they may be."""


# ---------------------------------------------------------------- reading


class ReadTable:
    """The peer's dynamic table. entries: the newest first; limit, size: bytes as §4.1 counts them."""

    __slots__ = ("entries", "limit", "size")

    def __init__(self, entries: Fields = (), limit: int = TABLE_SIZE, size: int = 0) -> None:
        self.entries = entries
        self.limit = limit
        self.size = size

    def at(self, index: int) -> Field:
        """The field of that index (§2.3.3). Raises HpackFault."""
        if not 0 < index <= len(_STATIC) + len(self.entries):
            raise HpackFault(f"no entry {index} in the table")
        return _STATIC[index - 1] if index <= len(_STATIC) else self.entries[index - len(_STATIC) - 1]

    def entered(self, field: Field) -> ReadTable:
        """With one more entry, and without those for which no room is left (§4.4)."""
        return _fitting((field, *self.entries), self.limit, self.size + _size_of(field))

    def resized(self, limit: int) -> ReadTable:
        """With another limit (§4.3). Raises HpackFault above ours."""
        if limit > TABLE_SIZE:
            raise HpackFault(f"table size update to {limit} bytes, at most {TABLE_SIZE}")
        return self if limit == self.limit else _fitting(self.entries, limit, self.size)


def _fitting(entries: Fields, limit: int, size: int) -> ReadTable:
    count = len(entries)
    while size > limit:
        count -= 1
        size -= _size_of(entries[count])
    return ReadTable(entries[:count], limit, size)


def _size_of(field: Field) -> int:
    return len(field[0]) + len(field[1]) + 32


def decode(block: bytes, table: ReadTable, largest: int) -> tuple[Fields, ReadTable]:
    """The block's fields, as text of latin-1, and the table for the next; the same one if nothing has changed.

    largest: bytes of all fields, counted as in the table. Raises HpackFault.
    """
    fields: list[Field] = []
    at = size = updates = 0
    try:
        while at < len(block):
            first = block[at]
            if first & _INDEXED:
                index, at = _number(block, at, _INDEXED_BITS)
                field = table.at(index)
            elif first & (_ENTERING | _UPDATE) == _UPDATE:
                updates += 1
                if fields or updates > 2:  # a shrinking and the size that counts (§4.2)
                    raise HpackFault("a table size update that is late, or one too many")
                limit, at = _number(block, at, _UPDATE_BITS)
                table = table.resized(limit)
                continue
            else:
                enters = first & _ENTERING
                index, at = _number(block, at, _ENTERING_BITS if enters else _PLAIN_BITS)
                if index:
                    name = table.at(index)[0]
                else:
                    name, at = _text(block, at)
                value, at = _text(block, at)
                field = (name, value)
                if enters:
                    table = table.entered(field)
            size += _size_of(field)
            if size > largest:
                raise ListTooLarge(f"header list over {largest} bytes")
            fields.append(field)
    except IndexError:
        raise HpackFault("the header block is cut off") from None
    return tuple(fields), table


def _number(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """A number (§5.1) and where it ends."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in range(0, _NUMBER_BITS, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise HpackFault("a number that is too large")


def _text(block: bytes, at: int) -> tuple[str, int]:
    """A string (§5.2) and where it ends."""
    is_packed = block[at] & _HUFFMAN
    length, at = _number(block, at, _LENGTH_BITS)
    end = at + length
    if end > len(block):
        raise HpackFault("a string is cut off")
    data = block[at:end]
    if is_packed:
        try:
            data = decode_huffman(data)
        except HPACKError as error:
            raise HpackFault(str(error)) from error
    return data.decode("latin-1"), end  # loses and refuses nothing


# ---------------------------------------------------------------- writing


class WriteTable:
    """The table that we keep in the peer. It only grows: nothing is entered that would push out an entry.

    entries: fields and the how-manieth each was; limit, room: bytes of it and what is left; updates: what the next
    block has to say of the limit first.
    """

    __slots__ = ("entries", "limit", "room", "updates")

    def __init__(
        self,
        entries: dict[Field, int] | None = None,
        limit: int = TABLE_SIZE,
        room: int = TABLE_SIZE,
        updates: bytes = b"",
    ) -> None:
        self.entries = {} if entries is None else entries
        self.limit = limit
        self.room = room
        self.updates = updates

    @classmethod
    def limited(cls, limit: int) -> WriteTable:
        """A new beginning with that many bytes.

        It goes down to nothing first: what the peer keeps of the old one is then known to both. However often it
        changes before the next block, these are the two updates that are allowed (§4.2).
        """
        updates = bytearray()
        for size in (0, limit) if limit else (0,):
            _put_number(updates, _UPDATE, _UPDATE_BITS, size)
        return cls({}, limit, limit, bytes(updates))


def encode(fields: Fields, table: WriteTable) -> tuple[bytes, WriteTable]:
    """The block for fields of latin-1 text, and the table for the next; the same one if nothing has changed.

    Text is sent as it is: packing it by Huffman's code takes longer than sending it. Metadata is marked as never to be
    entered (§7.1.3), also by others on the way.
    """
    out = bytearray(table.updates)
    entries, room = table.entries, table.room
    for field in fields:
        if (index := _STATIC_INDEX.get(field)) is not None:
            out.append(_INDEXED | index)
            continue
        if (number := entries.get(field)) is not None:
            _put_number(out, _INDEXED, _INDEXED_BITS, len(_STATIC) + 1 + len(entries) - number)
            continue
        name, value = field
        index = _STATIC_NAME.get(name, 0)
        if name in _ENTERED and (size := _size_of(field)) <= room:
            if entries is table.entries:
                entries = dict(entries)
            entries[field] = len(entries) + 1
            room -= size
            _put_number(out, _ENTERING, _ENTERING_BITS, index)
        else:
            _put_number(out, _NEVER, _PLAIN_BITS, index)
        if not index:
            _put_text(out, name)
        _put_text(out, value)
    if entries is not table.entries or table.updates:
        table = WriteTable(entries, table.limit, room)
    return bytes(out), table


def _put_number(out: bytearray, flags: int, mask: int, value: int) -> None:
    if value < mask:
        out.append(flags | value)
        return
    out.append(flags | mask)
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _put_text(out: bytearray, text: str) -> None:
    data = text.encode("latin-1")
    _put_number(out, 0, _LENGTH_BITS, len(data))
    out += data
