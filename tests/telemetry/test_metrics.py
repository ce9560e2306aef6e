"""Counts and latencies in constant memory."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.telemetry.metrics import OTHER_METHOD, CallStats, Histogram

FACTOR = 2 ** (1 / 8)


@given(st.lists(st.floats(0.0, 10_000.0), min_size=1, max_size=200), st.floats(0.0, 100.0))
def test_a_percentile_is_at_most_one_bucket_above_the_true_one(durations: list[float], percent: float) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.record(seconds)
    true = sorted(durations)[max(1, math.ceil(len(durations) * percent / 100)) - 1]
    found = histogram.percentile(percent)
    assert found <= max(durations)
    if true < 1e-6:
        assert found <= 1e-6
    elif true < 3600.0:
        assert true * (1 - 1e-9) <= found <= true * FACTOR * (1 + 1e-9)
    else:
        assert true * (1 - 1e-9) <= found


def test_a_histogram_does_not_grow() -> None:
    histogram = Histogram()
    size = len(histogram._counts)
    for number in range(10_000):
        histogram.record(number / 7)
    assert len(histogram._counts) == size == 256
    assert histogram.count == 10_000


def test_extremes_are_counted_too() -> None:
    histogram = Histogram()
    for seconds in (-1.0, 0.0, 1e-12, 1e9):
        histogram.record(seconds)
    assert histogram.count == 4
    assert histogram.largest == 1e9
    assert histogram.percentile(50) == 1e-6


def test_without_calls_everything_is_zero() -> None:
    histogram = Histogram()
    assert (histogram.percentile(99), histogram.mean, histogram.largest) == (0.0, 0.0, 0.0)


def test_a_percentile_is_from_0_to_100() -> None:
    with pytest.raises(ValueError, match="percent=101"):
        Histogram().percentile(101)


def test_calls_and_errors_are_counted_per_method() -> None:
    stats = CallStats()
    for number in range(100):
        stats.record("/s/Good", 0.001 if number < 90 else 0.1)
    stats.record("/s/Bad", 5.0, error=True)
    good, bad = stats.methods["/s/Good"], stats.methods["/s/Bad"]
    assert (good.calls, good.errors, bad.calls, bad.errors) == (100, 0, 1, 1)
    assert good.p50 == pytest.approx(0.001, rel=0.1)
    assert good.p90 == pytest.approx(0.001, rel=0.1)
    assert good.p99 == pytest.approx(0.1, rel=0.1)
    assert good.largest == 0.1
    assert good.latency.mean == pytest.approx(0.0109)
    assert (stats.calls, stats.errors) == (101, 1)


def test_names_that_peers_choose_cannot_fill_the_memory() -> None:
    stats = CallStats(max_methods=2)
    for number in range(1000):
        stats.record(f"/s/{number}", 0.0)
    assert set(stats.methods) == {"/s/0", "/s/1", OTHER_METHOD}
    assert stats.calls == 1000
