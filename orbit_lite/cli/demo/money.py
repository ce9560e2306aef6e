"""Amounts of money: integers of cents inside, decimal text with at most two places outside; nothing is ever rounded."""

from __future__ import annotations

import re

from orbit_lite.errors import ParseError, quote

__all__ = ["MAX_CENTS", "format_cents", "parse_cents"]

#: Largest single amount, one billion: any sum of ten thousand such amounts stays exact where JSON numbers are doubles.
MAX_CENTS = 1_000_000_000_00

_AMOUNT = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,2}))?", re.ASCII)


def parse_cents(text: str) -> int:
    """Read `12`, `12.5` or `12.50` as cents, 1..MAX_CENTS. Raises ParseError saying what is wrong with other text."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ParseError(f"amount {quote(text, 40)!r}: {_complaint(text)}")
    cents = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))
    if not 0 < cents <= MAX_CENTS:
        raise ParseError(f"amount {quote(text, 40)!r}: must be more than 0 and at most {format_cents(MAX_CENTS)}")
    return cents


def _complaint(text: str) -> str:
    if not text:
        return "is empty"
    if re.fullmatch(r"[0-9]+\.[0-9]{3,}", text, re.ASCII):
        return "has more than two decimals"
    if re.fullmatch(r"-[0-9.]+", text, re.ASCII):
        return "must be more than 0"
    if text.isascii() and text.isdigit():
        return f"must be at most {format_cents(MAX_CENTS)}"
    if re.fullmatch(r"[0-9.,' ]+", text, re.ASCII):
        return "write it with a decimal point and without separators, such as 1234.50"
    return "is not a decimal number such as 12.50"


def format_cents(cents: int) -> str:
    """Cents as text with two decimals and thousands apart: `-1,234.50`."""
    whole, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{whole:,}.{rest:02}"
