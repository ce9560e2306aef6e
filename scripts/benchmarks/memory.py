"""What a server pays in memory for a connection and for a stream that are open and idle.

The difference of the process's resident memory before and after, divided by their number, in fresh processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.processes import Contender, Pair
from benchmarks.run import OURS, Run, Step

CONNECTIONS = "idle connection"
STREAMS = "open stream"
KINDS = ("orbit-lite", "grpclib", "grpc.aio", "asyncio echo")
MOST_STREAMS = {"grpclib": 90}  # h2 stops at 100
#: Calls and streams before the first look, so that what a server allocates once is not counted.
USED = 0.1
COUNT, QUICK_COUNT = 1000, 100


def memory(run: Run) -> Iterator[Step]:
    count = QUICK_COUNT if run.quick else COUNT
    contenders = run.of_kind(*KINDS)
    for contender in contenders:
        text = f"{count:,} connections that have made one call each"
        if contender.kind != "asyncio echo":
            raised = ", limit raised" if contender.kind == OURS else ""
            text += f"; {min(count, MOST_STREAMS.get(contender.kind, count)):,} streams on one connection{raised}"
        run.results.note("memory", contender.name, text)
    for _, contender in run.interleaved(contenders):
        yield f"memory: {count:,} connections, {contender.name}", partial(connections, run, contender, count)
        if contender.kind == "asyncio echo":
            continue
        streams = min(count, MOST_STREAMS.get(contender.kind, count))
        yield f"memory: {streams:,} streams, {contender.name}", partial(open_streams, run, contender, streams)


def connections(run: Run, contender: Contender, count: int) -> None:
    with Pair(contender) as pair:
        pair.connect(4)
        pair.run("tiny", 16, USED)
        pair.close()
        before = pair.server_memory()
        pair.connect(count)
        pair.expect(count)
        run.results.add("memory", CONNECTIONS, contender.name, kilobytes(pair.server_memory() - before, count))


def open_streams(run: Run, contender: Contender, count: int) -> None:
    with Pair(contender, streams=count + 100 if contender.kind == OURS else None) as pair:
        pair.connect()
        pair.run("tiny", 16, USED)
        pair.client.ask("hold", count=5)
        before = pair.server_memory()
        pair.client.ask("hold", count=count)
        run.results.add("memory", STREAMS, contender.name, kilobytes(pair.server_memory() - before, count))


def kilobytes(size: float, count: int) -> dict[str, float]:
    return {"kb": max(0.0, size) / count / 1000}
