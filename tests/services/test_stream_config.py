from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import ConfigurationError
from orbit_lite.services import StreamConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_timeout", 0.0),
        ("max_in_flight", 0),
        ("max_waiting", -1),
        ("backoff_initial", float("nan")),
        ("backoff_multiplier", 0.5),
        ("backoff_max", 0.01),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(field: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{field}={value!r}: must be from "):
        StreamConfig(**{field: value})  # type: ignore[arg-type]  # the names are of several types


def test_the_first_retry_is_at_once_and_the_bound_of_later_ones_doubles_up_to_a_cap() -> None:
    config = StreamConfig()
    assert [config.backoff(failures, 1.0) for failures in range(8)] == [0, 0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


@given(st.integers(2, 10**9), st.floats(0, 1))
def test_the_delay_is_drawn_from_the_whole_of_its_range(failures: int, draw: float) -> None:
    config = StreamConfig()
    assert config.backoff(failures, draw) == draw * config.backoff(failures, 1.0) <= config.backoff_max
