"""Which bytes are a message, and what they say: the codec's verdict is that of google.protobuf's C runtime, upb.

These are all the differences, each on purpose. Any class, see `agree` and `set_aside`:

- field number 0 is refused in messages without fields and in unknown groups, as everywhere else;
- an entry of a map that has unknown fields is in the map, without them. upb takes it for an unknown field as a whole.

Generated classes, which show Timestamps, Durations and wrappers as plain values, where those made from descriptors show
each message as it is, see `without_plain_values`:

- Timestamps outside the years 1 to 9999 and Durations beyond a timedelta are refused: no Python value stands for them;
- nanoseconds below a microsecond are cut off, and nanoseconds out of range count as the seconds that they are;
- unknown fields inside these messages are dropped: a plain value has no place for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import betterproto
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orbit_lite.codec import CodecLimits, DecodeError, decode, encode
from orbit_lite.codec.descriptors import DescriptorPool
from orbit_lite.codec.wire import varint
from orbit_lite.errors import ConfigurationError

OVERLONG = b"\x80" * 9 + b"\x00"  # zero in ten bytes


#: What generated classes show as plain Python values.
PLAIN = {f"google.protobuf.{name}" for name in ("Timestamp", "Duration")} | {
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
}


def problem(cls: type[betterproto.Message], data: bytes) -> str:
    """Why the bytes are refused; empty when they are not."""
    try:
        decode(cls, data)
    except DecodeError as error:
        return error.problem
    return ""


def parsed(upb: Any, cls: Any, data: bytes) -> Any:
    """What upb reads, or None."""
    try:
        return cls.FromString(data)
    except upb.DecodeError:
        return None


def agree(found: str, expected: Any) -> bool:
    """Whether both accept, or both refuse.

    In unknown groups and in messages without any fields, google.protobuf.Empty among them, upb lets field number 0
    pass, which it refuses everywhere else and which the C++ and Java runtimes always refuse. So does the codec.
    """
    return found == "field number 0" or (found == "") == (expected is not None)


def set_aside(upb: Any, message: Any) -> bool:
    """Whether upb took an entry of a map for an unknown field, since there are unknown fields in it.

    The C++ and Java runtimes take the entry and drop what they do not know of it. So does the codec.
    """
    maps = {f.number for f in message.DESCRIPTOR.fields if f.message_type and f.message_type.GetOptions().map_entry}
    if any(unknown.field_number in maps and unknown.wire_type == 2 for unknown in upb.unknown_fields(message)):
        return True
    return any(set_aside(upb, inside) for _, inside in messages_in(message))


def messages_in(message: Any) -> Iterator[tuple[str, Any]]:
    """(full name of the class, message) of all that are directly inside a message."""
    for field, value in message.ListFields():
        of, items = field.message_type, [value]
        if of is not None and of.GetOptions().map_entry:
            of, items = of.fields_by_name["value"].message_type, list(value.values())
        elif hasattr(value, "add"):
            items = value
        if of is not None:
            yield from ((of.full_name, item) for item in items)


def without_plain_values(message: Any) -> Any:
    """The message, with what generated classes show as plain Python values emptied."""
    for name, inside in messages_in(message):
        if name in PLAIN:
            inside.Clear()
        else:
            without_plain_values(inside)
    return message


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes after one to three accidents."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        to = draw(st.integers(at, min(at + 12, len(data))))
        match draw(st.sampled_from(["bit", "byte", "delete", "insert", "cut", "splice", "repeat"])):
            case "bit" if at < len(data):
                data = data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
            case "byte":
                data = data[:at] + draw(st.sampled_from([b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff"])) + data[at + 1 :]
            case "delete":
                data = data[:at] + data[to:]
            case "insert":
                data = (
                    data[:at] + draw(st.binary(max_size=4) | st.sampled_from([OVERLONG, b"\x0b", b"\x0c"])) + data[at:]
                )
            case "cut":
                data = data[:at]
            case "splice":
                elsewhere = draw(st.integers(0, len(data)))
                data = data[:elsewhere] + data[at:to] + data[elsewhere:]
            case "repeat":
                data = data[:to] + data[at:to] * draw(st.integers(1, 3)) + data[to:]
    return data


@given(st.data())
def test_damaged_bytes_are_judged_and_read_as_upb_does(
    both: Any, upb: Any, pool: DescriptorPool, data: st.DataObject
) -> None:
    broken = data.draw(damaged(data.draw(upb.filled(both.name)).SerializeToString()))
    cls = pool.message(f"orbit.test.features.{both.name}")
    expected = parsed(upb, both.theirs, broken)
    found = problem(cls, broken)
    assert agree(found, expected), found
    if not found and not set_aside(upb, expected):
        again = parsed(upb, both.theirs, encode(decode(cls, broken)))
        assert upb.canonical(again) == upb.canonical(expected)


@given(st.data())
def test_generated_classes_differ_in_plain_values_only(both: Any, upb: Any, data: st.DataObject) -> None:
    broken = data.draw(damaged(data.draw(upb.filled(both.name)).SerializeToString()))
    expected = parsed(upb, both.theirs, broken)
    found = problem(both.ours, broken)
    if "is outside" in found:  # the years 1 to 9999, or what a timedelta can hold
        return
    assert agree(found, expected), found
    if not found and not set_aside(upb, expected):
        again = parsed(upb, both.theirs, encode(decode(both.ours, broken)))
        assert upb.canonical(without_plain_values(again)) == upb.canonical(without_plain_values(expected))


@given(st.binary(max_size=60))
@example(b"\x07")
def test_noise_is_judged_as_upb_does(both: Any, upb: Any, pool: DescriptorPool, noise: bytes) -> None:
    found = problem(pool.message(f"orbit.test.features.{both.name}"), noise)
    assert agree(found, parsed(upb, both.theirs, noise)), found


# ---------------------------------------------------------------- bytes that are no message


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("Scalars", b"\x72\x05abc", "ends 2 bytes past"),
        ("Scalars", b"\x72\xff\xff\xff\xff\x07", "past the message"),
        ("Scalars", b"\x72\x80\x80\x80\x80\x08", "over 2 GiB"),
        ("Scalars", b"\x72\xff\xff\xff\xff\x0f", "over 2 GiB"),
        ("Scalars", b"\x72\xff\xff\xff\xff\xff\x01", "a length of more than 5 bytes"),
        ("Scalars", b"\x72", "cut off"),
        ("Scalars", b"\x3d\x01\x02\x03", "cut off"),
        ("Scalars", b"\x41\x01\x02\x03\x04\x05\x06\x07", "cut off"),
        ("Scalars", b"\x08", "cut off"),
        ("Scalars", b"\x08\x80", "cut off"),
        ("Scalars", b"\x80", "cut off within a tag"),
        ("Scalars", b"\x0e\x00", "wire type 6"),
        ("Scalars", b"\x0f\x00", "wire type 7"),
        ("Scalars", b"\x00\x00", "field number 0"),
        ("Scalars", b"\x02\x00", "field number 0"),
        ("Scalars", b"\x80\x80\x80\x80\x10\x00", "a tag of more than 32 bits"),
        ("Scalars", b"\x88\x80\x80\x80\x80\x00\x01", "a tag of more than 5 bytes"),
        ("Scalars", b"\x0c", "the end of group 1, which was not opened"),
        ("Scalars", b"\x0b", "group 1 is not closed"),
        ("Scalars", b"\xa3\x06\xac\x06", "the end of group 101"),
        ("Scalars", b"\xa3\x06\xa3\x06\xa4\x06", "group 100 is not closed"),
        ("Scalars", b"\x08" + b"\x80" * 10 + b"\x00", "a varint of more than 10 bytes"),
        ("Scalars", b"\x08" + b"\xff" * 10 + b"\x01", "a varint of more than 10 bytes"),
        ("Nothing", b"\x08" + b"\x80" * 10 + b"\x00", "a varint of more than 10 bytes"),
        ("Scalars", b"\x72\x01\xff", "not UTF-8"),
        ("Scalars", b"\x72\x03\xed\xa0\x80", "not UTF-8"),  # a surrogate
        ("Scalars", b"\x72\x02\xc0\x80", "not UTF-8"),  # NUL in two bytes
        ("Scalars", b"\x72\x04\xf4\x90\x80\x80", "not UTF-8"),  # past U+10FFFF
        ("Repeated", b"\x72\x01a\x72\x01\xff", "not UTF-8"),
        ("Maps", b"\x72\x03\x0a\x01\xff", "not UTF-8"),
        ("Repeated", b"\x3a\x05\x00\x00\x00\x00\x00", "packed values of 4 bytes"),
        ("Repeated", b"\x0a\x02\x01\x80", "cut off"),
        ("Repeated", b"\x0a\x02\x01\x80\x01", "past the message"),  # the varint goes on after its packed run
        ("Tree", b"\x12\x02\x0a\x05hello", "past the message"),  # a string goes on after its message
        ("Tree", b"\x12\x01\x80\x01", "cut off"),  # a tag goes on after its message
        ("Scalars", b"\xa3\x06\x0e\x00\xa4\x06", "wire type 6"),  # within an unknown group
        ("Nothing", b"\x0a\x05abc", "unknown field 1 is cut off"),
        ("Nothing", b"\x09\x00", "unknown field 1 is cut off"),
        ("Nothing", b"\x0d\x00", "unknown field 1 is cut off"),
    ],
)
def test_these_bytes_are_refused(features: ModuleType, google: Any, name: str, data: bytes, reason: str) -> None:
    assert reason in problem(getattr(features, name), data)
    if google.upb:
        assert parsed(google, google.message(name), data) is None


@pytest.mark.parametrize(("name", "data"), [("Nothing", b"\x00\x00"), ("Tree", b"\xa3\x06\x02\x00\xa4\x06")])
def test_field_number_0_is_refused_where_upb_lets_it_pass(features: ModuleType, name: str, data: bytes) -> None:
    assert problem(getattr(features, name), data) == "field number 0"


@given(st.data())
def test_a_message_cut_short_is_refused_or_ends_between_fields(both: Any, upb: Any, data: st.DataObject) -> None:
    whole = data.draw(upb.filled(both.name)).SerializeToString()
    for end in range(min(len(whole), 24)):
        found = problem(both.ours, whole[:end])
        assert (found == "") == (parsed(upb, both.theirs, whole[:end]) is not None), found


# ---------------------------------------------------------------- bytes that are one


@pytest.mark.parametrize(
    ("place", "data", "value"),
    [
        ("Scalars.int32", b"\x08" + OVERLONG, 0),
        ("Scalars.int32", b"\x08\x81\x80\x80\x00", 1),
        ("Scalars.string", b"\x72\x83\x80\x00abc", "abc"),
        ("Scalars.int32", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", -1),
        ("Scalars.int32", b"\x08\x80\x80\x80\x80\x10", 0),  # 2**32: its upper bits are dropped
        ("Scalars.int32", b"\x08\xff\xff\xff\xff\x1f", -1),
        ("Scalars.uint32", b"\x18\xff\xff\xff\xff\x1f", 2**32 - 1),
        ("Scalars.sint32", b"\x28\x81\x80\x80\x80\x10", -1),
        ("Scalars.int64", b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", -1),  # bits above the 64th
        ("Scalars.uint64", b"\x20\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", 0),
        ("Scalars.bool", b"\x68\x02", True),
        ("Scalars.bool", b"\x68\x80\x80\x80\x80\x10", True),  # more than 32 bits of it count
        ("Scalars.colour", b"\x80\x01\x81\x80\x80\x80\x10", 1),
        ("Repeated.int32", b"\x0a\x05\x80\x80\x80\x80\x10", [0]),
        ("Repeated.bool", b"\x6a\x03\x02\x80\x00", [True, False]),
        ("Repeated.int32", b"\x0a\x00", []),
        ("Scalars.int32", b"\x08\x01\x08\x02", 2),  # the last one wins
        ("Scalars.int32", b"\x08\x01\x08\x00", 0),
        ("Scalars.string", b"\x72\x01b\x08\x01\x72\x00", ""),  # out of order, too
        ("Maps.of_int32", b"\x0a\x00", {0: 0}),
        ("Maps.of_int32", b"\x0a\x02\x08\x05", {5: 0}),
        ("Maps.of_int32", b"\x0a\x02\x10\x05", {0: 5}),
        ("Maps.of_int32", b"\x0a\x04\x10\x05\x08\x06", {6: 5}),
        ("Maps.of_int32", b"\x0a\x06\x08\x01\x08\x02\x10\x03", {2: 3}),
        ("Maps.of_int32", b"\x0a\x04\x08\x01\x10\x01\x0a\x04\x08\x01\x10\x02", {1: 2}),
        ("Maps.of_bool", b"\x6a\x00", {False: False}),
        ("Maps.of_bool", b"\x6a\x04\x08\x02\x10\x03", {True: True}),
        ("Maps.of_string", b"\x72\x00", {"": ""}),
        ("Maps.of_colour", b"\x82\x01\x03\x0a\x01k", {"k": 0}),
    ],
)
def test_these_bytes_mean(features: ModuleType, google: Any, place: str, data: bytes, value: object) -> None:
    name, field = place.split(".")
    assert getattr(decode(getattr(features, name), data), field) == value
    theirs = getattr(google.message(name).FromString(data), field)
    assert (dict(theirs) if isinstance(value, dict) else list(theirs) if isinstance(value, list) else theirs) == value


@pytest.mark.parametrize("tag", [b"\x08", b"\x88\x00", b"\x88\x80\x00", b"\x88\x80\x80\x80\x00"])
def test_a_tag_may_be_longer_than_it_needs_to_be(features: ModuleType, google: Any, tag: bytes) -> None:
    assert decode(features.Scalars, tag + b"\x05").int32 == 5
    if google.upb:
        assert google.Scalars.FromString(tag + b"\x05").int32 == 5


def test_unknown_fields_in_an_entry_of_a_map_are_dropped(features: ModuleType) -> None:
    message = decode(features.Maps, b"\x0a\x06\x08\x01\x18\x09\x10\x02")
    assert message.of_int32 == {1: 2}
    assert encode(message) == b"\x0a\x04\x08\x01\x10\x02"


def test_a_map_entry_without_value_holds_an_empty_message(features: ModuleType, google: Any) -> None:
    data = b"\x8a\x01\x03\x0a\x01k"
    message = decode(features.Maps, data)
    assert encode(message.of_message["k"]) == b""
    assert google.Maps.FromString(encode(message)) == google.Maps.FromString(data)


# ---------------------------------------------------------------- merging


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("Tree", {"left": {"name": "a", "children": [{"name": "c"}]}}, {"left": {"right": {}, "children": [{}]}}),
        ("Forest", {"root": {"name": "a"}}, {"root": {"forest": {"root": {}}}}),
        ("Optionals", {"message": {"int32": 1, "string": "x"}}, {"message": {"int32": 0, "double": 2.0}}),
        ("Choice", {"a_message": {"int32": 1}}, {"a_message": {"string": "x"}}),
        ("Choice", {"a_int32": 1}, {"a_string": "x"}),
        ("Choice", {"a_message": {"int32": 1}}, {"a_bool": False}),
        ("Choice", {"tree": {"name": "x"}, "a_wrapper": {"value": 5}}, {"fixed64": 0, "a_wrapper": {}}),
        ("WellKnown", {"timestamp": {"seconds": 5, "nanos": 1000}}, {"timestamp": {"seconds": 6}}),
        ("WellKnown", {"duration": {"seconds": -5}}, {"duration": {"nanos": -1000}}),
        ("WellKnown", {"wrapped_string": {"value": "x"}}, {"wrapped_string": {}}),
        ("WellKnown", {"value": {"number_value": 1}}, {"value": {"list_value": {"values": [{"bool_value": True}]}}}),
        ("WellKnown", {"timestamps": [{"seconds": 5}]}, {"timestamps": [{}]}),
        ("Repeated", {"int32": [1, 2], "message": [{"int32": 1}]}, {"int32": [3], "message": [{"string": "x"}]}),
    ],
)
def test_two_messages_one_after_the_other_are_merged(
    features: ModuleType, google: Any, name: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    cls = google.message(name)
    data = cls(**first).SerializeToString() + cls(**second).SerializeToString()
    assert google.canonical(cls.FromString(encode(decode(getattr(features, name), data)))) == google.canonical(
        cls.FromString(data)
    )


def test_of_a_oneof_the_last_member_stands_and_the_others_are_gone(features: ModuleType) -> None:
    message = decode(features.Choice, b"\x10\x07\x28\x01\x32\x01x")
    assert betterproto.which_one_of(message, "choice") == ("a_string", "x")
    with pytest.raises(AttributeError):
        _ = message.a_int32
    assert encode(message) == b"\x32\x01x"


def test_a_value_that_comes_back_after_another_member_starts_anew(features: ModuleType, google: Any) -> None:
    data = b"\x4a\x02\x08\x01\x28\x01\x4a\x02\x10\x02"  # a_message, a_bool, a_message
    message = decode(features.Choice, data)
    assert (message.a_message.int32, message.a_message.int64) == (0, 2)
    assert google.Choice.FromString(data) == google.Choice.FromString(encode(message))


def test_the_later_entry_of_a_map_replaces_the_earlier_one_whole(features: ModuleType) -> None:
    entry = b"\x8a\x01\x07\x0a\x01k\x12\x02\x08\x01\x8a\x01\x07\x0a\x01k\x12\x02\x10\x02"
    message = decode(features.Maps, entry)
    assert (message.of_message["k"].int32, message.of_message["k"].int64) == (0, 2)


# ---------------------------------------------------------------- unknown fields


UNKNOWN = b"\xa0\x06\x80\x01\xa1\x0612345678\xa2\x06\x02hi\xa3\x06\x08\x01\x0b\x0c\xa4\x06\xa5\x061234"


def test_unknown_fields_are_kept_and_written_again(features: ModuleType, google: Any) -> None:
    assert encode(decode(features.Nothing, UNKNOWN)) == UNKNOWN
    assert encode(decode(features.Scalars, UNKNOWN + b"\x08\x01" + UNKNOWN)) == b"\x08\x01" + UNKNOWN + UNKNOWN
    nested = b"\x12" + bytes([len(UNKNOWN)]) + UNKNOWN
    assert encode(decode(features.Tree, nested)) == nested
    assert google.Nothing.FromString(UNKNOWN).SerializeToString() == UNKNOWN


def test_unknown_fields_of_merged_messages_add_up(features: ModuleType) -> None:
    data = b"\x12\x03\xa0\x06\x01" * 3
    assert encode(decode(features.Tree, data)) == b"\x12\x09" + b"\xa0\x06\x01" * 3


@pytest.mark.parametrize("data", [b"\x0d1234", b"\x0912345678", b"\x0a\x02hi", b"\x0b\x0c", b"\x70\x05", b"\x75abcd"])
def test_a_known_field_of_another_wire_type_is_unknown(features: ModuleType, google: Any, data: bytes) -> None:
    message = decode(features.Scalars, b"\x08\x07" + data)
    assert message.int32 == 7
    assert encode(message) == b"\x08\x07" + data
    assert google.Scalars.FromString(b"\x08\x07" + data).SerializeToString() == b"\x08\x07" + data


def test_unknown_fields_in_a_plain_value_are_dropped(features: ModuleType) -> None:
    assert encode(decode(features.WellKnown, b"\x0a\x05\x08\x01\xa0\x06\x01")) == b"\x0a\x02\x08\x01"
    assert encode(decode(features.WellKnown, b"\x2a\x05\x08\x01\xa0\x06\x01")) == b"\x2a\x02\x08\x01"


# ---------------------------------------------------------------- plain values


@pytest.mark.parametrize("seconds", [-62_135_596_801, 253_402_300_800, 2**63 - 1, -(2**63)])
def test_a_timestamp_that_no_datetime_can_hold_is_refused(
    features: ModuleType, pool: DescriptorPool, google: Any, seconds: int
) -> None:
    data = google.WellKnown(timestamp={"seconds": seconds}).SerializeToString()
    assert "outside the years 1 to 9999" in problem(features.WellKnown, data)
    dynamic = pool.message("orbit.test.features.WellKnown")
    assert encode(decode(dynamic, data)) == data, "a class made from descriptors keeps it as it is"


@pytest.mark.parametrize("seconds", [10**15, -(10**15), 2**63 - 1, -(2**63)])
def test_a_duration_that_no_timedelta_can_hold_is_refused(
    features: ModuleType, pool: DescriptorPool, google: Any, seconds: int
) -> None:
    data = google.WellKnown(duration={"seconds": seconds}).SerializeToString()
    assert "outside what a timedelta can hold" in problem(features.WellKnown, data)
    assert encode(decode(pool.message("orbit.test.features.WellKnown"), data)) == data


@pytest.mark.parametrize(
    ("seconds", "nanos", "micros"),
    [(5, 1_999, 5_000_001), (-1, 999_999_999, -1), (5, 2_000_000_000, 7_000_000), (5, -1, 4_999_999), (0, -1_000, -1)],
)
def test_nanoseconds_of_a_timestamp_are_cut_to_microseconds_towards_the_past(
    features: ModuleType, google: Any, seconds: int, nanos: int, micros: int
) -> None:
    data = google.WellKnown(timestamp={"seconds": seconds, "nanos": nanos}).SerializeToString()
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    assert decode(features.WellKnown, data).timestamp == expected


@pytest.mark.parametrize(
    ("seconds", "nanos", "micros"),
    [
        (5, 1_999, 5_000_001),
        (-5, -1_999, -5_000_001),
        (0, -999, 0),
        (1, -1_000, 999_999),
        (0, 2_000_000_000, 2_000_000),
    ],
)
def test_nanoseconds_of_a_duration_are_cut_to_microseconds_towards_zero(
    features: ModuleType, google: Any, seconds: int, nanos: int, micros: int
) -> None:
    data = google.WellKnown(duration={"seconds": seconds, "nanos": nanos}).SerializeToString()
    assert decode(features.WellKnown, data).duration == timedelta(microseconds=micros)


# ---------------------------------------------------------------- limits


def nested(levels: int, innermost: bytes = b"") -> bytes:
    """So many Trees, each the `left` of the one around it."""
    data = innermost
    for _ in range(levels):
        data = b"\x12" + varint(len(data)) + data
    return data


@pytest.mark.parametrize(("levels", "fits"), [(99, True), (100, True), (101, False), (5_000, False)])
def test_messages_nest_a_hundred_levels_deep(features: ModuleType, google: Any, levels: int, fits: bool) -> None:
    found = problem(features.Tree, nested(levels))
    assert found == ("" if fits else "nested deeper than the limit")
    if google.upb:
        assert (parsed(google, google.Tree, nested(levels)) is not None) is fits


@pytest.mark.parametrize(("levels", "fits"), [(99, True), (100, True), (101, False), (5_000, False)])
def test_groups_count_as_levels(features: ModuleType, google: Any, levels: int, fits: bool) -> None:
    data = b"\xa3\x06" * levels + b"\xa4\x06" * levels
    assert problem(features.Tree, data) == ("" if fits else "nested deeper than the limit")
    if google.upb:
        assert (parsed(google, google.Tree, data) is not None) is fits


@pytest.mark.parametrize("levels", range(96, 101))
@pytest.mark.parametrize(
    "innermost", [b"\x2a\x02\x12\x00", b"\x2a\x04\x12\x02\x12\x00", b"\x22\x00", b"\x2a\x00", b"\x1b\x1c"]
)
def test_lists_and_entries_of_maps_count_as_levels(
    features: ModuleType, upb: Any, levels: int, innermost: bytes
) -> None:
    """An entry of a map is a message on the wire, whatever Python shows, and so is the value that it leaves out."""
    data = nested(levels, innermost)
    assert (problem(features.Tree, data) == "") is (parsed(upb, upb.Tree, data) is not None)


def test_plain_values_count_as_levels(features: ModuleType) -> None:
    entry_of_timestamp = b"\x9a\x01\x05\x0a\x01k\x12\x00"
    for cls, data, levels in (
        (features.WellKnown, b"\x0a\x00", 1),
        (features.WellKnown, b"\x2a\x00", 1),
        (features.Maps, entry_of_timestamp, 2),
        (features.WellKnown, b"\x0a\x02\x1b\x1c", 2),  # a group in a Timestamp
    ):
        assert encode(decode(cls, data, limits=CodecLimits(max_depth=levels)))
        if levels > 1:
            with pytest.raises(DecodeError, match="nested deeper"):
                decode(cls, data, limits=CodecLimits(max_depth=levels - 1))


def test_the_depth_limit_is_the_callers(features: ModuleType) -> None:
    limits = CodecLimits(max_depth=3)
    decode(features.Tree, nested(3), limits=limits)
    with pytest.raises(DecodeError, match="deeper"):
        decode(features.Tree, nested(4), limits=limits)


def test_the_size_limit_counts_the_whole_message(features: ModuleType) -> None:
    limits = CodecLimits(max_size=5)
    assert decode(features.Scalars, b"\x72\x03abc", limits=limits).string == "abc"
    with pytest.raises(DecodeError, match="6 bytes are over the limit of 5"):
        decode(features.Scalars, b"\x72\x04abcd", limits=limits)


@pytest.mark.parametrize("wrong", [{"max_size": -1}, {"max_size": 2**31}, {"max_depth": 0}, {"max_depth": 201}])
def test_limits_that_protobuf_or_the_stack_do_not_allow_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        CodecLimits(**wrong)


def test_any_buffer_can_be_decoded(features: ModuleType) -> None:
    for buffer in (b"\x72\x01x", bytearray(b"\x72\x01x"), memoryview(b"..\x72\x01x")[2:]):
        assert decode(features.Scalars, buffer).string == "x"


def test_a_decoded_message_does_not_follow_its_buffer(features: ModuleType) -> None:
    buffer = bytearray(b"\x7a\x01x\xa2\x06\x01y")
    message = decode(features.Scalars, buffer)
    buffer[:] = b"\xff" * len(buffer)
    assert message.bytes == b"x"
    assert encode(message) == b"\x7a\x01x\xa2\x06\x01y"
