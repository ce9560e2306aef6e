"""Messages as protobuf's canonical JSON, both ways: what the command line reads and prints.

JSON here means values as the standard library's json module has them: dict, list, str, int, float, bool, None.

Classes that were made from descriptors have all that the mapping needs. Generated ones do not say how the .proto file
spells its names where betterproto changed them: enum members appear without the prefix that betterproto takes off
(both forms are read), and a field's name in JSON is derived from its Python name.

Source: https://protobuf.dev/programming-guides/json/.
"""

from __future__ import annotations

from typing import TypeVar

import betterproto

from orbit_lite.codec import encode
from orbit_lite.codec.descriptors import WELL_KNOWN
from orbit_lite.codec.json_common import MAX_DEPTH, Json, JsonError, Types
from orbit_lite.codec.json_reader import Reader
from orbit_lite.codec.json_writer import Writer

__all__ = ["Json", "JsonError", "Types", "from_json", "to_json"]

M = TypeVar("M", bound=betterproto.Message)


def to_json(message: betterproto.Message, *, defaults: bool = False, types: Types = WELL_KNOWN.__getitem__) -> Json:
    """The message as JSON; mostly a dict, for some well-known types another value. Unknown fields are not shown.

    defaults: also show scalars, lists and maps that are not set. types: finds the classes of messages in an Any.
    Raises EncodeError for a message that cannot be written at all, JsonError for what only JSON cannot show.
    """
    # Once through the wire: what comes back has no mere reads in it, and its values have the right types.
    writer = Writer(defaults, types)
    try:
        return writer.message(writer.read(type(message), encode(message), "$"), "$", MAX_DEPTH)
    except RecursionError as error:
        raise JsonError("$", "nested too deeply for what is left of the stack") from error


def from_json(cls: type[M], value: Json, *, types: Types = WELL_KNOWN.__getitem__) -> M:
    """A message of class `cls` from JSON. Names may be spelt as in JSON or as in the .proto file.

    types: finds the classes of messages in an Any. Raises JsonError, which says where and what is wrong, for anything
    else than such a message.
    """
    try:
        message: M = Reader(types).message(cls, value, "$", MAX_DEPTH)
    except RecursionError as error:
        raise JsonError("$", "nested too deeply for what is left of the stack") from error
    return message
