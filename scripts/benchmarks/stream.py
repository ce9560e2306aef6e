"""One bidirectional stream of small messages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.load import WINDOW
from benchmarks.processes import Contender
from benchmarks.run import Run, Step

CASE = "81 bytes"


def stream(run: Run) -> Iterator[Step]:
    for contender in run.contenders:
        run.results.note("stream", contender.name, f"messages, not calls; at most {WINDOW} without a reply")
    for repeat, contender in run.interleaved(run.contenders):
        yield f"stream: {contender.name}", partial(measure, run, contender, repeat)


def measure(run: Run, contender: Contender, repeat: int) -> None:
    pair = run.pair(contender)
    pair.connect()
    try:
        pair.chat(run.warm_up(contender) if repeat == 0 else run.seconds / 5)
        run.results.add("stream", CASE, contender.name, pair.chat(run.seconds))
    finally:
        pair.close()
