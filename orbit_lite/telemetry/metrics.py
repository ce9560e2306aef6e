"""Counts and latencies of calls, in memory of constant size.

Pure: durations are handed in. Latencies go into a histogram whose buckets grow by a constant factor, so that a
percentile is exact to about 9 % from a microsecond to an hour, and recording is one logarithm and one addition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["OTHER_METHOD", "CallStats", "Histogram", "MethodStats"]

#: Under this name calls are counted whose method is not known or one too many: names come from peers.
OTHER_METHOD = "_OTHER"

_PER_DOUBLING = 8
_SMALLEST = 1e-6  # seconds; upper bound of the first bucket
_BUCKETS = 32 * _PER_DOUBLING  # the last one holds everything above an hour


class Histogram:
    """Durations in seconds, in buckets that grow by 2^(1/8)."""

    __slots__ = ("_counts", "count", "largest", "total")

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.total = 0.0
        self.largest = 0.0

    def record(self, seconds: float) -> None:
        """Add a duration; a negative one, from a clock that was set back, counts as zero."""
        if seconds > _SMALLEST:
            index = math.ceil(math.log2(seconds / _SMALLEST) * _PER_DOUBLING)
            self._counts[index if index < _BUCKETS else -1] += 1
        else:
            seconds = max(0.0, seconds)
            self._counts[0] += 1
        self.count += 1
        self.total += seconds
        self.largest = max(self.largest, seconds)

    def percentile(self, percent: float) -> float:
        """Duration that `percent` (0 to 100) of all did not exceed: the upper bound of its bucket. 0 without any."""
        if not 0 <= percent <= 100:
            raise ValueError(f"percent={percent}: must be from 0 to 100")
        rank = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                bound = _SMALLEST * 2 ** (index / _PER_DOUBLING) if index < _BUCKETS - 1 else self.largest
                return min(self.largest, bound)
        return 0.0

    @property
    def mean(self) -> float:
        """Average, 0 without any."""
        return self.total / self.count if self.count else 0.0


@dataclass(slots=True)
class MethodStats:
    """What is known of one method's calls. errors: calls that ended with another status than OK."""

    calls: int = 0
    errors: int = 0
    latency: Histogram = field(default_factory=Histogram)

    @property
    def p50(self) -> float:
        """Median, seconds."""
        return self.latency.percentile(50)

    @property
    def p90(self) -> float:
        """Seconds that nine of ten calls did not exceed."""
        return self.latency.percentile(90)

    @property
    def p99(self) -> float:
        """Seconds that 99 of 100 calls did not exceed."""
        return self.latency.percentile(99)

    @property
    def largest(self) -> float:
        """Longest call, seconds."""
        return self.latency.largest


class CallStats:
    """Counts per method. max_methods: names above that many are counted together, under OTHER_METHOD."""

    def __init__(self, *, max_methods: int = 1000) -> None:
        self._max_methods = max_methods
        self._methods: dict[str, MethodStats] = {}

    def record(self, method: str, seconds: float, *, error: bool = False) -> None:
        """Count a call that has ended, with its duration in seconds."""
        stats = self._methods.get(method)
        if stats is None:
            if len(self._methods) >= self._max_methods:
                method = OTHER_METHOD
            stats = self._methods.setdefault(method, MethodStats())
        stats.calls += 1
        stats.errors += error
        stats.latency.record(seconds)

    @property
    def methods(self) -> Mapping[str, MethodStats]:
        """The methods that were called, a live view."""
        return MappingProxyType(self._methods)

    @property
    def calls(self) -> int:
        """All calls."""
        return sum(stats.calls for stats in self._methods.values())

    @property
    def errors(self) -> int:
        """All calls that failed."""
        return sum(stats.errors for stats in self._methods.values())
