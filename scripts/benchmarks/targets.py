"""What is to be reached, and what was. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.results import Results, Spread, ratio_of
from benchmarks.run import FLOOR, OURS, REFERENCE


@dataclass(frozen=True, slots=True)
class Target:
    """`least` and `goal` in units of the figure; `more` when a larger figure is better."""

    name: str
    figure: Callable[[Results], Spread | None]
    least: float
    goal: float | None = None
    more: bool = True
    unit: str = "×"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and what came of it; found is None when it was not measured."""

    target: Target
    found: Spread | None

    @property
    def text(self) -> str:
        """`goal`, `reached`, `missed` or `not measured`, by the median."""
        if self.found is None:
            return "not measured"
        if self._meets(self.target.goal):
            return "goal"
        return "reached" if self._meets(self.target.least) else "missed"

    def _meets(self, bound: float | None) -> bool:
        if bound is None or self.found is None:
            return False
        return self.found.median >= bound if self.target.more else self.found.median <= bound


def verdicts(results: Results, pypy: str = "orbit-lite on PyPy") -> list[Verdict]:
    """pypy: name of the contender that is orbit-lite on PyPy."""
    return [Verdict(target, target.figure(results)) for target in targets(pypy)]


def times(
    scenario: str, case: str, metric: str = "calls_per_s", ours: str = OURS, theirs: str = REFERENCE
) -> Callable[[Results], Spread | None]:
    """Ours over theirs."""
    return lambda results: results.ratio(scenario, case, metric, ours, theirs)


def faster(scenario: str, case: str, metric: str, theirs: str) -> Callable[[Results], Spread | None]:
    """Theirs over ours, for times."""
    return lambda results: results.ratio(scenario, case, metric, theirs, OURS)


def value(scenario: str, case: str, metric: str) -> Callable[[Results], Spread | None]:
    return lambda results: results.spread(scenario, case, OURS, metric)


def growth(kind: str) -> Callable[[Results], Spread | None]:
    """CPU of a call with the most streams or connections open, over that with one: the worst of all numbers.

    Cases are known by how they end; those that say more after it are not meant.
    """

    def figure(results: Results) -> Spread | None:
        cases = [case for case in results.cases("scaling") if case.endswith((kind, f"{kind}s"))]
        if len(cases) < 2:
            return None
        first, *others = (results.get("scaling", case, OURS, "cpu_us") for case in cases)
        found = [ratio for other in others if (ratio := ratio_of(other, first)) is not None]
        return max(found, key=lambda ratio: ratio.median, default=None)

    return figure


def targets(pypy: str) -> Iterator[Target]:
    unary = "unary"
    yield Target("tiny unary, 16 in flight, against grpc.aio", times(unary, "tiny, 16 in flight"), 10, 15)
    yield Target("typical unary, 16 in flight, against grpc.aio", times(unary, "typical, 16 in flight"), 6, 10)
    yield Target("tiny unary, 128 in flight, against grpc.aio", times(unary, "tiny, 128 in flight"), 10, 20)
    yield Target(
        "typical unary, 16 in flight, against grpclib", times(unary, "typical, 16 in flight", theirs="grpclib"), 20, 35
    )
    yield Target("tiny unary, 1 in flight, against grpc.aio", times(unary, "tiny, 1 in flight"), 3, 4)
    yield Target("typical unary, 1 in flight, against grpc.aio", times(unary, "typical, 1 in flight"), 2.5, 3.5)
    p50, p99 = (times(unary, "tiny, 1 in flight", metric, theirs=FLOOR) for metric in ("p50_us", "p99_us"))
    yield Target("tiny p50 at 1 in flight, against the raw echo", p50, 1.6, 1.15, more=False)
    yield Target("tiny p99 at 1 in flight, against the raw echo", p99, 2, 1.5, more=False)
    yield Target("stream of 81-byte messages, against grpc.aio", times("stream", "81 bytes"), 8, 15)
    tiny, chat = times(unary, "tiny, 16 in flight", ours=pypy), times("stream", "81 bytes", ours=pypy)
    yield Target("PyPy: tiny unary, 16 in flight, against grpc.aio on CPython", tiny, 10, 15)
    yield Target("PyPy: stream, against grpc.aio on CPython", chat, 20, 50)
    both, pure = (faster("codec", "typical", "both_us", peer) for peer in ("betterproto", "protobuf Python"))
    yield Target("encode and decode, typical, against betterproto", both, 25, 45)
    yield Target("encode and decode, typical, against protobuf's pure-Python mode", pure, 3, 6)
    whole = faster("codec", "typical", "all_us", "betterproto")
    yield Target("construct, encode, decode, read, typical, against betterproto", whole, 12, 30)
    idle = value("memory", "idle connection", "kb")
    yield Target("server memory per idle connection", idle, 12, 6, more=False, unit="KB")
    yield Target("cost of a call, 1 to 1,000 open streams", growth("open stream"), 1.2, more=False)
    yield Target("cost of a call, 1 to 1,000 connections", growth("connection"), 1.2, more=False)
    large = times("payload", "1 MB", theirs=FLOOR)
    yield Target("1 MB messages, against the raw echo", large, 0.5)
    alone, many = (times("raft", f"{count} in flight", theirs="etcd") for count in (1, 64))
    yield Target("put into three nodes, 1 in flight, against etcd", alone, 0.5)
    yield Target("puts into three nodes, 64 in flight, against etcd", many, 0.25, 0.5)
    first = value("startup", "import and first call", "ms")
    yield Target("import and first call, over bare asyncio", first, 200, more=False, unit="ms")
