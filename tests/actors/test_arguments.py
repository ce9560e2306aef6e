from __future__ import annotations

import enum
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.actors import parse_arguments, render_arguments
from orbit_lite.actors.arguments import MAX_DEPTH, json_copy
from orbit_lite.errors import Executed, SerializationError
from orbit_lite.model import Json

text = st.text(max_size=10)
wrapper_like: st.SearchStrategy[Json] = st.fixed_dictionaries({"value": st.integers(), "type_name": text})
scalars: st.SearchStrategy[Json] = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), text
)
values: st.SearchStrategy[Json] = st.recursive(
    scalars | wrapper_like,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(values, max_size=4), st.booleans())
def test_what_is_read_is_what_was_written(args: list[Json], wrapped: bool) -> None:
    assert parse_arguments(render_arguments(args, wrapped=wrapped)) == args


def test_no_arguments_are_an_empty_array() -> None:
    assert render_arguments([]) == render_arguments([], wrapped=True) == "[]"


def test_the_wrapped_form_is_byte_for_byte_that_of_orbit_rs() -> None:
    assert render_arguments(["Zoë", 1], wrapped=True) == (
        '[{"value":"Zoë","type_name":"dynamic"},{"value":1,"type_name":"dynamic"}]'
    )


def test_the_bare_form_is_compact_json() -> None:
    assert render_arguments(["a", {"b": [1, None]}]) == '["a",{"b":[1,null]}]'


def test_a_bare_value_that_looks_wrapped_is_wrapped() -> None:
    value: Json = {"value": 1, "type_name": "x"}
    assert json.loads(render_arguments([value])) == [{"value": value, "type_name": "dynamic"}]


@pytest.mark.parametrize(
    "value",
    [
        {"value": 1},
        {"type_name": "x"},
        {"value": 1, "type_name": "x", "more": 2},
        {"value": 1, "type_name": 7},
    ],
)
def test_an_object_that_is_almost_a_wrapper_is_a_value(value: Json) -> None:
    assert parse_arguments(json.dumps([value])) == [value]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("", "not JSON"),
        ("[1", "not JSON"),
        ("[1] 2", "not JSON"),
        ("[NaN]", "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("[1e999]", "out of range of a double"),
        pytest.param("[" * 100_000, "not JSON", id="deep"),
        ('["\\ud800"]', "lone surrogate"),
        pytest.param("[" + "9" * 5000 + "]", "not JSON", id="long number"),
        ("{}", r"no JSON array; write \[\] for none"),
        ("null", "no JSON array"),
        ('"[]"', "no JSON array"),
    ],
)
def test_text_that_is_no_json_array_is_refused_before_anything_runs(arguments: str, problem: str) -> None:
    with pytest.raises(SerializationError, match=problem) as raised:
        parse_arguments(arguments)
    assert raised.value.executed is Executed.NO
    assert len(raised.value.message) < 400


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


def test_a_copy_shares_nothing_with_the_value() -> None:
    value: dict[str, list[int]] = {"a": [1]}
    copy = json_copy(value, "it")
    value["a"].append(2)
    assert copy == {"a": [1]}


def test_a_copy_is_what_json_would_make_of_the_value() -> None:
    copy = json_copy((Colour.RED, Level.LOW, {Colour.RED: (1.5, True)}), "it")
    assert copy == ["red", 1, {"red": [1.5, True]}]
    assert isinstance(copy, list)
    assert [type(item) for item in copy[:2]] == [str, int]


@given(values)
def test_json_values_are_copied_as_they_are(value: Json) -> None:
    assert json_copy(value, "it") == value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({1, 2}, "set is no JSON value"),
        (b"x", "bytes is no JSON value"),
        (object(), "object is no JSON value"),
        ({1: 2}, "names in a JSON object are text, not int"),
        (math.nan, "nan is not JSON"),
        ([math.inf], "inf is not JSON"),
        ("\ud800", "lone surrogate"),
        ({"\udc00": 1}, "lone surrogate"),
        pytest.param(1 << 20_000, "integer of more than", id="huge"),
    ],
)
def test_what_is_no_json_is_refused_by_name(value: object, problem: str) -> None:
    with pytest.raises(SerializationError, match=f"^argument 2: .*{problem}"):
        render_arguments([1, value])  # type: ignore[list-item]


def test_a_value_within_itself_is_refused() -> None:
    endless: list[Json] = []
    endless.append(endless)
    with pytest.raises(SerializationError, match="levels deep, or within itself"):
        json_copy(endless, "it")


def test_the_deepest_value_that_is_allowed_can_be_read_by_serde() -> None:
    """serde_json stops at 128 levels; the array and the wrapper are two of them."""
    value: Json = 0
    for _ in range(MAX_DEPTH):
        value = [value]
    assert render_arguments([value], wrapped=True).count("[") + 1 <= 127
    with pytest.raises(SerializationError):
        render_arguments([[value]])
