"""Reading the demo's input: every row of any file is a transfer or a reported rejection, on the right lines."""

from __future__ import annotations

import csv
import io
import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.cli.demo.rows import NAME_LIMIT, NOTE_LIMIT, Rejection, Sheet, Transfer, read_sheet
from orbit_lite.errors import ParseError

HEADER = b"from,to,amount,note\n"


def rejected(row: bytes) -> Rejection:
    sheet = read_sheet(HEADER + row)
    assert sheet.transfers == ()
    (rejection,) = sheet.rejections
    return rejection


# ---------------------------------------------------------------- what is read


def test_a_row_becomes_a_transfer_in_cents() -> None:
    assert read_sheet(HEADER + "alice,Žofie,12.5,für Kaffee ☕\n".encode()).transfers == (
        Transfer(2, "alice", "Žofie", 1250, "für Kaffee ☕"),
    )


@pytest.mark.parametrize(
    "note",
    [
        "🦊🏳️‍🌈 emoji made of several characters",
        "שלום, עולם",
        "مرحبا",
        "e\u0301 with a combining accent",
        'she said "yes"',
        "two\nlines",
        "windows\r\nlines, with a comma",
        "\u2028 separators \u0085 that are no newline in CSV",
        "  blanks kept  ",
    ],
)
def test_notes_of_any_script_come_through_unchanged(note: str) -> None:
    text = io.StringIO()
    csv.writer(text).writerow(["a", "b", "1", note])
    assert read_sheet(HEADER + text.getvalue().encode()).transfers[0].note == note


def test_a_byte_order_mark_is_skipped() -> None:
    assert len(read_sheet(b"\xef\xbb\xbf" + HEADER + b"a,b,1,\n").transfers) == 1


def test_columns_may_stand_in_any_order_and_case_beside_others() -> None:
    sheet = read_sheet(b"Date, AMOUNT ,To,from\n2024-01-01,3,b,a\n")
    assert sheet.transfers == (Transfer(2, "a", "b", 300),)


def test_names_lose_the_blanks_around_them() -> None:
    assert read_sheet(HEADER + b" a , b , 1 ,x\n").transfers == (Transfer(2, "a", "b", 100, "x"),)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_lines_are_counted_inside_quotes_too(newline: bytes) -> None:
    lines = [b"from,to,amount,note", b'a,b,1,"one', b"", b'three"', b"", b"c,d,2,", b"e,f,x,"]
    sheet = read_sheet(newline.join(lines))
    assert [transfer.line for transfer in sheet.transfers] == [2, 6]
    assert [(rejection.first, rejection.last) for rejection in sheet.rejections] == [(7, 7)]


def test_accounts_are_listed_once_in_order_of_first_mention() -> None:
    assert read_sheet(HEADER + b"b,a,1,\na,c,1,\nb,c,1,\n").accounts == ["b", "a", "c"]


# ---------------------------------------------------------------- what is rejected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"a,b,1\n", "3 columns where the header has 4"),
        (b"a,b,1,x,y\n", "5 columns where the header has 4"),
        (b",b,1,\n", "from is empty"),
        (b"a,  ,1,\n", "to is empty"),
        (b"a, a ,1,\n", "from and to are the same account, 'a'"),
        (b"a,b,,\n", "amount '': is empty"),
        (b"a,b,0,\n", "amount '0': must be more than 0"),
        (b"a,b,0.00,\n", "amount '0.00': must be more than 0"),
        (b"a,b,-5,\n", "amount '-5': must be more than 0"),
        (b"a,b,1.234,\n", "amount '1.234': has more than two decimals"),
        (b'a,b,"1,50",\n', "write it with a decimal point and without separators"),
        (b"a,b,1e3,\n", "is not a decimal number"),
        (b"a,b,NaN,\n", "is not a decimal number"),
        ("a,b,١٢,\n".encode(), "is not a decimal number"),
        (b"a,b,1000000000.01,\n", "at most 1,000,000,000.00"),
        (b"a,b," + b"9" * 5000 + b",\n", "at most 1,000,000,000.00"),
        (b"a,b,1,caf\xe9\n", "byte 0xe9 is not UTF-8"),
        (b"a,b,1,\xed\xa0\x80\n", "byte 0xed is not UTF-8"),  # a surrogate has no UTF-8 form
        (b"a\x00,b,1,\n", "from holds the control character U+0000"),
        (b'a,"b\nc",1,\n', "to holds the control character U+000A"),
        (b"a,b,1,x\x00\n", "the note holds a NUL character"),
        (b"a" * (NAME_LIMIT + 1) + b",b,1,\n", "from has 201 characters"),
        (b"a,b,1," + b"n" * (NOTE_LIMIT + 1) + b"\n", "the note has 4,001 characters"),
        (b'a,b,1,"x"y\n', "text behind a closing quote"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason(row: bytes, reason: str) -> None:
    assert reason in rejected(row).reason


def test_a_quote_that_stays_open_takes_the_rest_of_the_file_and_makes_no_transfer_of_it() -> None:
    rejection = rejected(b'a,b,1,"open\nalice,mallory,500,\nx,y,1,\n')
    assert (rejection.first, rejection.last) == (2, 5)
    assert "never closed" in rejection.reason


def test_rows_behind_a_bad_one_are_read() -> None:
    sheet = read_sheet(HEADER + b'a,b,1,"x"y\nc,d,2,\n')
    assert [transfer.line for transfer in sheet.transfers] == [3]


def test_the_text_of_a_rejected_row_is_fit_for_one_line_of_a_terminal() -> None:
    assert rejected("a,b,x,\x1b[31m\u202e\n".encode()).text == "a,b,x,\\x1b[31m\\u202e"


# ---------------------------------------------------------------- no usable header


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (b"\n \n\r\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\xff\xfef\x00r\x00", "UTF-16"),
        (b"from,amount\n", "lacks the column 'to'"),
        (b"alice,bob,12.50,rent\n", "lacks the column 'from' and the column 'to' and the column 'amount'"),
        (b"from;to;amount\n", "lacks"),
        (b"from,to,amount,to\n", "names the column 'to' more than once"),
        (b'"from,to,amount\n', "never closed"),
    ],
)
def test_a_header_that_cannot_be_used_is_an_error_that_says_why(data: bytes, problem: str) -> None:
    with pytest.raises(ParseError, match=re.escape(problem)):
        read_sheet(data)


# ---------------------------------------------------------------- any bytes

_PIECES = st.sampled_from(
    [
        *map(str.encode, [",", '"', '""', "\n", "\r", "\r\n", " ", "a", "1.5", "\0", "é", "a,b,1,\n", 'a,b,1,"n"\n']),
        b"\xff",
    ]
)
_BODIES = st.lists(_PIECES, max_size=40).map(b"".join) | st.binary(max_size=80)


def spans(sheet: Sheet, data: bytes) -> list[tuple[int, int]]:
    """The lines of every row, from what the sheet says: a transfer ends where its quoted note does."""
    ends = {rejection.first: rejection.last for rejection in sheet.rejections}
    return sorted(
        [(row.line, row.line + len(re.findall("\r\n|\r|\n", row.note))) for row in sheet.transfers] + list(ends.items())
    )


@given(_BODIES)
def test_on_any_bytes_every_line_belongs_to_one_row_or_is_blank(body: bytes) -> None:
    data = HEADER + body
    sheet = read_sheet(data)
    lines = re.split("\r\n|\r|\n", data.decode("utf-8", "surrogateescape"))
    covered: list[int] = [1]
    for first, last in spans(sheet, data):
        assert first > covered[-1], "rows stand apart and in order"
        covered += range(first, last + 1)
    assert all(not lines[number - 1].strip(" \t") for number in range(1, len(lines) + 1) if number not in covered)
    assert covered[-1] <= len(lines)


@given(st.binary(max_size=200))
def test_on_any_bytes_there_is_a_sheet_or_an_error_about_the_header(data: bytes) -> None:
    with suppress(ParseError):
        assert isinstance(read_sheet(data), Sheet)


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
_NAMES = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=10)


@given(
    st.lists(st.tuples(_NAMES, _NAMES, st.integers(1, 10**11), _TEXT).filter(lambda row: row[0] != row[1]), max_size=8),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_standard_library_writes_is_read_back(rows: list[tuple[str, str, int, str]], newline: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writerow(["from", "to", "amount", "note"])
    writer.writerows(
        (sender, receiver, f"{cents // 100}.{cents % 100:02}", note) for sender, receiver, cents, note in rows
    )
    sheet = read_sheet(text.getvalue().encode())
    assert sheet.rejections == ()
    assert [(row.sender, row.receiver, row.amount, row.note) for row in sheet.transfers] == rows
