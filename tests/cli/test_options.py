"""Options that verbs share."""

from __future__ import annotations

import math

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.cli.options import Duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("30s", 30.0), ("5m", 300.0), ("1h", 3600.0), ("2", 2.0), ("1.5s", 1.5)]
)
def test_durations_are_numbers_with_a_unit(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == pytest.approx(seconds)


@given(st.text(max_size=8) | st.from_regex(r"[0-9.]{0,6}(ms|s|m|h|d)?", fullmatch=True))
def test_any_other_text_is_refused_in_words(text: str) -> None:
    try:
        seconds = Duration().convert(text, None, None)
    except click.BadParameter as error:
        assert "is no duration" in error.message  # noqa: PT017  (either outcome is right)
    else:
        assert 0 < seconds <= 86400
        assert math.isfinite(seconds)
