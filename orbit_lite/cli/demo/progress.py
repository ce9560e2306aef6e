"""How far the demo is, on stderr, so that stdout is the report: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orbit_lite.cli.output import console, is_terminal

__all__ = ["Progress"]

_LINE_EVERY = 2.0  # seconds between lines where there is no terminal


class Progress:
    """Says what is going on, unless it is quiet."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def say(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def count(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Gives a function that is to be told how many are done, of `total`."""
        if self._quiet:
            yield lambda done: None
        elif is_terminal(sys.stderr):
            yield from _bar(what, total)
        else:
            yield _lines(what, total)


def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(what: str, total: int) -> Callable[[int], None]:
    spoken = -math.inf

    def tell(done: int) -> None:
        nonlocal spoken
        now = time.monotonic()
        if now - spoken >= _LINE_EVERY or done == total:
            spoken = now
            print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)

    return tell
