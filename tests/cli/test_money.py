"""Amounts are exact."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.cli.demo.money import MAX_CENTS, format_cents, parse_cents
from orbit_lite.errors import ParseError


@given(st.integers(1, MAX_CENTS))
def test_what_is_printed_is_read_back(cents: int) -> None:
    assert parse_cents(format_cents(cents).replace(",", "")) == cents


@given(
    st.decimals(min_value=0, max_value=10**10, places=2).map(str)
    | st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,2})?", fullmatch=True)
)
def test_an_amount_is_what_decimal_says_or_refused(text: str) -> None:
    exact = Decimal(text) * 100
    if text.isascii() and 0 < exact <= MAX_CENTS:
        assert parse_cents(text) == exact
    else:
        with pytest.raises(ParseError):
            parse_cents(text)


@given(st.text(max_size=12))
def test_any_text_is_an_amount_or_a_parse_error(text: str) -> None:
    with suppress(ParseError):
        assert 0 < parse_cents(text) <= MAX_CENTS


@pytest.mark.parametrize(("cents", "text"), [(0, "0.00"), (-1, "-0.01"), (123456, "1,234.56"), (-100, "-1.00")])
def test_amounts_are_printed_with_two_decimals(cents: int, text: str) -> None:
    assert format_cents(cents) == text
