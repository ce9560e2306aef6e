"""Protobuf's canonical JSON, held to google.protobuf.json_format in both directions.

Source: https://protobuf.dev/programming-guides/json/.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import timedelta
from types import ModuleType
from typing import Any

import betterproto
import betterproto.lib.google.protobuf as pb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit_lite.codec import EncodeError, decode, encode
from orbit_lite.codec.descriptors import DescriptorPool
from orbit_lite.codec.json import JsonError, from_json, to_json

PACKAGE = "orbit.test.features"


class Oracle:
    """google.protobuf.json_format over the messages of features.proto."""

    def __init__(self, google: Any) -> None:
        self._format = pytest.importorskip("google.protobuf.json_format", reason="the oracle of these tests")
        self._google = google
        self._pool = google.Scalars.DESCRIPTOR.file.pool

    def show(self, message: Any, *, defaults: bool = False) -> Any:
        return self._format.MessageToDict(
            message, descriptor_pool=self._pool, always_print_fields_with_no_presence=defaults
        )

    def read(self, name: str, text: str) -> bytes | None:
        """The canonical bytes of the message; None when it refuses the text."""
        message = self._google.message(name)()
        try:
            self._format.Parse(text, message, descriptor_pool=self._pool)
        except self._format.ParseError:
            return None
        canonical: bytes = self._google.canonical(message)
        return canonical


@pytest.fixture(scope="session")
def oracle(google: Any) -> Oracle:
    """google.protobuf.json_format as the oracle."""
    return Oracle(google)


def showable(message: Any) -> Any:
    """The message without what JSON cannot show: made-up type URLs, NaN in a Value, odd paths of a FieldMask."""
    match message.DESCRIPTOR.full_name:
        case "google.protobuf.Any":
            if message.type_url or message.value:
                length = len(message.value)
                message.type_url = f"type.example/google.protobuf.{'Int64Value' if length % 2 else 'FieldMask'}"
                message.value = b"\x08\x05" if length % 2 else b"\x0a\x03a_b"
            return message
        case "google.protobuf.FieldMask":
            message.paths[:] = [("a", "long_name", "a_b.c_d")[len(path) % 3] for path in message.paths]
            return message
        case "google.protobuf.Value":
            if message.WhichOneof("kind") in (None, "null_value") or not math.isfinite(message.number_value):
                message.null_value = 0
    for field, value in message.ListFields():
        if field.enum_type is not None and field.enum_type.name == "NullValue":
            setattr(message, field.name, 0)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in value:
                    showable(value[key])
        elif field.message_type is not None:
            for item in value if hasattr(value, "add") else [value]:
                showable(item)
    return message


def described(pool: DescriptorPool, name: str) -> type[betterproto.Message]:
    """The class that the pool makes: it knows all names as they are in the .proto file."""
    return pool.message(f"{PACKAGE}.{name}")


def text_of(value: object) -> str:
    """Tells 1 from true and 1.0, and 0.0 from -0.0."""
    return json.dumps(value, sort_keys=True)


# ---------------------------------------------------------------- both directions


@given(st.data())
@settings(max_examples=40)
def test_the_json_is_that_of_google_and_its_json_is_read(
    both: Any, google: Any, oracle: Oracle, pool: DescriptorPool, data: st.DataObject
) -> None:
    defaults = data.draw(st.booleans())
    original = showable(data.draw(google.filled(both.name)))
    shown = oracle.show(original, defaults=defaults)
    message = decode(described(pool, both.name), original.SerializeToString())
    assert text_of(to_json(message, defaults=defaults, types=pool.message)) == text_of(shown)

    classes = [described(pool, both.name)]
    if both.name != "Edges":  # whose names betterproto's generator does not keep
        classes.append(both.ours)
    meant = google.canonical(original)
    for cls in classes:
        written = encode(from_json(cls, json.loads(json.dumps(shown)), types=pool.message))
        assert google.canonical(both.theirs.FromString(written)) == meant


@given(st.data())
@settings(max_examples=30)
def test_generated_classes_read_what_they_show(both: Any, google: Any, data: st.DataObject) -> None:
    original = showable(data.draw(google.filled(both.name)))
    message = decode(both.ours, original.SerializeToString())
    written = encode(from_json(both.ours, json.loads(json.dumps(to_json(message)))))
    assert google.canonical(both.theirs.FromString(written)) == google.canonical(original)


# ---------------------------------------------------------------- verdicts

#: JSON that stands where some kind takes it and others do not.
ODD: tuple[Any, ...] = (
    *(None, True, False, [], {}, [None], [1], {"a": 1}, {"1": 1}, {"@type": "x/google.protobuf.Empty"}),
    *(0, 1, -1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32 - 1, 2**32, 2**53 + 1),
    *(2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**30, 10**310),
    *(-0.0, 1.0, 1e3, 1.5, 1e20, 3.4028234e38, 3.5e38, -3.5e38, 1e-320, 5e-324),
    *("", "0", "1", "-1", "-0", "01", "+1", " 1", "1 ", "1.0", "1.5", "1e3", "1e-1", "0x1", "1_0", "１"),
    *("2147483648", "9223372036854775808", "18446744073709551616", "1e400", "-1e400", "1e39"),
    *("NaN", "Infinity", "-Infinity", "nan", "inf", "-NaN", "+Infinity"),
    *("true", "false", "True", "null", "NULL_VALUE", "RED", "red", "COLOUR_NONE", "NONE", "INFRARED"),
    *("YQ==", "YQ", "YQ=", "+/8=", "-_8", "-/8=", "Y", "Y Q==", "YQ\n==", "é", "\ud800", "\x00", "🦊"),
    *("2024-02-29T12:00:00Z", "2023-02-29T12:00:00Z", "2024-01-01T00:00:00.123456789Z", "2024-01-01T00:00:00.1Z"),
    *("2024-01-01T00:00:00+05:30", "2024-01-01T00:00:00-00:00", "2024-01-01T00:00:00", "2024-01-01 00:00:00Z"),
    *("2024-01-01t00:00:00z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:60Z", "2024-01-01T00:00:00.1234567890Z"),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+01:00", "0000-01-01T00:00:00Z"),
    *("9999-12-31T23:59:59-01:00", "10000-01-01T00:00:00Z", "2024-1-1T00:00:00Z", "2024-01-01T00:00:00.Z"),
    *("1s", "0s", "-0s", "1.5s", "-1.000001s", "-0.5s", "1.s", ".5s", "1S", "1", "s", "1 s", "1e3s", "+1s"),
    *("315576000000s", "315576000001s", "-315576000000s", "-315576000001s", "0.1234567890s"),
    *("a", "a,b", "fooBar,a.bC", "foo_bar", "a,,b", "a,", "."),
)

_INTEGERS = ("int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32", "sfixed64")
_SINGLES = (*_INTEGERS, "float", "double", "bool", "string", "bytes", "colour")
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)


def _placed(value: object) -> Iterator[tuple[str, str, Any]]:
    """(kind, message, JSON) with the value in every kind of field."""
    for kind in _SINGLES:
        yield kind, "Scalars", {kind: value}
        yield kind, "Optionals", {kind: value}
        yield kind, "Repeated", {kind: [value]}
    for kind in ("Double", "Float", "Int64", "Uint64", "Int32", "Uint32", "Bool", "String", "Bytes"):
        yield kind.lower(), "WellKnown", {f"wrapped{kind}": value}
    for kind in ("timestamp", "duration", "struct", "value", "listValue", "null", "any", "empty", "mask"):
        yield kind, "WellKnown", {kind: value}
    for kind in ("timestamp", "duration"):
        yield kind, "WellKnown", {f"{kind}s": [value]}
    yield "empty", "Repeated", {"message": [value]}
    yield "empty", "Tree", {"left": value}
    yield "int32", "Maps", {"ofInt32": {"1": value}}
    yield "bool", "Maps", {"ofBool": {"true": value}}
    yield "bytes", "Maps", {"ofBytes": {"1": value}}
    yield "colour", "Maps", {"ofColour": {"1": value}}
    yield "empty", "Maps", {"ofMessage": {"1": value}}
    yield "timestamp", "Maps", {"ofTimestamp": {"1": value}}
    if isinstance(value, str):
        yield "key", "Maps", {"ofInt32": {value: 1}}
        yield "key", "Maps", {"ofUint64": {value: 1}}
        yield "bool key", "Maps", {"ofBool": {value: True}}
        yield "string", "Maps", {"ofString": {value: "1"}}


def why_python_takes_it(kind: str, value: object) -> str | None:
    """Why google.protobuf's Python reads a value that the specification does not allow; None when it should not."""
    number = isinstance(value, str) and _JSON_NUMBER.fullmatch(value)
    match kind:
        case "key" if not (number and str(value).lstrip("-").isdigit()):
            return "int() takes more than decimal digits"
        case "colour" | "null" if not isinstance(value, str) or value.strip() not in ("RED", "NULL_VALUE"):
            return "int() makes numbers of texts, fractions and booleans, and only their low 32 bits are kept"
        case "float" | "double" if isinstance(value, bool):
            return "float() takes booleans for numbers"
        case "float" | "double" if isinstance(value, str) and (not number or abs(float(value)) > 3.5e38):
            return "float() takes more texts than JSON has numbers, and makes infinity of what is too large"
        case _ if kind in (*_INTEGERS, "float", "double") and isinstance(value, str) and not number:
            return "int() takes signs, underscores, leading zeros and other scripts' digits"
        case "bytes" if isinstance(value, str) and not re.fullmatch("[A-Za-z0-9+/_-]*={0,2}", value):
            return "base64.b64decode passes over what is no base64"
        case "mask" if isinstance(value, str) and not re.fullmatch("[A-Za-z0-9.]+(,[A-Za-z0-9.]+)*", value):
            return "anything without underscores is taken for paths"
        case "timestamp" if isinstance(value, str) and not re.match(r"\d{4}-\d\d-\d\dT[\d:]{8}(\.\d+)?[Z+-]", value):
            return "strptime takes numbers without their zeros"
        case "duration" if isinstance(value, str) and not re.fullmatch(r"-?\d+(\.\d{1,9})?s", value):
            return "int() and float() take more than digits"
        case "empty" if value in ([], ""):
            return "whatever can be looped over and has no members is taken for an empty object"
    return None


@pytest.mark.parametrize("value", ODD, ids=ascii)
def test_verdict_and_meaning_are_those_of_google(
    google: Any, oracle: Oracle, pool: DescriptorPool, value: object
) -> None:
    for kind, name, document in _placed(value):
        text = json.dumps(document)
        theirs, ours = oracle.read(name, text), _outcome(pool, name, text)
        if isinstance(ours, JsonError):
            assert ours.path.startswith("$.")
            assert theirs is None or why_python_takes_it(kind, value), f"{text}: {ours}"
        else:
            assert google.canonical(google.message(name).FromString(encode(ours))) == theirs, text


def _outcome(pool: DescriptorPool, name: str, text: str) -> betterproto.Message | JsonError:
    try:
        return from_json(described(pool, name), json.loads(text), types=pool.message)
    except JsonError as error:
        return error


_NAMES = st.sampled_from(["left", "children", "trees", "root", "name", "1", "struct", "value", "any", "@type", "null"])
_ANYTHING = st.recursive(
    st.sampled_from(ODD) | st.sampled_from(["x/google.protobuf.Value", "x/google.protobuf.Any"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(_NAMES, _ANYTHING, min_size=1, max_size=3))
def test_whatever_is_read_is_what_google_reads(
    oracle: Oracle, google: Any, pool: DescriptorPool, value: object
) -> None:
    text = json.dumps(value)
    for name in ("Tree", "Forest", "WellKnown"):
        ours = _outcome(pool, name, text)
        if isinstance(ours, betterproto.Message):
            assert google.canonical(google.message(name).FromString(encode(ours))) == oracle.read(name, text)


# ---------------------------------------------------------------- what is refused, and how it is told


@pytest.mark.parametrize(
    ("name", "document", "told"),
    [
        ("Tree", [], "$: expected an object (orbit.test.features.Tree), found a list"),
        ("Tree", None, "$: expected an object (orbit.test.features.Tree), found null"),
        ("Tree", {"nam": 1}, "$.nam: orbit.test.features.Tree has no such field; did you mean name?"),
        ("Nothing", {"x": None}, "$.x: orbit.test.features.Nothing has no such field; it has none"),
        ("Edges.Inner", {"q": 1}, "$.q: orbit.test.features.Edges.Inner has no such field; it has kind, depth"),
        ("Tree", {"a\nb": 1}, "$.a\\nb: orbit.test.features.Tree has no such field; it has name, left, right, "),
        ("Tree", {"children": [{}, {"left": {"name": 2}}]}, "$.children[1].left.name: expected text, found 2"),
        ("Tree", {"children": {}}, "$.children: expected a list, found an object"),
        ("Tree", {"children": [None]}, "$.children[0]: null cannot be in a list or map"),
        ("Choice", {"aInt32": 1, "a_int32": 1}, "$.a_int32: the same field is given as aInt32 too"),
        ("Choice", {"aInt32": None, "a_int32": 1}, "$.a_int32: the same field is given as aInt32 too"),
        ("Choice", {"aInt32": 1, "aBool": True}, "$.aBool: aInt32 is given too, and only one of choice may be"),
        ("Scalars", {"colour": "REDD"}, '$.colour: orbit.test.features.Colour has no "REDD"; did you mean RED?'),
        ("Scalars", {"colour": True}, "$.colour: expected a name or number of orbit.test.features.Colour, found true"),
        ("Scalars", {"int32": 2**31}, "$.int32: 2147483648 is outside the range of int32"),
        ("Scalars", {"uint64": 10**5000}, "$.uint64: the number is outside the range of all integers"),
        ("Scalars", {"int64": "1e999999999"}, "$.int64: the number is outside the range of all integers"),
        ("Scalars", {"int64": math.nan}, "$.int64: the number is outside the range of all integers"),
        ("Scalars", {"double": math.inf}, "$.double: inf has to be written in quotation marks"),
        ("Scalars", {"float": 1e39}, "$.float: 1e+39 is outside the range of float"),
        ("Scalars", {"bytes": "x" * 97}, f'$.bytes: expected base64 text, found "{"x" * 50}…"'),
        ("Scalars", {"bool": "true"}, '$.bool: expected true or false, found "true"'),
        ("Scalars", {"string": "\ud800"}, "$.string: half of a surrogate pair is no text"),
        ("Scalars", {"string": b"x"}, "$.string: expected text, found a Python bytes"),
        ("Scalars", {7: 1}, "$.7: orbit.test.features.Scalars has no such field"),
        ("Maps", {"ofInt32": []}, "$.ofInt32: expected an object (a map), found a list"),
        ("Maps", {"ofInt32": {"x": 1}}, '$.ofInt32["x"]: the key: expected an integer, found "x"'),
        ("Maps", {"ofInt32": {"0": 1, "-0": 1}}, '$.ofInt32["-0"]: the key 0 is given twice'),
        ("Maps", {"ofBool": {"True": True}}, '$.ofBool["True"]: the key: expected "true" or "false", found "True"'),
        ("Maps", {"ofString": {"a": None}}, '$.ofString["a"]: expected text, found null'),
        ("Maps", {"ofTree": {"a": {"left": 1}}}, '$.ofTree["a"].left: expected an object (orbit.test.features.Tree)'),
        ("WellKnown", {"struct": {"a": [0, math.nan]}}, '$.struct["a"][1]: nan has to be written in quotation marks'),
        ("WellKnown", {"struct": {"\ud800": 1}}, '$.struct["\\ud800"]: the key: half of a surrogate pair is no text'),
        ("WellKnown", {"value": (1,)}, "$.value: expected a JSON value, found a Python tuple"),
        ("WellKnown", {"any": {"a": 1}}, '$.any: "@type" is missing, which says what the Any holds'),
        ("WellKnown", {"any": {"@type": 1}}, "$.any.@type: expected text, found 1"),
        ("WellKnown", {"any": {"@type": "a.B"}}, '$.any.@type: "a.B" is no type URL such as type.googleapis.com/'),
        ("WellKnown", {"any": {"@type": "t/a.B"}}, '$.any.@type: no message "a.B" is known here'),
        (
            "WellKnown",
            {"any": {"@type": "t/orbit.test.features.Tree", "left": {"name": 1}}},
            "$.any.left.name: expected text, found 1",
        ),
        (
            "WellKnown",
            {"any": {"@type": "t/google.protobuf.Duration"}},
            '$.any: Duration goes into an Any as "@type" and "value", and nothing else',
        ),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_an_error_says_where_and_what(pool: DescriptorPool, name: str, document: object, told: str) -> None:
    with pytest.raises(JsonError) as caught:
        from_json(described(pool, name), document, types=pool.message)
    assert str(caught.value).startswith(told)
    assert caught.value.orb_code == "ORB-1507"
    assert str(caught.value) == f"{caught.value.path}: {caught.value.problem}"


def _nested(levels: int, step: str = "left") -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(levels - 1):
        document = {step: document}
    return document


def test_a_hundred_messages_may_be_nested(oracle: Oracle, pool: DescriptorPool) -> None:
    tree = described(pool, "Tree")
    deepest = _nested(100)
    assert oracle.read("Tree", json.dumps(deepest)) is not None
    assert to_json(from_json(tree, deepest)) == deepest
    assert oracle.read("Tree", json.dumps(_nested(101))) is None
    with pytest.raises(JsonError, match="nested deeper than 100 messages"):
        from_json(tree, _nested(101))


def test_a_struct_that_is_read_can_be_shown(pool: DescriptorPool) -> None:
    """Its bytes have more levels than its JSON: the entry of a map is a message."""
    document = {"struct": _nested(50, step="a")}
    assert to_json(from_json(described(pool, "WellKnown"), document)) == document
    with pytest.raises(JsonError, match="nested deeper"):
        from_json(described(pool, "WellKnown"), {"struct": _nested(52, step="a")})


def test_what_is_nested_too_deeply_in_an_any_is_not_shown(pool: DescriptorPool) -> None:
    """Each Any starts a count of its own in bytes, so that only the writer of JSON can see it."""
    holder = pb.Any()
    for _ in range(200):
        holder = pb.Any(type_url="t/google.protobuf.Any", value=encode(holder))
    with pytest.raises(JsonError, match="nested deeper"):
        to_json(holder)


def test_a_message_in_itself_is_refused(features: ModuleType) -> None:
    tree = features.Tree()
    tree.left = tree
    with pytest.raises(EncodeError):
        to_json(tree)


# ---------------------------------------------------------------- names, nulls, presence


def test_names_are_taken_as_in_json_and_as_in_the_proto_file(pool: DescriptorPool) -> None:
    edges = described(pool, "Edges")
    assert to_json(from_json(edges, {"@other": "x", "class": 1, "camelCase": "y"})) == {
        "class": 1,
        "camelCase": "y",
        "@other": "x",
    }
    written = {encode(from_json(edges, {name: 5})) for name in ("lastOneByte", "last_one_byte")}
    assert written == {b"\x78\x05"}


def test_null_means_not_set_except_where_it_is_a_value(pool: DescriptorPool) -> None:
    for name in ("Scalars", "Optionals", "Repeated", "Maps", "Choice", "Tree"):
        cls = described(pool, name)
        shown = to_json(cls(), defaults=True) or {"aInt32": 0, "aBool": 0, "tree": 0, "fixed64": 0, "string": 0}
        known = [key for key in shown if key != "string" or name != "Choice"]
        assert encode(from_json(cls, dict.fromkeys(known if name != "Optionals" else ["string"]))) == b""
    assert encode(from_json(described(pool, "WellKnown"), {"value": None, "null": None})) == b"\x6a\x02\x08\x00"


def test_a_member_of_a_oneof_is_chosen_even_by_its_default(features: ModuleType) -> None:
    message = from_json(features.Choice, {"aInt32": 0, "tree": {}, "aBool": None})
    assert betterproto.which_one_of(message, "choice") == ("a_int32", 0)
    assert encode(message) == b"\x10\x00\x82\x01\x00"
    assert to_json(message) == {"aInt32": 0, "tree": {}}


def test_an_empty_message_that_is_given_is_present(features: ModuleType) -> None:
    message = from_json(features.Tree, {"left": {}, "forest": {"root": {}}})
    assert encode(message) == b"\x12\x00\x2a\x02\x0a\x00"
    assert to_json(message) == {"left": {}, "forest": {"root": {}}}


def test_members_of_generated_enums_are_read_with_and_without_the_name_of_the_enum(features: ModuleType) -> None:
    for name in ("COLOUR_NONE", "NONE", "COLOUR_DEEP_BLUE", "DEEP_BLUE"):
        member = features.Colour.NONE if name.endswith("NONE") else features.Colour.DEEP_BLUE
        assert from_json(features.Optionals, {"colour": name}).colour is member
    assert to_json(features.Optionals(colour=features.Colour.NONE)) == {"colour": "NONE"}


def test_names_of_described_enums_are_exact(pool: DescriptorPool) -> None:
    scalars = described(pool, "Scalars")
    assert from_json(scalars, {"colour": "COLOUR_NONE"}).colour == 0  # type: ignore[attr-defined]
    for name in ("NONE", "COLOUR_RED"):
        with pytest.raises(JsonError):
            from_json(scalars, {"colour": name})


# ---------------------------------------------------------------- writing


def test_what_is_below_the_microsecond_is_kept_where_the_class_can_hold_it(
    features: ModuleType, pool: DescriptorPool
) -> None:
    document = {"timestamp": "2024-05-17T08:30:00.123456789Z", "duration": "-0.123456789s"}
    assert to_json(from_json(described(pool, "WellKnown"), document)) == document
    assert to_json(from_json(features.WellKnown, document)) == {
        "timestamp": "2024-05-17T08:30:00.123456Z",
        "duration": "-0.123456s",
    }


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (pb.Timestamp(seconds=253_402_300_800), "$: 253402300800 s and 0 ns are no Timestamp of the years 1 to 9999"),
        (pb.Timestamp(nanos=-1), "$: 0 s and -1 ns are no Timestamp of the years 1 to 9999"),
        (pb.Duration(seconds=1, nanos=-1), "$: 1 s and -1 ns are no Duration"),
        (pb.Duration(seconds=315_576_000_001), "$: 315576000001 s and 0 ns are no Duration"),
        (pb.Value(number_value=math.inf), "$: a Value cannot be Infinity in JSON, where it would be text"),
        (pb.FieldMask(paths=["fooBar"]), '$: the path "fooBar" would not come back the same from JSON'),
        (pb.FieldMask(paths=["a_1"]), '$: the path "a_1" would not come back the same from JSON'),
        (pb.FieldMask(paths=["a,b"]), '$: the path "a,b" would not come back the same from JSON'),
        (pb.Any(type_url="t/a.B"), '$: no message "a.B" is known here'),
        (pb.Any(value=b"x"), '$: "" is no type URL such as type.googleapis.com/package.Message'),
        (pb.Any(type_url="t/google.protobuf.Int32Value", value=b"\x08"), "$: broken inside: Int32Value"),
        (pb.ListValue(values=[pb.Value(bool_value=True), pb.Value(number_value=math.nan)]), "$[1]: a Value cannot be"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_json_cannot_show_is_an_error(message: betterproto.Message, told: str) -> None:
    with pytest.raises(JsonError) as caught:
        to_json(message)
    assert str(caught.value).startswith(told)


def test_a_duration_that_only_a_timedelta_can_hold_is_an_error(features: ModuleType) -> None:
    with pytest.raises(JsonError, match=r"^\$\.durations\[1\]: .* are no Duration$"):
        to_json(features.WellKnown(durations=[timedelta(0), timedelta.max]))


def test_a_path_has_the_names_of_json(features: ModuleType) -> None:
    values = pb.ListValue(values=[pb.Value(number_value=math.inf)])
    with pytest.raises(JsonError, match=r"^\$\.listValue\[0\]: "):
        to_json(features.WellKnown(list_value=values))


def test_a_value_of_the_wrong_type_is_the_error_of_encoding(features: ModuleType) -> None:
    with pytest.raises(EncodeError, match=r"Scalars\.int32"):
        to_json(features.Scalars(int32="7"))


def test_writing_leaves_the_message_as_it_was(features: ModuleType) -> None:
    message = features.Tree(name="x")
    assert message.left.name == ""
    assert to_json(message) == {"name": "x"}
    assert encode(message) == b"\x0a\x01x"


def test_an_any_of_a_special_type_has_its_json_as_value() -> None:
    for document in (
        {"@type": "t/google.protobuf.Duration", "value": "1.500s"},
        {"@type": "t/google.protobuf.Struct", "value": {"a": [None]}},
        {"@type": "t/google.protobuf.Int64Value", "value": "5"},
        {"@type": "t/google.protobuf.Any", "value": {"@type": "t/google.protobuf.BoolValue", "value": True}},
        {"@type": "t/google.protobuf.Empty"},
        {},
    ):
        assert to_json(from_json(pb.Any, document)) == document
    empty = from_json(pb.Any, {"@type": "t/google.protobuf.Empty", "value": {}})
    assert to_json(empty) == {"@type": "t/google.protobuf.Empty"}, "which takes the value that other runtimes write"
