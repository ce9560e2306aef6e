"""The leaves of protobuf's JSON: what is shown is read back, and is as short as the specification wants it."""

from __future__ import annotations

import base64
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.codec import json_values as leaves

RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "sint64": (-(2**63), 2**63 - 1),
    "fixed64": (0, 2**64 - 1),
}


@pytest.mark.parametrize("kind", RANGES)
def test_integers_end_where_their_kind_ends(kind: str) -> None:
    low, high = RANGES[kind]
    for value in (low, high):
        shown = leaves.show_scalar(kind, value)
        assert isinstance(shown, str) == kind.endswith("64"), "64 bits are more than JavaScript's numbers hold"
        assert leaves.read_scalar(kind, shown) == leaves.read_scalar(kind, value) == value
    for value in (low - 1, high + 1):
        for given_as in (value, str(value)):
            with pytest.raises(ValueError, match="outside the range"):
                leaves.read_scalar(kind, given_as)


@pytest.mark.parametrize("value", [5, 5.0, "5", "5.0", "5e0", "50e-1", "0.5e1"])
def test_an_integer_is_taken_however_json_writes_it(value: object) -> None:
    read = leaves.read_scalar("int64", value)
    assert (read, type(read)) == (5, int)


def test_text_keeps_all_digits_of_an_integer() -> None:
    assert leaves.read_scalar("uint64", "18446744073709551615") == 2**64 - 1
    assert leaves.read_scalar("int64", "9007199254740993.0") == 2**53 + 1


def digits(value: float) -> int:
    """Digits that count."""
    return len(repr(value).partition("e")[0].replace(".", "").strip("-0"))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_is_the_same_32_bits_again_and_has_no_needless_digits(value: float) -> None:
    shown = leaves.show_scalar("float", value)
    assert struct.pack("<f", leaves.read_scalar("float", shown)) == struct.pack("<f", value)
    assert digits(shown) <= digits(value)


def test_the_float_next_to_a_decimal_is_shown_as_it() -> None:
    for decimal in (0.1, 1.1, 3.14159, 3.4028235e38, 16777216.0, -0.0):
        [nearest] = struct.unpack("<f", struct.pack("<f", decimal))
        assert repr(leaves.show_scalar("float", nearest)) == repr(decimal)
    assert leaves.show_scalar("float", 2**-149) == 1.4013e-45


@given(st.floats(allow_nan=False))
def test_a_double_is_the_same_again(value: float) -> None:
    assert struct.pack("<d", leaves.read_scalar("double", leaves.show_scalar("double", value))) == struct.pack(
        "<d", value
    )


def test_what_is_no_number_has_a_name() -> None:
    names = ["NaN", "Infinity", "-Infinity"]
    assert [leaves.show_scalar("double", value) for value in (math.nan, math.inf, -math.inf)] == names
    assert math.isnan(leaves.read_scalar("float", "NaN"))
    assert [leaves.read_scalar("float", name) for name in names[1:]] == [math.inf, -math.inf]


@given(st.binary(), st.booleans(), st.booleans())
def test_bytes_are_read_from_both_alphabets_padded_or_not(value: bytes, padded: bool, safe: bool) -> None:
    text = (base64.urlsafe_b64encode if safe else base64.b64encode)(value).decode()
    assert leaves.read_scalar("bytes", text if padded else text.rstrip("=")) == value


def test_bytes_are_shown_in_the_standard_alphabet_with_padding() -> None:
    assert leaves.show_scalar("bytes", b"\xfb\xff\xfe\xff") == "+//+/w=="


@given(st.integers(-62_135_596_800, 253_402_300_799), st.integers(0, 999_999_999))
def test_a_timestamp_is_the_same_again(seconds: int, nanos: int) -> None:
    text = leaves.timestamp_text(seconds, nanos)
    assert leaves.read_timestamp(text) == (seconds, nanos)
    assert len(text) in (20, 24, 27, 30)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T05:30:00+05:30", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("2024-02-29T00:00:00Z", 1_709_164_800),
    ],
)
def test_an_offset_is_taken_off(text: str, seconds: int) -> None:
    assert leaves.read_timestamp(text) == (seconds, 0)


@pytest.mark.parametrize(
    "text",
    [
        "1970-01-01T00:00:00+24:00",
        "1970-01-01T00:00:00+01:60",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "1970-01-01T00:00:00Z\n",
        "１970-01-01T00:00:00Z",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a time|outside the years"):
        leaves.read_timestamp(text)


@given(st.integers(0, 315_576_000_000), st.integers(0, 999_999_999), st.sampled_from([1, -1]))
def test_a_duration_is_the_same_again(seconds: int, nanos: int, sign: int) -> None:
    text = leaves.duration_text(sign * seconds, sign * nanos)
    assert leaves.read_duration(text) == (sign * seconds, sign * nanos)
    assert len(text.partition(".")[2]) in (0, 4, 7, 10)


@given(st.lists(st.from_regex(r"([a-z0-9.]|_[a-z])+", fullmatch=True)))
def test_paths_come_back(paths: list[str]) -> None:
    assert leaves.mask_paths(leaves.mask_text(paths)) == paths


@pytest.mark.parametrize("path", ["", "aB", "a_1", "a__b", "a_", "a b", "a,b", "é"])
def test_paths_that_would_not_come_back_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="would not come back"):
        leaves.mask_text(["a", path])


@pytest.mark.parametrize(("kind", "value", "name"), [("bool", True, "true"), ("int64", -5, "-5"), ("string", "é", "é")])
def test_keys_are_names(kind: str, value: object, name: str) -> None:
    assert leaves.show_key(value) == name
    assert leaves.read_key(kind, name) == value


def test_keys_are_whole_numbers_without_ornament() -> None:
    for name in ("1.0", "1e0", "01", "+1", " 1", "", "１"):
        with pytest.raises(ValueError, match="expected an integer"):
            leaves.read_key("int32", name)
