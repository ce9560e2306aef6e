"""The grpc-timeout header: text ⇄ seconds. Source: grpc/doc/PROTOCOL-HTTP2.md, `Timeout`."""

from __future__ import annotations

import math
import re

from orbit_lite.errors import ParseError, quote

__all__ = ["decode_timeout", "encode_timeout", "round_timeout"]

#: Longest time that a received timeout means, in seconds: ten years. Larger ones are as good as none.
LONGEST = 10 * 365 * 86_400.0

_PER_SECOND = {"n": 1_000_000_000, "u": 1_000_000, "m": 1_000, "S": 1}
_SECONDS = {"M": 60, "H": 3600}
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_MOST_DIGITS = 99_999_999
_DIGITS_THAT_COUNT = 4


def encode_timeout(seconds: float) -> str:
    """Text of a remaining time, in the finest unit that holds it in eight digits, rounded up to four that count.

    Being off by less than a thousandth makes the texts of one timeout's calls equal, so that their header blocks are.
    Raises ValueError for zero and less: such a call has failed already and is not sent.
    """
    return round_timeout(seconds)[0]


def round_timeout(seconds: float) -> tuple[str, float, float]:
    """(the text as in `encode_timeout`, above, up to): all times in that range have this text."""
    if not seconds > 0:
        raise ValueError(f"timeout of {seconds} s: nothing is left to wait for")
    seconds = min(seconds, LONGEST)
    for unit, per_second in _PER_SECOND.items():
        count = math.ceil(seconds * per_second)
        if count / per_second < seconds:  # the product was rounded down to a whole number
            count += 1
        if count > _MOST_DIGITS:
            continue
        step = 10 ** max(0, len(str(count)) - _DIGITS_THAT_COUNT)
        count = -(-count // step) * step
        if count <= _MOST_DIGITS:
            low = (count - step) / per_second
            return f"{count}{unit}", min(seconds, low), max(seconds, count / per_second)
    count = math.ceil(seconds / 60)
    return f"{count}M", seconds, seconds


def decode_timeout(text: str) -> float:
    """Seconds of a grpc-timeout header, at most ten years.

    Takes ASCII digits only, one to eight of them, and one unit letter; ParseError for all else.
    """
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise ParseError(f"grpc-timeout {quote(text)!r}: must be one to eight digits and a unit of H, M, S, m, u, n")
    count, unit = int(match[1]), match[2]
    seconds = count * _SECONDS[unit] if unit in _SECONDS else count / _PER_SECOND[unit]
    return min(float(seconds), LONGEST)
