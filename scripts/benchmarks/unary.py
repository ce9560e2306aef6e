"""Unary calls: two works at several numbers in flight, through the pool, and payloads of four sizes."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.processes import Contender, Pair
from benchmarks.run import Run, Step

WORKS = ("tiny", "typical")
IN_FLIGHT = (1, 16, 128)
POOL = (1, 4, 10)
POOL_IN_FLIGHT = 128
#: How often a load of RAMP seconds is put on a pool, which dials one connection after the other, until all are open.
RAMPS, RAMP = 100, 0.1
PAYLOADS = {"0 B": 0, "1 KB": 1 << 10, "64 KB": 1 << 16, "1 MB": 1 << 20}
PAYLOADS_IN_FLIGHT = 4


def case(work: str, in_flight: int) -> str:
    return f"{work}, {in_flight} in flight"


def pool_case(work: str, connections: int) -> str:
    return f"{work}, {connections} connection{'s' if connections > 1 else ''}"


def unary(run: Run) -> Iterator[Step]:
    for work in WORKS:
        for in_flight in IN_FLIGHT:
            yield from measured(run, "unary", case(work, in_flight), work, in_flight)
    for contender in run.of_kind("grpclib"):
        run.results.note("unary", contender.name, "h2 lets 100 of 128 calls run at once")


def pool(run: Run) -> Iterator[Step]:
    for contender in run.contenders:
        ours = contender.kind == "orbit-lite"
        text = "its pool, soft_stream_limit lowered so that all connections open" if ours else "connections in turn"
        run.results.note("pool", contender.name, f"{text}; {POOL_IN_FLIGHT} calls in flight")
    for work in WORKS:
        for connections in POOL:
            name = pool_case(work, connections)
            yield from measured(run, "pool", name, work, POOL_IN_FLIGHT, connections=connections, pooled=True)


def payload(run: Run) -> Iterator[Step]:
    for contender in run.contenders:
        run.results.note("payload", contender.name, f"both ways, {PAYLOADS_IN_FLIGHT} calls in flight")
    for name, size in PAYLOADS.items():
        yield from measured(run, "payload", name, "payload", PAYLOADS_IN_FLIGHT, size=size)


def ramp_up(pair: Pair, work: str, in_flight: int, connections: int) -> None:
    for _ in range(RAMPS):
        if pair.connections() in {None, connections}:
            return
        pair.run(work, in_flight, RAMP)


def measured(
    run: Run,
    scenario: str,
    name: str,
    work: str,
    in_flight: int,
    *,
    size: int = 0,
    connections: int = 1,
    pooled: bool = False,
) -> Iterator[Step]:
    """Steps that measure one case of all contenders."""

    def measure(contender: Contender, repeat: int) -> None:
        pair = run.pair(contender)
        pair.connect(connections, pool=in_flight if pooled else None)
        try:
            pair.run(work, in_flight, run.warm_up(contender) if repeat == 0 else run.seconds / 5, size)
            if pooled:
                ramp_up(pair, work, in_flight, connections)
            found = pair.run(work, in_flight, run.seconds, size)
            pair.expect(connections)
        finally:
            pair.close()
        if size:
            found["mb_per_s"] = found["calls_per_s"] * size * 2 / 1e6
        run.results.add(scenario, name, contender.name, found)

    for repeat, contender in run.interleaved(run.contenders):
        label = f"{scenario}: {name}, {contender.name}"
        yield label, lambda contender=contender, repeat=repeat: measure(contender, repeat)  # type: ignore[misc]
