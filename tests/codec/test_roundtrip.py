"""What one side writes, the other one reads: the codec against google.protobuf, over all messages of features.proto."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import ModuleType
from typing import Any

import betterproto
import betterproto.lib.google.protobuf as pb
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.codec import decode, encode
from orbit_lite.codec.plan import FieldPlan, Label, plan_of


def _constructed(cls: type[betterproto.Message], message: Any) -> betterproto.Message:
    """The message as a program would build it from Python values: nothing of it was ever decoded."""
    planned = {field.number: field for field in plan_of(cls).fields}
    set_fields = {planned[field.number]: value for field, value in message.ListFields()}
    if not set_fields:
        return decode(cls, b"")  # present though empty, which `cls()` as an argument is not
    return cls(**{field.name: _python(field, value) for field, value in set_fields.items()})


def _python(field: FieldPlan, value: Any) -> object:
    if field.label is Label.REPEATED:
        return [_single(field, item) for item in value]
    if field.label is Label.MAP:
        return {key: _single(field, value[key]) for key in value}
    return _single(field, value)


def _single(field: FieldPlan, value: Any) -> object:
    match field.kind:
        case "timestamp":
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)
        case "duration":
            return timedelta(seconds=value.seconds, microseconds=value.nanos / 1000)
        case "wrapper":
            return value.value
        case "message":
            assert field.cls is not None
            return _constructed(field.cls, value)
        case _:
            return value


@given(st.data())
def test_what_google_writes_comes_back_unchanged(both: Any, google: Any, data: st.DataObject) -> None:
    original = data.draw(google.filled(both.name))
    message = decode(both.ours, original.SerializeToString())
    written = encode(message)
    assert google.canonical(both.theirs.FromString(written)) == google.canonical(original)
    assert written == encode(message) == encode(decode(both.ours, written)), "writing changes nothing"


@given(st.data())
def test_what_a_program_builds_is_what_google_reads(both: Any, google: Any, data: st.DataObject) -> None:
    original = data.draw(google.filled(both.name))
    written = encode(_constructed(both.ours, original))
    assert google.canonical(both.theirs.FromString(written)) == google.canonical(original)


# ---------------------------------------------------------------- packed and unpacked


@given(numbers=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=300))
def test_numbers_are_read_packed_and_unpacked_alike(features: ModuleType, google: Any, numbers: list[int]) -> None:
    packed = google.Repeated(int32=numbers).SerializeToString()
    unpacked = google.Unpacked(int32=numbers).SerializeToString()
    assert decode(features.Repeated, unpacked).int32 == decode(features.Repeated, packed).int32 == numbers
    assert decode(features.Unpacked, unpacked).int32 == decode(features.Unpacked, packed).int32 == numbers


def test_packed_runs_and_single_values_add_up_in_their_order(features: ModuleType) -> None:
    message = decode(features.Repeated, b"\x0a\x02\x01\x02\x08\x03\x0a\x00\x0a\x03\x04\xac\x02\x08\x06")
    assert message.int32 == [1, 2, 3, 4, 300, 6]
    assert encode(message) == b"\x0a\x07\x01\x02\x03\x04\xac\x02\x06"


@given(st.data())
def test_every_packable_kind_is_read_both_ways(features: ModuleType, google: Any, data: st.DataObject) -> None:
    """Repeated and Optionals number their fields alike: a value of the one is an unpacked item of the other."""
    packed = google.Repeated()
    packed.CopyFrom(data.draw(google.filled("Repeated")))
    for name in ("string", "bytes", "message"):  # these are never packed
        packed.ClearField(name)
    singles = [google.Optionals(**{field.name: item}) for field, items in packed.ListFields() for item in items]
    unpacked = b"".join(single.SerializeToString() for single in singles)
    assert encode(decode(features.Repeated, unpacked)) == encode(decode(features.Repeated, packed.SerializeToString()))


# ---------------------------------------------------------------- presence


def test_a_default_is_not_written_without_presence_and_is_with_it(features: ModuleType) -> None:
    assert encode(features.Scalars(int32=0, string="", bytes=b"", double=0.0, bool=False)) == b""
    assert encode(features.Optionals(int32=0, string="")) == b"\x08\x00\x72\x00"
    assert encode(features.Choice(a_int32=0)) == b"\x10\x00"
    assert encode(features.WellKnown(wrapped_int64=0)) == b"\x2a\x00"


def test_negative_zero_is_no_default(features: ModuleType, google: Any) -> None:
    written = encode(features.Scalars(float=-0.0, double=-0.0))
    assert written == google.Scalars(float=-0.0, double=-0.0).SerializeToString() != b""


def test_absent_optionals_are_none_and_absent_messages_have_no_content(features: ModuleType) -> None:
    message = decode(features.Optionals, b"")
    assert (message.int32, message.string, message.bool, message.message) == (None, None, None, None)
    assert encode(message) == b""


def test_an_empty_sub_message_stays_present_once_it_was_received(features: ModuleType) -> None:
    for data in (b"\x12\x00", b"\x12\x02\x12\x00", b"\x22\x00\x22\x00", b"\x2a\x02\x0a\x00"):
        assert encode(decode(features.Tree, data)) == data


def test_reading_a_field_does_not_make_it_present(features: ModuleType) -> None:
    for cls in (
        features.Tree,
        features.WellKnown,
        features.Choice,
        features.Repeated,
        features.Maps,
        features.Optionals,
    ):
        message = cls()
        for field in plan_of(cls).fields:
            try:
                getattr(message, field.name)
            except AttributeError:  # betterproto refuses to read a member that its oneof has not chosen
                assert field.oneof is not None
        assert encode(message) == b"", cls.__name__


def test_the_epoch_and_a_zero_duration_are_values(features: ModuleType, google: Any) -> None:
    message = features.WellKnown(timestamp=datetime(1970, 1, 1, tzinfo=UTC), duration=timedelta(0))
    assert encode(message) == b"\x0a\x00\x12\x00"
    assert encode(decode(features.WellKnown, b"\x0a\x00\x12\x00")) == b"\x0a\x00\x12\x00"
    read = google.WellKnown.FromString(b"\x0a\x00\x12\x00")
    assert read.HasField("timestamp")
    assert read.HasField("duration")


# ---------------------------------------------------------------- well-known types


@given(moment=st.datetimes(timezones=st.just(UTC)))
def test_every_datetime_survives_to_the_microsecond(features: ModuleType, google: Any, moment: datetime) -> None:
    written = encode(features.WellKnown(timestamp=moment))
    assert decode(features.WellKnown, written).timestamp == moment
    assert google.WellKnown.FromString(written).timestamp.ToDatetime(tzinfo=UTC) == moment


def test_a_datetime_of_another_zone_is_the_same_moment(features: ModuleType) -> None:
    there = datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert decode(features.WellKnown, encode(features.WellKnown(timestamp=there))).timestamp == there.astimezone(UTC)


@given(span=st.timedeltas())
def test_every_timedelta_survives_to_the_microsecond(features: ModuleType, google: Any, span: timedelta) -> None:
    written = encode(features.WellKnown(duration=span))
    assert decode(features.WellKnown, written).duration == span
    read = google.WellKnown.FromString(written).duration
    assert read.seconds * 10**9 + read.nanos == span // timedelta(microseconds=1) * 1000
    assert read.seconds * read.nanos >= 0, "both have the same sign"


def test_what_lies_below_a_microsecond_is_cut_off_as_google_does_it(features: ModuleType, google: Any) -> None:
    for seconds, nanos in ((5, 1_999), (-5, 999), (0, 999_999_999), (-1, 999_999_999)):
        theirs = google.WellKnown()
        theirs.timestamp.seconds, theirs.timestamp.nanos = seconds, nanos
        assert decode(features.WellKnown, theirs.SerializeToString()).timestamp == theirs.timestamp.ToDatetime(
            tzinfo=UTC
        )
    for seconds, nanos in ((5, 1_999), (-5, -1_999), (0, -999), (0, 999_999_999)):
        theirs = google.WellKnown()
        theirs.duration.seconds, theirs.duration.nanos = seconds, nanos
        span = timedelta(seconds=seconds) + timedelta(microseconds=int(nanos / 1000))
        assert decode(features.WellKnown, theirs.SerializeToString()).duration == span


def test_an_any_carries_a_message_that_its_url_names(features: ModuleType, google: Any) -> None:
    inside = google.Scalars(int32=7)
    theirs = google.WellKnown()
    theirs.any.Pack(inside)
    ours = decode(features.WellKnown, theirs.SerializeToString())
    assert ours.any.type_url == "type.googleapis.com/orbit.test.features.Scalars"
    assert decode(features.Scalars, ours.any.value).int32 == 7
    assert encode(ours) == theirs.SerializeToString()


def test_a_struct_keeps_every_kind_of_value(features: ModuleType, google: Any) -> None:
    theirs = google.WellKnown()
    theirs.struct.update({"n": 1.5, "s": "x", "b": True, "none": None, "list": [1, {"deep": []}], "empty": {}})
    ours = decode(features.WellKnown, theirs.SerializeToString())
    assert google.WellKnown.FromString(encode(ours)) == theirs
    assert isinstance(ours.struct, pb.Struct)
    assert ours.struct.fields["list"].list_value.values[0].number_value == 1


def test_enum_numbers_that_nobody_named_stay(features: ModuleType) -> None:
    message = decode(features.Scalars, b"\x80\x01\x63")
    assert message.colour == 99
    assert isinstance(message.colour, features.Colour)
    assert encode(message) == b"\x80\x01\x63"
    negative = decode(features.Scalars, b"\x80\x01" + b"\xff" * 9 + b"\x01")
    assert negative.colour is features.Colour.INFRARED
