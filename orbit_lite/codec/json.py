"""Proto3 JSON of betterproto messages, those of `descriptors` included, for the command line.

The mapping itself is betterproto's. What it would pass over in silence is refused here: unknown fields, several members
of one oneof, values of the wrong kind. Field names are lowerCamelCase in output, and accepted in both forms.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from typing import Any, TypeVar

import betterproto

from orbit_lite.errors import SerializationError, quote

__all__ = ["JsonError", "from_json", "to_json"]

M = TypeVar("M", bound=betterproto.Message)

#: Class of a message by its full name; for google.protobuf.Any, which this mapping does not open.
Types = Callable[[str], type[betterproto.Message]]


class JsonError(SerializationError):
    """A JSON value that does not fit the message type. path: where, such as `node.id.key`; empty for the whole."""

    orb_code = "ORB-1503"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path


def to_json(message: betterproto.Message, *, types: Types | None = None) -> Any:
    """The message as a JSON value; fields at their defaults are left out."""
    return json.loads(message.to_json())


def from_json(cls: type[M], value: Any, *, types: Types | None = None) -> M:
    """The message that a JSON value stands for. Raises JsonError."""
    _check(cls, value, "")
    try:
        message: M = cls().from_dict(value)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise JsonError("", f"does not fit {cls.__name__}: {type(error).__name__}: {quote(str(error))}") from error
    return message


def _check(cls: type[betterproto.Message], value: Any, path: str) -> None:
    """Raises JsonError for what betterproto would ignore."""
    if not isinstance(value, dict):
        raise JsonError(path, f"expected an object for {cls.__name__}, got {type(value).__name__}")
    meta: Any = cls._betterproto  # type: ignore[arg-type]  # a classproperty
    names: dict[str, str] = {}
    for name in meta.meta_by_field_name:
        names[name] = names[betterproto.Casing.CAMEL(name).rstrip("_")] = name
    chosen: dict[str, str] = {}
    for key, item in value.items():
        where = f"{path}.{key}" if path else key
        if key not in names:
            close = difflib.get_close_matches(key, names, 1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(sorted(names)) or 'no fields'}"
            raise JsonError(quote(where), f"{cls.__name__} has no such field{hint}")
        field = meta.meta_by_field_name[names[key]]
        if field.group and item is not None and chosen.setdefault(field.group, key) != key:
            raise JsonError(quote(where), f"{chosen[field.group]!r} is set too, and only one of {field.group} may be")
        kind = meta.cls_by_field[names[key]]
        if field.proto_type == betterproto.TYPE_MESSAGE and issubclass(kind, betterproto.Message) and item is not None:
            for position, part in enumerate(item if isinstance(item, list) else [item]):
                _check(kind, part, f"{where}[{position}]" if isinstance(item, list) else where)
