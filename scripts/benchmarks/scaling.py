"""What a tiny call costs while more and more streams, or connections, are open."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.processes import Contender, Pair
from benchmarks.run import OURS, REFERENCE, Run, Step

IN_FLIGHT = 16
COUNTS = (1, 10, 100, 1000)
QUICK_COUNTS = (1, 100)


def streams_case(count: int) -> str:
    return f"{count:,} open stream{'s' if count > 1 else ''}"


def connections_case(count: int) -> str:
    return f"{count:,} connection{'s' if count > 1 else ''}"


def scaling(run: Run) -> Iterator[Step]:
    counts = QUICK_COUNTS if run.quick else COUNTS
    contenders = run.of_kind(OURS, REFERENCE)
    for contender in contenders:
        raised = ", stream limit raised" if contender.kind == OURS else ""
        run.results.note("scaling", contender.name, f"tiny calls, {IN_FLIGHT} in flight{raised}")
    for _, contender in run.interleaved(contenders):
        yield f"scaling: open streams, {contender.name}", partial(streams, run, contender, counts)
        yield f"scaling: connections, {contender.name}", partial(connections, run, contender, counts)


def streams(run: Run, contender: Contender, counts: tuple[int, ...]) -> None:
    """Idle streams beside the calls, on the same connection."""
    with Pair(contender, streams=2 * counts[-1] if contender.kind == OURS else None) as pair:
        pair.connect()
        pair.run("tiny", IN_FLIGHT, run.warm_up(contender))
        held = 0
        for count in counts:
            pair.client.ask("hold", count=count - held)
            held = count
            pair.run("tiny", IN_FLIGHT, run.seconds / 5)
            run.results.add("scaling", streams_case(count), contender.name, pair.run("tiny", IN_FLIGHT, run.seconds))


def connections(run: Run, contender: Contender, counts: tuple[int, ...]) -> None:
    """The calls take all connections in turn."""
    with Pair(contender) as pair:
        for count in counts:
            pair.connect(count)
            pair.run("tiny", IN_FLIGHT, run.warm_up(contender))
            found = pair.run("tiny", IN_FLIGHT, run.seconds)
            pair.expect(count)
            run.results.add("scaling", connections_case(count), contender.name, found)
            pair.close()
