"""Figures of one run and the statistics over its repeats. Pure: no clock, no process, no output."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

#: (max - min) / median from which a figure counts as noisy.
NOISY = 0.30


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over all repeats."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises ValueError for no values at all."""
        if not values:
            raise ValueError("a spread needs at least one value")
        return cls(statistics.median(values), min(values), max(values))

    @property
    def relative(self) -> float:
        """Width as a part of the median; 0 where the median is 0."""
        return (self.high - self.low) / abs(self.median) if self.median else 0.0

    @property
    def is_noisy(self) -> bool:
        return self.relative > NOISY


def percentile(ordered: Sequence[float], part: float) -> float:
    """Nearest-rank percentile of ascending values, part from 0 to 1. NaN for none."""
    if not ordered:
        return math.nan
    return ordered[min(len(ordered) - 1, max(0, math.ceil(part * len(ordered)) - 1))]


@dataclass(frozen=True, slots=True)
class Key:
    """What was measured of whom: `unary`, `tiny, 16 in flight`, `grpc.aio`."""

    scenario: str
    case: str
    contender: str


@dataclass(slots=True)
class Results:
    """Every figure of every repeat, in the order of measurement. Units are in the names of the metrics."""

    values: dict[Key, dict[str, list[float]]] = field(default_factory=dict)
    notes: dict[tuple[str, str], str] = field(default_factory=dict)
    """Per scenario and contender: where it ran with other than default settings, or did not run."""

    def add(self, scenario: str, case: str, contender: str, metrics: dict[str, float]) -> None:
        """One repeat."""
        known = self.values.setdefault(Key(scenario, case, contender), {})
        for name, value in metrics.items():
            known.setdefault(name, []).append(value)

    def note(self, scenario: str, contender: str, text: str) -> None:
        self.notes[scenario, contender] = text

    def get(self, scenario: str, case: str, contender: str, metric: str) -> list[float]:
        """All repeats; empty when it was not measured."""
        return self.values.get(Key(scenario, case, contender), {}).get(metric, [])

    def spread(self, scenario: str, case: str, contender: str, metric: str) -> Spread | None:
        values = self.get(scenario, case, contender, metric)
        return Spread.of(values) if values else None

    def ratio(self, scenario: str, case: str, metric: str, ours: str, theirs: str) -> Spread | None:
        """Ours over theirs, repeat by repeat: the two of a pair were measured one after the other."""
        return ratio_of(self.get(scenario, case, ours, metric), self.get(scenario, case, theirs, metric))

    def scenarios(self) -> list[str]:
        return list(dict.fromkeys(key.scenario for key in self.values))

    def cases(self, scenario: str) -> list[str]:
        return list(dict.fromkeys(key.case for key in self.values if key.scenario == scenario))

    def contenders(self, scenario: str) -> list[str]:
        return list(dict.fromkeys(key.contender for key in self.values if key.scenario == scenario))

    def noisy(self, metric: str) -> Iterator[tuple[Key, Spread]]:
        """Figures of a metric whose repeats differ too much."""
        for key, metrics in self.values.items():
            if values := metrics.get(metric):
                spread = Spread.of(values)
                if spread.is_noisy:
                    yield key, spread

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {"scenario": key.scenario, "case": key.case, "contender": key.contender, "metrics": metrics}
            for key, metrics in self.values.items()
        ]


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> Spread | None:
    """Paired ratios; None when a side was not measured. A pair whose divisor is 0 or less tells nothing."""
    ratios = [our / their for our, their in zip(ours, theirs, strict=False) if their > 0]
    return Spread.of(ratios) if ratios else None
