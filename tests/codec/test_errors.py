"""What the codec refuses it refuses with the place: as DecodeError or EncodeError, and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import sys
from collections import UserDict
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import betterproto
import betterproto.lib.google.protobuf as pb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.codec import CodecLimits, DecodeError, EncodeError, decode, encode
from orbit_lite.codec.descriptors import DescriptorPool
from orbit_lite.errors import SerializationError, Status

CLASSES = (
    "Scalars",
    "Optionals",
    "Repeated",
    "Unpacked",
    "Maps",
    "Choice",
    "Tree",
    "Forest",
    "WellKnown",
    "Edges",
    "EdgesInner",
    "Nothing",
)


def decode_error(cls: type[betterproto.Message], data: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(cls, data)
    return caught.value


def refusal(cls: type[betterproto.Message], data: bytes) -> DecodeError | None:
    """The error on these bytes; None when they are a message, which can then be written again."""
    try:
        message = decode(cls, data)
    except DecodeError as error:
        return error
    encode(message)
    return None


def encode_error(message: betterproto.Message) -> EncodeError:
    with pytest.raises(EncodeError) as caught:
        encode(message)
    return caught.value


# ---------------------------------------------------------------- any bytes


@pytest.mark.parametrize("name", CLASSES)
@given(data=st.binary(max_size=80))
def test_any_bytes_are_a_message_or_a_decode_error(features: ModuleType, name: str, data: bytes) -> None:
    error = refusal(getattr(features, name), data)
    assert error is None or (0 <= error.offset <= len(data) and error.path.startswith(name))


@pytest.mark.parametrize("cls", [pb.Struct, pb.Any, pb.Timestamp, pb.FileDescriptorProto, pb.FieldMask, pb.DoubleValue])
@given(data=st.binary(max_size=80))
def test_any_bytes_are_a_library_message_or_a_decode_error(cls: type[betterproto.Message], data: bytes) -> None:
    error = refusal(cls, data)
    assert error is None or 0 <= error.offset <= len(data)


@pytest.mark.parametrize("name", CLASSES)
@given(data=st.binary(max_size=40))
def test_a_generated_class_and_its_descriptor_find_the_same_fault(
    features: ModuleType, pool: DescriptorPool, name: str, data: bytes
) -> None:
    error = refusal(getattr(features, name), data)
    if error is None or "is outside" not in error.problem:  # plain values alone can be out of range
        twin = refusal(pool.message("orbit.test.features." + name.replace("EdgesInner", "Edges.Inner")), data)
        assert (error and (error.offset, error.problem)) == (twin and (twin.offset, twin.problem))


# ---------------------------------------------------------------- where decoding failed


@pytest.mark.parametrize(
    ("name", "data", "path", "offset"),
    [
        ("Scalars", b"\x08", "Scalars.int32", 1),
        ("Scalars", b"\x08\x01\x72\x01\xff", "Scalars.string", 4),
        ("Scalars", b"\x72\x03ab\xff", "Scalars.string", 4),
        ("Scalars", b"\x08\x01\x07", "Scalars", 3),
        ("Scalars", b"\x08\x01\x80", "Scalars", 2),
        ("Scalars", b"\x80\x01", "Scalars.colour", 2),
        ("Repeated", b"\x72\x01a\x72\x01\xff", "Repeated.string[1]", 5),
        ("Repeated", b"\x3a\x03abc", "Repeated.fixed32[0]", 2),
        ("Repeated", b"\x8a\x01\x00\x8a\x01\x00\x8a\x01\x02\x08\x80", "Repeated.message[2].int32", 11),
        ("Tree", b"\x12\x05\x1a\x03\x0a\x01\xff", "Tree.left.right.name", 6),
        ("Tree", b"\x22\x00\x22\x03\x0a\x01\xff", "Tree.children[1].name", 6),
        ("Tree", b"\x12\x02\x1a\x01", "Tree.left.right", 4),
        ("Tree", b"\x12\x01\x07\x00", "Tree.left", 3),
        ("Tree", b"\x12\x09\x0a\x01\xff", "Tree.left", 5),  # its length is wrong, so nobody looks inside
        ("Maps", b"\x72\x03\x0a\x01\xff", "Maps.of_string.key", 4),
        ("Maps", b"\x72\x03\x12\x01\xff", "Maps.of_string.value", 4),
        ("Maps", b"\x8a\x01\x05\x12\x03\x72\x01\xff", "Maps.of_message.value.string", 7),
        ("WellKnown", b"\x52\x03\x0a\x01\xff", "WellKnown.wrapped_string.value", 4),
        ("WellKnown", b"\x0a\x02\x08\x80", "WellKnown.timestamp.seconds", 4),
        ("Choice", b"\x32\x01\xff", "Choice.a_string", 2),
        ("Edges", b"\x88\xe2\x09\x80", "Edges.class_", 4),
    ],
)
def test_a_decode_error_names_the_field_and_the_byte(
    features: ModuleType, name: str, data: bytes, path: str, offset: int
) -> None:
    error = decode_error(getattr(features, name), data)
    assert (error.path, error.offset) == (path, offset)
    assert str(error).startswith(f"{path}: ")
    assert f"(at byte {offset})" in str(error)
    assert error.problem in str(error)


def test_offsets_count_from_the_outermost_buffer(features: ModuleType) -> None:
    innermost = b"\x0a\x01\xff"
    for _ in range(30):
        innermost = b"\x12" + bytes([len(innermost)]) + innermost
    error = decode_error(features.Tree, innermost)
    assert error.offset == 62
    assert error.path == "Tree" + ".left" * 30 + ".name"


def test_codec_errors_are_serialization_errors_that_a_service_can_send() -> None:
    for error in (DecodeError("Message.field", 3, "cut off"), EncodeError("Message.field", "too large")):
        assert isinstance(error, SerializationError)
        assert error.code is SerializationError.code is not Status.OK
    assert DecodeError.orb_code != EncodeError.orb_code


def test_the_size_limit_is_checked_before_anything_is_read(features: ModuleType) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(features.Nothing, b"\xff" * 9, limits=CodecLimits(max_size=8))
    assert (caught.value.path, caught.value.offset) == ("Nothing", 0)


def test_little_stack_left_is_a_decode_error_too(features: ModuleType) -> None:
    data = b""
    for _ in range(60):
        data = b"\x12" + bytes([len(data)]) + data
    assert refusal(features.Tree, data) is None
    if sys.implementation.name == "pypy":
        pytest.skip("PyPy's stack is measured in bytes")
    limit, depth = sys.getrecursionlimit(), len(inspect.stack(0))
    problems = set()
    for left in range(10, 60, 5):
        with contextlib.suppress(RecursionError):  # our own, when not even `decode` can be called
            try:
                sys.setrecursionlimit(depth + left)
                error = refusal(features.Tree, data)
            finally:
                sys.setrecursionlimit(limit)
            problems.add(error and error.problem)
    assert problems == {"nested too deeply for what is left of the stack"}


@pytest.mark.parametrize("cls", [int, object, SimpleNamespace, UserDict])
def test_a_class_that_is_no_message_is_a_type_error(cls: Any) -> None:
    with pytest.raises(TypeError, match="no betterproto message"):
        decode(cls, b"")
    with pytest.raises(TypeError, match="no betterproto message"):
        encode(cls())


# ---------------------------------------------------------------- what cannot be encoded


@pytest.mark.parametrize(
    ("name", "values", "path", "words"),
    [
        ("Scalars", {"int32": 2**31}, "int32", "outside the range of int32"),
        ("Scalars", {"int32": -(2**31) - 1}, "int32", "outside the range of int32"),
        ("Scalars", {"int64": 2**63}, "int64", "outside the range of int64"),
        ("Scalars", {"uint32": 2**32}, "uint32", "outside the range of uint32"),
        ("Scalars", {"uint32": -1}, "uint32", "outside the range of uint32"),
        ("Scalars", {"uint64": 2**64}, "uint64", "outside the range of uint64"),
        ("Scalars", {"uint64": -1}, "uint64", "outside the range of uint64"),
        ("Scalars", {"sint32": 2**31}, "sint32", "outside the range of sint32"),
        ("Scalars", {"sint64": -(2**63) - 1}, "sint64", "outside the range of sint64"),
        ("Scalars", {"fixed32": -1}, "fixed32", ""),
        ("Scalars", {"fixed32": 2**32}, "fixed32", ""),
        ("Scalars", {"fixed64": 2**64}, "fixed64", ""),
        ("Scalars", {"sfixed32": 2**31}, "sfixed32", ""),
        ("Scalars", {"sfixed64": 2**63}, "sfixed64", ""),
        ("Scalars", {"float": 1e39}, "float", ""),
        ("Scalars", {"colour": 2**31}, "colour", "outside the range"),
        ("Scalars", {"int32": "7"}, "int32", ""),
        ("Scalars", {"int32": b"7"}, "int32", ""),
        ("Scalars", {"int32": 1.5}, "int32", ""),
        ("Scalars", {"sint32": 1.5}, "sint32", ""),
        ("Scalars", {"fixed32": 1.5}, "fixed32", ""),
        ("Scalars", {"double": "1"}, "double", ""),
        ("Scalars", {"bool": "yes"}, "bool", "expected a bool, found str"),
        ("Scalars", {"string": b"x"}, "string", ""),
        ("Scalars", {"string": 7}, "string", ""),
        ("Scalars", {"string": "\ud800"}, "string", "surrogates"),
        ("Scalars", {"bytes": "x"}, "bytes", "expected bytes, found str"),
        ("Scalars", {"bytes": 7}, "bytes", "expected bytes, found int"),
        ("Optionals", {"int32": "7"}, "int32", ""),
        ("Repeated", {"int32": [1, 2, 2**31]}, "int32[2]", "outside the range of int32"),
        ("Repeated", {"fixed64": [1, -1]}, "fixed64[1]", ""),
        ("Repeated", {"string": ["a", b"b"]}, "string[1]", ""),
        ("Repeated", {"string": "text"}, "string", "expected a list, found str"),
        ("Repeated", {"int32": b"text"}, "int32", "expected a list, found bytes"),
        ("Repeated", {"int32": 7}, "int32", ""),
        ("Repeated", {"bool": [True, "no"]}, "bool[1]", "expected a bool"),
        ("Repeated", {"message": [{}]}, "message[0]", "expected Scalars, found dict"),
        ("Maps", {"of_int32": {1: 2**31}}, "of_int32[1]", "outside the range of int32"),
        ("Maps", {"of_int32": {"a": 1}}, "of_int32", ""),
        ("Maps", {"of_int32": {2**31: 1}}, "of_int32", "outside the range of int32"),
        ("Maps", {"of_string": {"k": 1}}, "of_string['k']", ""),
        ("Maps", {"of_string": ["k"]}, "of_string", ""),
        ("Maps", {"of_message": {"k": None}}, "of_message['k']", "expected Scalars, found NoneType"),
        ("Choice", {"a_bytes": "x"}, "a_bytes", "expected bytes"),
        ("Choice", {"a_message": 7}, "a_message", "expected Scalars, found int"),
        ("Choice", {"a_wrapper": "x"}, "a_wrapper", ""),
        ("WellKnown", {"wrapped_int32": 2**31}, "wrapped_int32", "outside the range of int32"),
        ("WellKnown", {"wrapped_string": 7}, "wrapped_string", ""),
        ("WellKnown", {"wrapped_numbers": [1, None]}, "wrapped_numbers[1]", ""),
        ("WellKnown", {"timestamp": datetime(2024, 1, 1)}, "timestamp", "without time zone"),  # noqa: DTZ001
        ("WellKnown", {"timestamp": 5}, "timestamp", "expected a datetime, found int"),
        ("WellKnown", {"timestamp": timedelta(1)}, "timestamp", "expected a datetime, found timedelta"),
        ("WellKnown", {"duration": 5}, "duration", "expected a timedelta, found int"),
        ("WellKnown", {"durations": [timedelta(0), datetime(2024, 1, 1, tzinfo=UTC)]}, "durations[1]", "a timedelta"),
    ],
)
def test_an_encode_error_names_the_field_that_holds_the_wrong_value(
    features: ModuleType, name: str, values: dict[str, object], path: str, words: str
) -> None:
    error = encode_error(getattr(features, name)(**values))
    assert error.path == f"{name}.{path}"
    assert words in error.problem
    assert error.problem
    assert isinstance(error.__cause__, Exception)


def test_the_path_leads_through_messages_lists_and_maps(features: ModuleType) -> None:
    bad = features.Tree(name=7)
    assert encode_error(features.Tree(left=features.Tree(right=bad))).path == "Tree.left.right.name"
    assert encode_error(features.Tree(children=[features.Tree(name="x"), bad])).path == "Tree.children[1].name"
    forest = features.Forest(trees={1: features.Tree(name="x"), 2: bad})
    assert encode_error(features.Tree(forest=forest)).path == "Tree.forest.trees[2].name"


def test_a_message_of_another_class_is_refused(features: ModuleType) -> None:
    error = encode_error(features.Tree(left=features.Scalars(string="x")))
    assert (error.path, error.problem) == ("Tree.left", "expected Tree, found Scalars")


def test_a_subclass_will_do(features: ModuleType) -> None:
    special = dataclasses.make_dataclass("Special", [], bases=(features.Tree,), eq=False, repr=False)
    assert encode(features.Tree(left=special(name="x"))) == b"\x12\x03\x0a\x01x"


def test_a_message_within_itself_is_an_encode_error(features: ModuleType) -> None:
    tree = features.Tree(name="x")
    tree.children = [tree]
    assert encode_error(tree).problem == "nested too deeply to be written, or within itself"


def test_an_instance_that_was_never_initialised_is_an_encode_error(features: ModuleType) -> None:
    error = encode_error(object.__new__(features.Scalars))
    assert error.path == "Scalars.int32"
    assert "the instance was not initialised" in error.problem


def test_other_things_than_lists_do_when_they_are_sequences(features: ModuleType) -> None:
    assert encode(features.Repeated(int32=(1, 2), string=("a",))) == b"\x0a\x02\x01\x02\x72\x01a"
    assert encode(features.Repeated(int32=range(1, 3))) == b"\x0a\x02\x01\x02"
    assert encode(features.Scalars(bytes=bytearray(b"x"))) == b"\x7a\x01x"
    assert encode(features.Scalars(bytes=memoryview(b"x"))) == b"\x7a\x01x"


class Hostile:
    """A value whose every use is an error."""

    def __bool__(self) -> bool:
        raise ValueError("no")

    def __index__(self) -> int:
        raise OverflowError("no")


JUNK = (
    st.none()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.lists(st.integers() | st.none(), max_size=2)
    | st.dictionaries(st.text(max_size=2), st.integers(), max_size=2)
    | st.builds(Hostile)
    | st.just(pb.Empty())
)


@pytest.mark.parametrize("name", CLASSES[:-1])
@given(junk=JUNK, data=st.data())
def test_any_value_in_any_field_is_written_or_an_encode_error(
    features: ModuleType, name: str, junk: object, data: st.DataObject
) -> None:
    cls = getattr(features, name)
    field = data.draw(st.sampled_from([item.name for item in dataclasses.fields(cls)]))
    message = cls(**{field: junk})
    try:
        written = encode(message)
    except EncodeError as error:
        path = error.path
    else:
        decode(cls, written)
        return
    assert path.startswith(f"{name}.{field}")
