"""JSON values inside string fields, as serde_json writes and reads them.

Compact, no \\u escapes for what UTF-8 can say; read back strictly: what Orbit-RS's serde_json refuses is refused here
too, where Python's json is more generous (NaN, numbers beyond a double, lone surrogates).
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from orbit_lite.errors import ConversionError, quote
from orbit_lite.model import Json
from orbit_lite.model.json import parse_json

__all__ = ["dump_json", "load_json", "load_json_strictly"]


def dump_json(name: str, value: Json) -> str:
    """Compact JSON text. Raises ConversionError for the field `name` when the value is no JSON."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConversionError(name, f"no JSON value: {_reason(error)}") from error
    return text


def load_json(name: str, text: str) -> Json:
    """Read JSON text; of repeated names in an object the last counts. Raises ConversionError for the field `name`."""
    return _load(name, text, dict)


def load_json_strictly(name: str, text: str) -> Json:
    """Read JSON text in which no object repeats a name. Raises ConversionError for the field `name`."""
    return _load(name, text, _without_repetition)


def _load(name: str, text: str, make_object: Any) -> Json:
    try:
        value: Json = parse_json(
            text, object_pairs_hook=make_object, parse_float=_finite, parse_constant=_refuse_constant
        )
        if "\\u" in text:  # only an escape can have brought in a lone surrogate
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ConversionError(name, f"no JSON: {_reason(error)}: {quote(text, 80)!r}") from error
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return "lone surrogate"
    return str(error)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("number out of range of a double")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _without_repetition(members: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(members)
    if len(made) != len(members):
        repeated = next(name for position, (name, _) in enumerate(members) if name in dict(members[:position]))
        raise ValueError(f"{quote(repeated)!r} appears twice")
    return made
