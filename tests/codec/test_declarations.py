"""What descriptors may declare: protobuf's own rules, checked before anything is made of a file that a peer sent."""

from __future__ import annotations

import contextlib
from typing import Any

import betterproto.lib.google.protobuf as pb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.codec import DecodeError, decode, encode
from orbit_lite.codec.declarations import Rules, declared, features_of, get, rules_of
from orbit_lite.codec.declarations import given as set_on_wire
from orbit_lite.codec.descriptors import DescriptorError, DescriptorPool, SymbolNotFound
from orbit_lite.errors import SerializationError, Status

T = pb.FieldDescriptorProtoType


def field(
    name: str = "f", number: int = 1, kind: int = T.TYPE_INT32, label: int = 1, **more: Any
) -> pb.FieldDescriptorProto:
    types: dict[str, Any] = {"type": T.try_value(kind), "label": pb.FieldDescriptorProtoLabel(label)}
    return pb.FieldDescriptorProto(name=name, number=number, **types, **more)


def message(*fields: pb.FieldDescriptorProto, name: str = "M", **more: Any) -> pb.DescriptorProto:
    return pb.DescriptorProto(name=name, field=list(fields), **more)


def file_of(*messages: pb.DescriptorProto, **more: Any) -> bytes:
    return encode(pb.FileDescriptorProto(**{"name": "a.proto", "package": "a", "message_type": list(messages)} | more))


def entry(*fields: pb.FieldDescriptorProto) -> pb.DescriptorProto:
    return message(*fields, name="Entry", options=pb.MessageOptions(map_entry=True))


ONEOF = pb.OneofDescriptorProto(name="one")
NAMELESS = pb.EnumDescriptorProto(name="E", value=[pb.EnumValueDescriptorProto(name="", number=0)])


@pytest.mark.parametrize(
    ("serialized", "words"),
    [
        (file_of(package="a..b"), "'a..b' is no package name"),
        (file_of(package="a b"), "is no package name"),
        (file_of(package="a.1"), "is no package name"),
        (file_of(package="a.b\n"), "is no package name"),
        (file_of(message(name="")), "'' is no name in protobuf"),
        (file_of(message(name="1M")), "is no name in protobuf"),
        (file_of(message(name="M.N")), "is no name in protobuf"),
        (file_of(message(name="M ")), "is no name in protobuf"),
        (file_of(message(name="Größe")), "is no name in protobuf"),
        (file_of(message(field(""))), "is no name in protobuf"),
        (file_of(message(field("f\n"))), "is no name in protobuf"),
        (file_of(message(field("f): exec('')  #"))), "is no name in protobuf"),
        (file_of(message(nested_type=[message(name="")])), "is no name in protobuf"),
        (file_of(message(oneof_decl=[pb.OneofDescriptorProto(name="o-o")])), "is no name in protobuf"),
        (file_of(enum_type=[NAMELESS]), "is no name in protobuf"),
        (file_of(message(enum_type=[NAMELESS])), "is no name in protobuf"),
        (file_of(service=[pb.ServiceDescriptorProto(name="S/T")]), "is no name in protobuf"),
        (
            file_of(service=[pb.ServiceDescriptorProto(name="S", method=[pb.MethodDescriptorProto(name="")])]),
            "is no name in protobuf",
        ),
        (file_of(message(field("f", 1), field("f", 2))), "a.M.f: the name or the number 2 is used twice"),
        (file_of(message(field("f", 1), field("g", 1))), "a.M.g: the name or the number 1 is used twice"),
        (file_of(message(field("f", 0))), "a.M.f: 0 is no field number"),
        (file_of(message(field("f", -1))), "a.M.f: -1 is no field number"),
        (file_of(message(field("f", 2**29))), "a.M.f: 536870912 is no field number"),
        (file_of(message(field("f", 1, 0))), "a.M.f: no such type"),
        (file_of(message(field("f", 1, 19))), "a.M.f: no such type"),
        (
            file_of(message(field(oneof_index=1), oneof_decl=[pb.OneofDescriptorProto(name="o")])),
            "a.M.f: no such oneof",
        ),
        (
            file_of(message(field(oneof_index=-1), oneof_decl=[pb.OneofDescriptorProto(name="o")])),
            "a.M.f: no such oneof",
        ),
        (file_of(entry(field("key", 1))), "a.Entry: no entry of a map"),
        (file_of(entry(field("key", 1), field("value", 3))), "a.Entry: no entry of a map"),
        (file_of(entry(field("key", 1, T.TYPE_DOUBLE), field("value", 2))), "a.Entry: no entry of a map"),
        (file_of(entry(field("key", 1, T.TYPE_BYTES), field("value", 2))), "a.Entry: no entry of a map"),
        (file_of(entry(field("key", 1, T.TYPE_MESSAGE), field("value", 2))), "a.Entry: no entry of a map"),
        (file_of(message(), message()), "a.M is declared in a.proto too"),
        (file_of(message(), enum_type=[pb.EnumDescriptorProto(name="M")]), "a.M is declared"),
    ],
)
def test_a_file_against_the_rules_is_refused_and_nothing_of_it_is_kept(serialized: bytes, words: str) -> None:
    pool = DescriptorPool()
    with pytest.raises(DescriptorError) as caught:
        pool.add(serialized)
    assert str(caught.value).startswith("a.proto: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value), "names from a peer are quoted"
    assert pool.files == ()
    with pytest.raises(SymbolNotFound):
        pool.symbol("a.M")


def test_messages_nest_32_levels_as_in_protoc() -> None:
    def nested(levels: int) -> pb.DescriptorProto:
        return message(name="M", nested_type=[nested(levels - 1)] if levels else [])

    assert list(declared(pb.FileDescriptorProto(message_type=[nested(32)])))
    with pytest.raises(DescriptorError, match="more than 32 levels"):
        list(declared(pb.FileDescriptorProto(message_type=[nested(33)])))


def test_everything_that_has_a_name_is_declared() -> None:
    kind = pb.EnumDescriptorProto(name="E", value=[pb.EnumValueDescriptorProto(name="ZERO")])
    method = pb.MethodDescriptorProto(name="Call")
    found = declared(
        pb.FileDescriptorProto(
            package="a.b",
            message_type=[message(field(), nested_type=[message(name="N")], enum_type=[kind])],
            enum_type=[kind],
            service=[pb.ServiceDescriptorProto(name="S", method=[method])],
        )
    )
    assert [name for name, _ in found] == ["a.b.M", "a.b.M.N", "a.b.M.E", "a.b.E", "a.b.S", "a.b.S.Call"]


def test_names_in_files_without_package_have_no_scope() -> None:
    assert [name for name, _ in declared(pb.FileDescriptorProto(message_type=[message()]))] == ["M"]


def test_the_syntax_decides_presence_and_packing() -> None:
    assert rules_of(pb.FileDescriptorProto()) == Rules(explicit=True, packed=False)
    assert rules_of(pb.FileDescriptorProto(syntax="proto2")) == Rules(explicit=True, packed=False)
    assert rules_of(pb.FileDescriptorProto(syntax="proto3")) == Rules(explicit=False, packed=True)
    assert rules_of(pb.FileDescriptorProto(syntax="editions")) == Rules(explicit=True, packed=True)


def test_features_of_an_edition_override_what_it_stands_for() -> None:
    implicit: Any = pb.FeatureSetFieldPresence.IMPLICIT
    expanded: Any = pb.FeatureSetRepeatedFieldEncoding.EXPANDED
    delimited: Any = pb.FeatureSetMessageEncoding.DELIMITED
    features = pb.FeatureSet(field_presence=implicit, repeated_field_encoding=expanded, message_encoding=delimited)
    assert Rules(explicit=True, packed=True).of(features) == Rules(explicit=False, packed=False, delimited=True)
    assert Rules(explicit=True, packed=False).of(None) == Rules(explicit=True, packed=False)
    of_file = pb.FileDescriptorProto(syntax="editions", options=pb.FileOptions(features=features))
    assert features_of(of_file) == features
    assert rules_of(of_file).explicit is False


def test_reading_a_descriptor_does_not_change_it() -> None:
    descriptor = decode(pb.FieldDescriptorProto, b"\x0a\x01f\x48\x00")
    assert get(descriptor, "number", 5) == 5
    assert get(descriptor, "options", None) is None
    assert {"name", "oneof_index"} <= set_on_wire(descriptor)
    assert "number" not in set_on_wire(descriptor)
    assert encode(descriptor) in (b"\x0a\x01f", b"\x0a\x01f\x48\x00")


def test_the_errors_say_how_they_travel() -> None:
    assert issubclass(DescriptorError, SerializationError)
    assert SymbolNotFound("x").code is Status.NOT_FOUND
    assert DescriptorError.orb_code != SymbolNotFound.orb_code


# ---------------------------------------------------------------- anything that a peer may send


@given(data=st.binary(max_size=100))
def test_any_bytes_are_a_file_or_refused(data: bytes) -> None:
    pool = DescriptorPool()
    with contextlib.suppress(DecodeError, DescriptorError):
        pool.add(data)
    with contextlib.suppress(DecodeError, DescriptorError):
        pool.add_set(data)


def _try_all(pool: DescriptorPool, names: list[str]) -> None:
    """Use every declared name in every way. Only the package's own errors may come of it."""
    for name in names:
        for use in (pool.describe, pool.file_for_symbol, pool.service, pool.enum):
            with contextlib.suppress(SerializationError):
                use(name)
        with contextlib.suppress(SerializationError):
            cls = pool.message(name)
            assert encode(decode(cls, b"")) == b""
            decode(cls, b"\x08\x01\x12\x00\x1a\x02\x08\x01")


@given(data=st.data())
def test_a_damaged_file_is_refused_or_can_be_used(pool: DescriptorPool, data: st.DataObject) -> None:
    """Wrong bytes in a real descriptor: names, numbers, types, labels and indices all go wrong this way."""
    damaged = bytearray(pool.files[-1].serialized)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.sampled_from([0, 1, 2, 5, 11, 14, 127, 128, 255, damaged[at] ^ 1, damaged[at] ^ 8]))
    broken = DescriptorPool()
    with contextlib.suppress(SerializationError):
        _try_all(
            broken,
            [name for name, _ in declared(decode(pb.FileDescriptorProto, broken.add(bytes(damaged)).serialized))],
        )


KINDS = st.integers(1, 18)
REFERENCES = st.sampled_from(
    ["", ".a.M", ".a.N", ".a.E", ".a.Entry", "M", "E", ".nowhere.X", ".google.protobuf.Timestamp"]
)


FIELDS = st.builds(
    field,
    st.sampled_from(["a", "b", "class", "self", "A", "_"]),
    st.sampled_from([1, 2, 3, 15, 16, 2**29 - 1]),
    KINDS,
    st.integers(1, 3),
    type_name=REFERENCES,
    oneof_index=st.integers(0, 1),
    proto3_optional=st.booleans(),
)


@given(
    fields=st.lists(FIELDS, max_size=4),
    value=KINDS,
    reference=REFERENCES,
    syntax=st.sampled_from(["", "proto2", "proto3", "editions", "proto9"]),
)
def test_whatever_passes_the_rules_can_be_used(
    fields: list[pb.FieldDescriptorProto], value: int, reference: str, syntax: str
) -> None:
    kind = pb.EnumDescriptorProto(name="E", value=[pb.EnumValueDescriptorProto(name="ZERO")])
    of_map = entry(field("key", 1, T.TYPE_STRING), field("value", 2, value, type_name=reference))
    oneofs = [pb.OneofDescriptorProto(name="one"), pb.OneofDescriptorProto(name="two")]
    pool = DescriptorPool()
    with contextlib.suppress(DescriptorError):
        messages = (message(*fields, oneof_decl=oneofs), message(name="N"), of_map)
        pool.add(file_of(*messages, enum_type=[kind], syntax=syntax))
    _try_all(pool, ["a.M", "a.N", "a.Entry", "a.E"])
