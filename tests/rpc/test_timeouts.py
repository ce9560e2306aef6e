"""The grpc-timeout header (grpc/doc/PROTOCOL-HTTP2.md, `Timeout`)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import ParseError
from orbit_lite.rpc.timeouts import LONGEST, decode_timeout, encode_timeout


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1H", 3600),
        ("2M", 120),
        ("3S", 3),
        ("250m", 0.25),
        ("7u", 0.000007),
        ("8n", 0.000000008),
        ("0S", 0),
        ("00000001S", 1),
        ("99999999S", 99_999_999),
    ],
)
def test_every_unit_is_read(text: str, seconds: float) -> None:
    assert decode_timeout(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "S",
        "1",
        "123456789S",
        "-1S",
        "+1S",
        "1 S",
        " 1S",
        "1S ",
        "1S\n",
        "1.5S",
        "1_0S",
        "0x1S",
        "１S",
        "1s",
        "1S1S",
    ],
)
def test_every_other_text_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        decode_timeout(text)


def test_a_huge_timeout_is_cut_to_ten_years() -> None:
    assert decode_timeout("99999999H") == LONGEST
    assert encode_timeout(1e300) == encode_timeout(LONGEST)


@given(st.floats(min_value=1e-9, max_value=LONGEST))
def test_a_timeout_is_rounded_up_by_less_than_a_thousandth(seconds: float) -> None:
    text = encode_timeout(seconds)
    assert re.fullmatch("[0-9]{1,8}[HMSmun]", text)
    decoded = decode_timeout(text)
    assert seconds <= decoded or decoded == LONGEST
    assert decoded <= seconds * 1.001 + 1e-9


@given(st.integers(min_value=1, max_value=99_999_999), st.sampled_from("mun"))
def test_what_was_sent_exactly_is_sent_on_exactly(count: int, unit: str) -> None:
    seconds = decode_timeout(f"{count}{unit}")
    assert decode_timeout(encode_timeout(seconds)) == pytest.approx(seconds, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_no_time_left_is_not_sent(seconds: float) -> None:
    with pytest.raises(ValueError, match="nothing is left"):
        encode_timeout(seconds)
