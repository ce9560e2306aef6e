"""Arguments and results: JSON values, and the JSON text that carries arguments.

The text is an array. Orbit-RS's client puts each argument into an object `{"value": …, "type_name": "dynamic"}`; others
write bare values. Both are read. A bare value that looks like such an object itself is written inside one, so that what
is read is always what was sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NoReturn, TypeGuard

from orbit_lite.errors import SerializationError, quote
from orbit_lite.model import Json
from orbit_lite.model.json import parse_json

__all__ = ["json_copy", "parse_arguments", "render_arguments"]

_WRAPPER = frozenset({"value", "type_name"})
_TYPE_NAME = "dynamic"

#: Levels of nesting that a value may have: serde_json, which Orbit-RS reads with, stops at 128, and the array and the
#: wrapper take two of them.
MAX_DEPTH = 120
#: Python writes no integer of more than 4300 digits (sys.set_int_max_str_digits).
MAX_INTEGER_BITS = 14_000


def parse_arguments(text: str) -> list[Json]:
    """The argument values of an invocation request.

    Takes what JSON allows and nothing more: no NaN, no number beyond a double. Raises SerializationError.
    """
    try:
        values: object = parse_json(text, parse_float=_finite, parse_constant=_refuse_constant)
        if "\\u" in text:  # only an escape can have brought in a lone surrogate
            json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        problem = "lone surrogate" if isinstance(error, UnicodeError) else _problem(error)
        raise SerializationError(f"arguments {quote(text, 80)!r} are not JSON: {problem}") from error
    if not isinstance(values, list):
        raise SerializationError(f"arguments {quote(text, 80)!r} are no JSON array; write [] for none")
    return [value["value"] if _is_wrapper(value) else value for value in values]


def render_arguments(args: Sequence[Json], *, wrapped: bool = False) -> str:
    """The text of an invocation request's arguments. wrapped: write every value as Orbit-RS does.

    Raises SerializationError when an argument is no JSON value; the message says which.
    """
    values = [
        {"value": arg, "type_name": _TYPE_NAME} if wrapped or _is_wrapper(arg) else arg
        for arg in (json_copy(arg, f"argument {position}") for position, arg in enumerate(args, 1))
    ]
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def json_copy(value: object, name: str) -> Json:
    """A copy that shares nothing with the value, so that a call within a node passes what one between nodes would pass.

    Tuples become lists, as in JSON. Raises SerializationError for what is no JSON value; its message begins with
    `name`.
    """
    return _copy(value, name, MAX_DEPTH)


def _copy(value: object, name: str, depth: int) -> Json:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        _check_text(value, name)
        return str.__str__(value)  # of a subclass, such as an enum, what JSON keeps of it
    if isinstance(value, int):
        if value.bit_length() > MAX_INTEGER_BITS:
            raise SerializationError(f"{name}: integer of more than {MAX_INTEGER_BITS} bits")
        return int.__index__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SerializationError(f"{name}: {value} is not JSON")
        return float.__float__(value)
    if depth <= 0:
        raise SerializationError(f"{name}: nested more than {MAX_DEPTH} levels deep, or within itself")
    if isinstance(value, list | tuple):
        return [_copy(item, name, depth - 1) for item in value]
    if isinstance(value, dict):
        copy: dict[str, Json] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise SerializationError(f"{name}: names in a JSON object are text, not {type(key).__name__}")
            _check_text(key, name)
            copy[str.__str__(key)] = _copy(item, name, depth - 1)
        return copy
    raise SerializationError(f"{name}: {type(value).__name__} is no JSON value")


def _check_text(text: str, name: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SerializationError(f"{name}: text {quote(text, 80)!r} holds a lone surrogate") from error


def _is_wrapper(value: object) -> TypeGuard[dict[str, Json]]:
    return isinstance(value, dict) and value.keys() == _WRAPPER and isinstance(value["type_name"], str)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("number out of range of a double")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _problem(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
