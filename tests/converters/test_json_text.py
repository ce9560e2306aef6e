"""JSON in string fields, as strict as serde_json."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given

from orbit_lite.converters.json_text import dump_json, load_json, load_json_strictly
from orbit_lite.errors import ConversionError
from orbit_lite.model import Json
from orbit_lite.testing import strategies as orbit


@given(orbit.json_values())
def test_values_come_back(value: Json) -> None:
    text = dump_json("data", value)
    assert load_json("data", text) == load_json_strictly("data", text) == value


def test_text_is_compact_and_unescaped() -> None:
    assert dump_json("data", {"größe": [1, None, True]}) == '{"größe":[1,null,true]}'


@pytest.mark.parametrize("load", [load_json, load_json_strictly])
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "[1,]",
        "1 2",
        "'a'",
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e400",
        '"\\ud800"',
        '{"\\udc00":1}',
        "[" * 100_000,
        "9" * 5000,
        "\ufeff1",
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_what_serde_json_refuses_is_refused(load: Callable[[str, str], Json], text: str) -> None:
    with pytest.raises(ConversionError, match="data: no JSON") as caught:
        load("data", text)
    assert len(str(caught.value)) < 300


def test_escaped_surrogate_pairs_are_characters() -> None:
    assert load_json("data", '"\\ud83d\\ude00"') == "😀"


def test_of_repeated_names_the_last_counts_unless_it_matters() -> None:
    text = '{"a":1,"b":{"c":1,"c":2}}'
    assert load_json("data", text) == {"a": 1, "b": {"c": 2}}
    with pytest.raises(ConversionError, match="data: no JSON: 'c' appears twice"):
        load_json_strictly("data", text)


def nested(depth: int) -> Json:
    value: Json = None
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), "\ud800", {"\udfff": 1}, {1, 2}, b"bytes", {(1, 2): 3}, nested(100_000)],
    ids=["nan", "inf", "surrogate", "surrogate name", "set", "bytes", "tuple name", "deep"],
)
def test_what_is_no_json_is_not_sent(value: object) -> None:
    with pytest.raises(ConversionError, match="data: no JSON value"):
        dump_json("data", value)  # type: ignore[arg-type]


def test_errors_quote_what_a_peer_sent_on_one_short_line() -> None:
    with pytest.raises(ConversionError) as caught:
        load_json("data", "x\n" * 1000)
    assert "\n" not in str(caught.value)
