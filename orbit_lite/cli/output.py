"""What verbs write to stdout: tables and lines for people, JSON documents for machines.

Only a terminal gets styles, and none under NO_COLOR (no-color.org). A pipe gets lines as wide as their content, without
trailing blanks. Text that came from a peer is made fit for a terminal by `errors.quote`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from orbit_lite.errors import quote

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Column", "console", "is_terminal", "json_text", "print_json", "print_pairs", "print_table"]

#: A heading; with a leading ">" the column holds numbers and is aligned to the right.
Column = str

_PIPE_WIDTH = 1_000_000


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether a person sees the stream (stdout unless told) as it is written."""
    return (stream or sys.stdout).isatty()


def console(*, stderr: bool = False) -> Console:
    """A console that takes text as it is."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        color_system="auto" if is_terminal(stream) and not os.environ.get("NO_COLOR") else None,
        width=None if is_terminal(stream) else _PIPE_WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=True,
    )


def json_text(value: object, *, indent: int | None = 2) -> str:
    """JSON in the characters that stdout can write."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    return json.dumps(value, ensure_ascii=not encoding.startswith("utf"), indent=indent)


def print_json(value: object, *, indent: int | None = 2) -> None:
    """One JSON document; indent None puts it on one line."""
    print(json_text(value, indent=indent))


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[object]], *, empty: str = "nothing") -> None:
    """Rows under headings; `empty` is said when there are none."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        is_number = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(quote(str(cell), 500)) for cell in row))
    if not table.rows:
        print(empty)
        return
    out = console()
    if is_terminal():
        out.print(table)
        return
    with out.capture() as capture:
        out.print(table)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, the values below each other."""
    shown = [(name, quote(str(value), 2000)) for name, value in pairs]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name:<{width}}  {value}")
