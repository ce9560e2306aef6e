"""What a tiny call costs while more and more streams, or connections, are open.

What is judged has as many calls in flight with one connection as with a thousand, and as many calls in each read: one
call at a time, which takes the connections in turn. With 16 calls in flight a single connection carries several in one
read and one write, and from 16 connections on each call has its own: so that figure shows what batching saves, and from
then on what a thousand connections cost. It is shown, and not judged. Streams share one connection in all cases.
"""

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


def connections_case(count: int, in_flight: int = 1) -> str:
    return f"{count:,} connection{'s' if count > 1 else ''}" + (f", {in_flight} in flight" if in_flight > 1 else "")


def scaling(run: Run) -> Iterator[Step]:
    counts = QUICK_COUNTS if run.quick else COUNTS
    contenders = run.of_kind(OURS, REFERENCE)
    for contender in contenders:
        raised = ", stream limit raised" if contender.kind == OURS else ""
        run.results.note("scaling", contender.name, f"tiny calls; beside open streams {IN_FLIGHT} in flight{raised}")
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
            for in_flight in (1, IN_FLIGHT):
                found = pair.run("tiny", in_flight, run.seconds)
                run.results.add("scaling", connections_case(count, in_flight), contender.name, found)
            pair.expect(count)
            pair.close()
