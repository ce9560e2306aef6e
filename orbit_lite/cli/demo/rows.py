"""The demo's input: bytes of a CSV file → transfers and rejected rows, each with the lines it stands on.

RFC 4180 in UTF-8 (a byte order mark is skipped), with rows ended by CRLF, LF or CR. The first row names the columns:
`from`, `to`, `amount` and, if wanted, `note`, in any order and case; further columns are ignored. Blank lines too.

On any bytes whatever: either ParseError, because there is no usable header, or a sheet in which every row of the file
is accounted for once. A row is never guessed at. In particular, when a quote stays open to the end of the file,
everything behind it is one rejected row: what stands inside a quoted note must not be taken for a transfer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orbit_lite.cli.demo.money import parse_cents
from orbit_lite.errors import ParseError, quote

__all__ = ["NAME_LIMIT", "NOTE_LIMIT", "Rejection", "Sheet", "Transfer", "read_sheet"]

#: Characters, not bytes. Names become actor keys and are printed in tables; notes travel with every invocation.
NAME_LIMIT = 200
NOTE_LIMIT = 4_000

_REQUIRED = ("from", "to", "amount")
_NEWLINE = re.compile("\r\n|\r|\n")
_BARE_FIELD = re.compile("[^,\r\n]*")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_UNDECODED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Transfer:
    """A valid row. line: where it begins, from 1. amount: cents."""

    line: int
    sender: str
    receiver: str
    amount: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that is no transfer. It stands on the lines first..last; text: its beginning, fit for one line of print."""

    first: int
    last: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a file holds, in its order."""

    transfers: tuple[Transfer, ...]
    rejections: tuple[Rejection, ...]

    @property
    def accounts(self) -> list[str]:
        """Every account that a transfer names, in order of first mention."""
        return list(dict.fromkeys(name for row in self.transfers for name in (row.sender, row.receiver)))


@dataclass(frozen=True, slots=True)
class _Row:
    """A row as the scanner found it; `problem` says why `fields` is empty where it could not be read."""

    first: int
    last: int
    text: str
    fields: tuple[str, ...]
    problem: str = ""


def read_sheet(data: bytes) -> Sheet:
    """Read a whole file. Raises ParseError when the header is missing, unreadable or lacks a column."""
    rows = _scan(_decode(data))
    header = next(rows, None)
    if header is None:
        raise ParseError(f"the input is empty: its first row must name the columns {', '.join(_REQUIRED)} and note")
    columns = _columns(header)
    transfers, rejections = [], []
    for row in rows:
        try:
            transfers.append(_transfer(row, columns))
        except ParseError as error:
            rejections.append(Rejection(row.first, row.last, error.message, _shown(row.text)))
    return Sheet(tuple(transfers), tuple(rejections))


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ParseError("the input is UTF-16: save it as UTF-8")
    # Bytes that are no UTF-8 become lone surrogates here, and a reason for rejection in the row that holds them.
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


# ---------------------------------------------------------------- text → rows


def _scan(text: str) -> Iterator[_Row]:
    """The rows of the text that are not blank. Lines are counted as an editor counts them, inside quotes too."""
    at, line = 0, 1
    while at < len(text):
        fields, end, problem = _scan_row(text, at)
        raw = text[at:end]
        last = line + len(_NEWLINE.findall(raw))
        if raw.strip(" \t"):
            yield _Row(line, last, raw, fields, problem)
        newline = _NEWLINE.match(text, end)
        at = newline.end() if newline else end
        line = last + 1


def _scan_row(text: str, at: int) -> tuple[tuple[str, ...], int, str]:
    """(fields, where the row ends before its newline, problem). `at` is where the row begins."""
    fields: list[str] = []
    while True:
        if text.startswith('"', at):
            field, at = _scan_quoted(text, at + 1)
            if field is None:
                return (), len(text), "a quote is opened but never closed, so the rest of the file was not read"
        else:
            match = _BARE_FIELD.match(text, at)
            field, at = (match[0], match.end()) if match else ("", at)
        fields.append(field)
        if at == len(text) or text[at] in "\r\n":
            return tuple(fields), at, ""
        if text[at] != ",":
            newline = _NEWLINE.search(text, at)
            end = newline.start() if newline else len(text)
            return (), end, "text behind a closing quote; a quote inside a quoted field is written twice"
        at += 1


def _scan_quoted(text: str, start: int) -> tuple[str | None, int]:
    """(field, index behind its closing quote); `start` is behind the opening one. None: no quote closes the field."""
    at = start
    while (at := text.find('"', at)) >= 0:
        if not text.startswith('"', at + 1):
            return text[start:at].replace('""', '"'), at + 1
        at += 2
    return None, len(text)


# ---------------------------------------------------------------- rows → transfers


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where each column stands; note is None where the file has none. width: how many there are."""

    sender: int
    receiver: int
    amount: int
    note: int | None
    width: int


def _columns(header: _Row) -> _Columns:
    if header.problem:
        raise ParseError(f"the header, line {header.first}: {header.problem}")
    names = [name.strip().lower() for name in header.fields]
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise ParseError(
            f"the header, line {header.first}, lacks {_listed(missing)}: it reads {_shown(header.text)!r}; "
            f"the first row must name the columns {', '.join(_REQUIRED)} and note"
        )
    doubled = [name for name in (*_REQUIRED, "note") if names.count(name) > 1]
    if doubled:
        raise ParseError(f"the header, line {header.first}, names {_listed(doubled)} more than once")
    note = names.index("note") if "note" in names else None
    return _Columns(names.index("from"), names.index("to"), names.index("amount"), note, len(names))


def _shown(text: str) -> str:
    """The beginning of a row, fit for one line of print; bytes that are no UTF-8 as \\xNN."""
    return quote(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), 60)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(f"the column {name!r}" for name in names)


def _transfer(row: _Row, columns: _Columns) -> Transfer:
    if undecoded := _UNDECODED.search(row.text):
        raise ParseError(f"byte 0x{ord(undecoded[0]) - 0xDC00:02x} is not UTF-8")
    if row.problem:
        raise ParseError(row.problem)
    if len(row.fields) != columns.width:
        raise ParseError(f"{len(row.fields)} columns where the header has {columns.width}")
    sender = _name("from", row.fields[columns.sender])
    receiver = _name("to", row.fields[columns.receiver])
    amount = parse_cents(row.fields[columns.amount].strip())
    if sender == receiver:
        raise ParseError(f"from and to are the same account, {quote(sender, 40)!r}")
    note = "" if columns.note is None else row.fields[columns.note]
    if len(note) > NOTE_LIMIT:
        raise ParseError(f"the note has {len(note):,} characters, at most {NOTE_LIMIT:,} are taken")
    if "\x00" in note:
        raise ParseError("the note holds a NUL character")
    return Transfer(row.first, sender, receiver, amount, note)


def _name(column: str, field: str) -> str:
    name = field.strip()
    if not name:
        raise ParseError(f"{column} is empty")
    if len(name) > NAME_LIMIT:
        raise ParseError(f"{column} has {len(name):,} characters, at most {NAME_LIMIT} are taken")
    if control := _CONTROL.search(name):
        raise ParseError(f"{column} holds the control character U+{ord(control[0]):04X}")
    return name
