"""Tables that are values, on the examples of RFC 7541, Appendix C; the rest is in test_fields.py."""

from __future__ import annotations

import pytest

from orbit_lite.http2.hpack import Fields, HpackFault, ListTooLarge, Reader, ReadTable, Writer, WriteTable

LARGEST = 1 << 16
FIRST: Fields = ((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com"))
SECOND: Fields = (*FIRST, ("cache-control", "no-cache"))
THIRD: Fields = (
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/index.html"),
    (":authority", "www.example.com"),
    ("custom-key", "custom-value"),
)
MOVED: Fields = (
    (":status", "302"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
    ("location", "https://www.example.com"),
)
FOUND: Fields = (
    (":status", "200"),
    ("cache-control", "private"),
    ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
    ("location", "https://www.example.com"),
    ("content-encoding", "gzip"),
    ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
)


@pytest.mark.parametrize(
    ("limit", "steps"),
    [
        pytest.param(
            4096,
            [
                ("828684410f7777772e6578616d706c652e636f6d", FIRST, 57),
                ("828684be58086e6f2d6361636865", SECOND, 110),
                ("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", THIRD, 164),
            ],
            id="C.3",
        ),
        pytest.param(
            4096,
            [
                ("828684418cf1e3c2e5f23a6ba0ab90f4ff", FIRST, 57),
                ("828684be5886a8eb10649cbf", SECOND, 110),
                ("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", THIRD, 164),
            ],
            id="C.4",
        ),
        pytest.param(
            256,
            [
                (
                    "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
                    "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
                    MOVED,
                    222,
                ),
                ("4803333037c1c0bf", ((":status", "307"), *MOVED[1:]), 222),
                (
                    "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738"
                    "666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d33363030"
                    "3b2076657273696f6e3d31",
                    FOUND,
                    215,
                ),
            ],
            id="C.5",
        ),
    ],
)
def test_the_examples_of_the_rfc(limit: int, steps: list[tuple[str, Fields, int]]) -> None:
    """Each block read where the one before it was, and by a reader that begins with the table which that one left."""
    going_on = Reader(ReadTable((), limit), LARGEST)
    table = going_on.table
    for block, fields, size in steps:
        beginning = Reader(table, LARGEST)
        assert going_on.decode(bytes.fromhex(block)) == beginning.decode(bytes.fromhex(block)) == fields
        assert going_on.table.entries == beginning.table.entries
        table = going_on.table
        assert size == sum(len(name) + len(value) + 32 for name, value in table.entries)


def test_a_number_of_several_bytes() -> None:
    """C.1.2"""
    reader = Reader(ReadTable(), LARGEST)
    reader.decode(b"\x3f\x9a\x0a")
    assert reader.table.limit == 1337


def test_a_table_never_changes() -> None:
    table = ReadTable()
    block = b"\x40\x01a\x01b"
    reader = Reader(table, LARGEST)
    reader.decode(block)
    first = reader.table
    reader.decode(block)
    assert (table.entries, first.entries) == ((), ((b"a", b"b"),))
    assert reader.table.entries == ((b"a", b"b"),) * 2
    reader = Reader(first, LARGEST)
    assert reader.decode(b"\xbe") == (("a", "b"),)
    assert reader.table is first
    written = WriteTable()
    assert Writer(written).encode(FIRST) == Writer(written).encode(FIRST)
    assert not written.entries


def test_an_entry_that_pushes_out_its_like_makes_another_table() -> None:
    reader = Reader(ReadTable((), 34), LARGEST)
    reader.decode(b"\x40\x01a\x01b")
    before = reader.table
    reader.decode(b"\x40\x01a\x01c")
    assert before.entries == ((b"a", b"b"),)
    assert reader.table.entries == ((b"a", b"c"),)


def test_a_writer_goes_on_from_any_table() -> None:
    writer = Writer(WriteTable.limited(200))
    reader = Reader(ReadTable(), LARGEST)
    for fields in (FIRST, SECOND, FIRST, THIRD, (*THIRD, ("x-id", "1")), FIRST):
        again = Writer(writer.table).encode(fields)
        block = writer.encode(fields)
        assert block == again
        assert reader.decode(block) == fields
    assert reader.table.limit == 200
    assert {(name.decode(), value.decode()) for name, value in reader.table.entries} == set(writer.table.entries)


@pytest.mark.parametrize(
    "block",
    ["80", "be", "ff80808080808001", "40", "4001", "400161", "40016105", "0f", "7f", "4081ff0161", "3fe21f", "8220"],
)
def test_what_means_nothing_is_a_fault(block: str) -> None:
    with pytest.raises(HpackFault):
        Reader(ReadTable(), LARGEST).decode(bytes.fromhex(block))


def test_a_list_is_as_large_as_it_may_be_and_no_larger() -> None:
    block, size = b"\x82" * 10, 10 * (len(":method") + len("GET") + 32)
    assert len(Reader(ReadTable(), size).decode(block)) == 10
    with pytest.raises(ListTooLarge):
        Reader(ReadTable(), size - 1).decode(block)
