"""invoke: actors from the shell."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.cli.invoke import argument

Orbit = Callable[..., Any]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(_JSON)
def test_an_argument_that_is_json_is_its_value(value: Any) -> None:
    assert argument(json.dumps(value)) == value


@given(st.text())
def test_every_other_argument_is_text(text: str) -> None:
    value = argument(text)
    assert value == text or value == json.loads(text)  # only what is no text has to be JSON


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999", "[1,", "'x'", "", " ", "tru", '"\\ud800"'])
def test_what_is_almost_json_is_text(text: str) -> None:
    assert argument(text) == text


def test_arguments_go_as_json_and_come_back(orbit: Orbit, node: dict[str, Any]) -> None:
    arguments = ["12", "true", "null", '"12"', '{"a": [1.5]}', "plain", "Žofie 🦊", ""]
    told = orbit("invoke", "-e", node["url"], "Echo", "x", "echo", *arguments, "--json")
    assert told.document == [12, True, None, "12", {"a": [1.5]}, "plain", "Žofie 🦊", ""]


def test_string_takes_every_argument_as_text(orbit: Orbit, node: dict[str, Any]) -> None:
    assert orbit("invoke", "-e", node["url"], "--string", "Echo", "x", "echo", "12", "null").document == ["12", "null"]


def test_behind_two_dashes_arguments_may_begin_with_a_dash(orbit: Orbit, node: dict[str, Any]) -> None:
    assert orbit("invoke", "-e", node["url"], "--", "Echo", "x", "echo", "-5", "--json").document == [-5, "--json"]


@pytest.mark.parametrize(
    ("kind", "key", "expected"),
    [
        ("string", "7", ["STRING", "7"]),
        ("int32", "7", ["INT32", 7]),
        ("int64", "9223372036854775807", ["INT64", 9223372036854775807]),
        ("none", "-", ["NONE", None]),
        ("none", "no-key", ["NONE", None]),
    ],
)
def test_a_key_is_of_the_kind_that_is_said(
    orbit: Orbit, node: dict[str, Any], kind: str, key: str, expected: list[object]
) -> None:
    assert orbit("invoke", "-e", node["url"], "--key-kind", kind, "Echo", key, "key").document == expected


def test_a_key_that_does_not_fit_its_kind_is_an_error(orbit: Orbit) -> None:
    told = orbit("invoke", "--key-kind", "int32", "Echo", "seven", "key")
    assert told.status == 1
    assert "expected a decimal integer" in told.err


@pytest.mark.parametrize(
    ("call", "message", "code"),
    [
        (("Echo", "x", "refuse"), "not today 🙅", "ORB-1400"),
        (("Echo", "x", "nope"), "no such method", "ORB-1400"),
        (("Nothing", "x", "echo"), "Addressable not found: Nothing:x", "ORB-1302"),
    ],
)
def test_what_the_cluster_answers_is_told(
    orbit: Orbit, node: dict[str, Any], call: tuple[str, ...], message: str, code: str
) -> None:
    told = orbit("invoke", "-e", node["url"], *call)
    assert (told.status, told.out) == (1, "")
    assert message in told.err
    assert f"({code})" in told.err


def test_a_call_that_takes_too_long_may_have_been_executed(orbit: Orbit, node: dict[str, Any]) -> None:
    told = orbit("invoke", "-e", node["url"], "--timeout", "200ms", "Echo", "slow", "wait", "0.5", "--json")
    error = json.loads(told.err)["error"]
    assert (told.status, error["code"], error["executed"]) == (1, "DEADLINE_EXCEEDED", "maybe")
