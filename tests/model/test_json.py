"""JSON text that is none."""

from __future__ import annotations

import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.model.json import parse_json


@given(st.binary(max_size=40) | st.text(max_size=40) | st.text(max_size=20).map(lambda text: f"[{text}".encode()))
def test_an_error_can_be_shown_and_sent_whatever_the_text_was(text: str | bytes) -> None:
    error: ValueError | None = None
    try:
        parse_json(text)
    except ValueError as caught:
        error = caught
    if error is not None:
        assert f"{error}".encode("utf-8", "backslashreplace")
        assert "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace")


@pytest.mark.parametrize("text", ["[é", "é", '{"a" é', "[1 é", "[1, é", "tru€", b'"\xc3\xa9" \xc3\xa9'])
def test_the_place_of_the_error_is_told(text: str | bytes) -> None:
    with pytest.raises(json.JSONDecodeError, match=r"line 1 column \d+"):
        parse_json(text)


def test_options_are_those_of_the_standard_library() -> None:
    assert parse_json('{"a": 1.5, "b": [true, null, "é"]}', parse_float=str) == {"a": "1.5", "b": [True, None, "é"]}
