"""What reading and writing JSON share: the error, the types, and the names of things in messages for people."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import betterproto
import betterproto.lib.google.protobuf as pb

from orbit_lite.codec.descriptors import DescriptorError
from orbit_lite.errors import SerializationError, quote

__all__ = [
    "MAX_DEPTH",
    "WRAPPERS",
    "Json",
    "JsonError",
    "Types",
    "class_of_url",
    "hint",
    "member",
    "name_of",
    "shown",
    "too_deep",
]

Json: TypeAlias = Any  # dict[str, Json] | list[Json] | str | int | float | bool | None

#: Full name → message class, such as DescriptorPool.message, for what is inside an Any. Raises LookupError or
#: DescriptorError for names that it does not know.
Types = Callable[[str], type[betterproto.Message]]

#: Messages inside messages, the outermost one counted, as in google.protobuf's JSON.
MAX_DEPTH = 100

#: The messages that are shown as their single value, and its kind.
WRAPPERS: dict[type[betterproto.Message], str] = {
    pb.BoolValue: "bool",
    pb.BytesValue: "bytes",
    pb.DoubleValue: "double",
    pb.FloatValue: "float",
    pb.Int32Value: "int32",
    pb.Int64Value: "int64",
    pb.StringValue: "string",
    pb.UInt32Value: "uint32",
    pb.UInt64Value: "uint64",
}


class JsonError(SerializationError):
    """JSON that does not fit the message, or a message that JSON cannot show.

    path: the place, `$` for the whole value, such as `$.operations[2].operationId`.
    """

    orb_code = "ORB-1507"

    def __init__(self, path: str, problem: str, **context: object) -> None:
        super().__init__(f"{path}: {problem}", **context)  # type: ignore[arg-type]  # the same keywords
        self.path = path
        self.problem = problem


def class_of_url(url: str, types: Types, path: str) -> type[Any]:
    """The class of what an Any with this type URL holds."""
    _, slash, name = url.rpartition("/")
    if not slash or not name:
        raise JsonError(path, f'"{quote(url, 50)}" is no type URL such as type.googleapis.com/package.Message')
    try:
        return types(name)
    except (DescriptorError, LookupError):
        raise JsonError(path, f'no message "{quote(name, 80)}" is known here') from None


def name_of(cls: Any) -> str:
    """A message or enum's full name where it is known; generated classes have their Python name only."""
    name: str = getattr(cls, "_full_name", cls.__name__)
    return name


def shown(name: object) -> str:
    """The name of a JSON member, fit for a path on one line."""
    return quote(name if isinstance(name, str) else repr(name), 80)


def member(path: str, name: object) -> str:
    """The path of a map's entry."""
    return f'{path}["{shown(name)}"]'


def hint(name: object, known: Iterable[str]) -> str:
    """The nearest name, or all of them when there are few."""
    known = list(dict.fromkeys(known))
    if close := difflib.get_close_matches(str(name)[:100], known, 1):
        return f"; did you mean {close[0]}?"
    return f"; it has {', '.join(known) or 'none'}" if len(known) <= 12 else ""


def too_deep(path: str) -> JsonError:
    return JsonError(path[:200], f"nested deeper than {MAX_DEPTH} messages")
