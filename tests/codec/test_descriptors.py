"""Classes made from descriptors: like generated ones on the wire, whatever the names in them, and more exact."""

from __future__ import annotations

import keyword
from types import ModuleType
from typing import Any

import betterproto
import betterproto.lib.google.protobuf as pb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orbit_lite.codec import decode, encode
from orbit_lite.codec.descriptors import DescriptorError, DescriptorPool, SymbolNotFound
from orbit_lite.codec.plan import plan_of

T = pb.FieldDescriptorProtoType
REPEATED = pb.FieldDescriptorProtoLabel.LABEL_REPEATED
PACKAGE = "orbit.test.features"


def file_of(*messages: pb.DescriptorProto, name: str = "a.proto", package: str = "a", **more: Any) -> bytes:
    """A serialized proto3 file of these messages."""
    return encode(
        pb.FileDescriptorProto(name=name, package=package, syntax="proto3", message_type=list(messages), **more)
    )


def field(name: str, number: int, kind: int = T.TYPE_INT32, label: int = 1, **more: Any) -> pb.FieldDescriptorProto:
    types: dict[str, Any] = {"type": T.try_value(kind), "label": pb.FieldDescriptorProtoLabel(label)}
    return pb.FieldDescriptorProto(name=name, number=number, **types, **more)


def class_of(*fields: pb.FieldDescriptorProto, name: str = "M", **more: Any) -> type[betterproto.Message]:
    pool = DescriptorPool()
    pool.add(file_of(pb.DescriptorProto(name=name, field=list(fields), **more)))
    return pool.message(f"a.{name}")


# ---------------------------------------------------------------- the same bytes


@given(st.data())
def test_both_kinds_of_class_write_the_bytes_that_google_does(
    both: Any, google: Any, pool: DescriptorPool, data: st.DataObject
) -> None:
    """Fields by number, shortest varints, no defaults but those with presence: only entries of maps have no order."""
    theirs = data.draw(google.filled(both.name)).SerializeToString()
    ours = encode(decode(pool.message(f"{PACKAGE}.{both.name}"), theirs))
    if both.name in ("Maps", "Tree", "Forest", "WellKnown", "Choice"):  # which hold maps, or messages that do
        assert sorted(ours) == sorted(theirs)
    else:
        assert ours == theirs
    if both.name != "Unpacked":  # betterproto's generator loses `[packed = false]`
        assert encode(decode(both.ours, theirs)) == ours


def test_packed_false_is_kept(pool: DescriptorPool, features: ModuleType) -> None:
    cls: Any = pool.message(f"{PACKAGE}.Unpacked")
    assert encode(cls(int32=[1, 2], bool=[True])) == b"\x08\x01\x08\x02\x28\x01"
    assert encode(features.Unpacked(int32=[1, 2], bool=[True])) == b"\x0a\x02\x01\x02\x2a\x01\x01"


def test_a_timestamp_keeps_its_nanoseconds_and_any_year(pool: DescriptorPool) -> None:
    cls: Any = pool.message(f"{PACKAGE}.WellKnown")
    message = cls(timestamp=pb.Timestamp(seconds=10**15, nanos=123_456_789), wrapped_int32=pb.Int32Value(value=5))
    again = decode(cls, encode(message))
    assert again.timestamp.seconds == 10**15
    assert again.timestamp.nanos == 123_456_789
    assert again.wrapped_int32.value == 5


def test_optional_fields_have_presence(pool: DescriptorPool) -> None:
    cls: Any = pool.message(f"{PACKAGE}.Optionals")
    assert cls().int32 is None
    assert encode(cls(int32=0)) == b"\x08\x00"
    assert encode(cls(message=decode(pool.message(f"{PACKAGE}.Scalars"), b""))) == b"\x8a\x01\x00"


def test_of_a_oneof_one_member_is_set(pool: DescriptorPool) -> None:
    cls: Any = pool.message(f"{PACKAGE}.Choice")
    message = cls(a_int32=0)
    message.a_string = "x"
    assert betterproto.which_one_of(message, "choice") == ("a_string", "x")
    assert encode(message) == b"\x32\x01x"


def test_enum_members_keep_the_names_of_the_file(pool: DescriptorPool, features: ModuleType) -> None:
    colour: Any = pool.enum(f"{PACKAGE}.Colour")
    assert [(member.name, member.value) for member in colour] == [
        ("COLOUR_NONE", 0),
        ("RED", 1),
        ("GREEN", 2),
        ("DEEP_BLUE", 1_000_000),
        ("INFRARED", -1),
    ]
    assert colour.COLOUR_NONE == features.Colour.NONE == 0
    assert colour.from_string("RED") is colour.RED is colour(1)


def test_an_alias_is_the_same_member(pool: DescriptorPool) -> None:
    alias: Any = pool.enum(f"{PACKAGE}.Alias")
    assert alias.from_string("ALIAS_UNO") is alias.from_string("ALIAS_ONE") is alias(1)


def test_messages_can_be_shown_compared_and_copied_like_all_of_betterproto(pool: DescriptorPool) -> None:
    cls: Any = pool.message(f"{PACKAGE}.Tree")
    message = cls(name="x", children=[cls(name="y")])
    assert repr(message) == "Tree(name='x', children=[Tree(name='y')])"
    assert message == decode(cls, encode(message))
    assert message != cls(name="x")


# ---------------------------------------------------------------- classes


def test_a_class_is_made_once(pool: DescriptorPool) -> None:
    assert pool.message(f"{PACKAGE}.Tree") is pool.message(f".{PACKAGE}.Tree")
    assert pool.enum(f"{PACKAGE}.Colour") is pool.enum(f"{PACKAGE}.Colour")


def test_messages_may_contain_themselves_and_each_other(pool: DescriptorPool) -> None:
    tree: Any = pool.message(f"{PACKAGE}.Tree")
    forest: Any = pool.message(f"{PACKAGE}.Forest")
    message = tree(left=tree(name="l"), forest=forest(root=tree(name="r"), trees={3: tree(name="t")}))
    again = decode(tree, encode(message))
    assert type(again.left) is type(again.forest.trees[3]) is tree
    assert type(again.forest) is forest


def test_well_known_types_are_betterprotos_own(pool: DescriptorPool) -> None:
    for name in ("Any", "Duration", "Empty", "FieldMask", "Int32Value", "ListValue", "Struct", "Timestamp", "Value"):
        assert pool.message(f"google.protobuf.{name}") is getattr(pb, name)
        assert DescriptorPool().message(f"google.protobuf.{name}") is getattr(pb, name), "imported or not"
    assert pool.enum("google.protobuf.NullValue") is pb.NullValue


def test_two_pools_do_not_share_classes(descriptor_set: bytes, pool: DescriptorPool) -> None:
    other = DescriptorPool()
    other.add_set(descriptor_set)
    assert other.message(f"{PACKAGE}.Tree") is not pool.message(f"{PACKAGE}.Tree")


def test_groups_and_extensions_stay_unknown_fields() -> None:
    cls = class_of(field("g", 1, T.TYPE_GROUP, type_name=".a.G"), field("n", 2))
    data = b"\x0b\x08\x01\x0c\x10\x05"
    message = decode(cls, data)
    assert [item.name for item in plan_of(cls).fields] == ["n"]
    assert encode(message) == b"\x10\x05\x0b\x08\x01\x0c"


def test_proto2_scalars_have_presence_and_are_not_packed() -> None:
    pool = DescriptorPool()
    repeated = field("many", 2, label=REPEATED)
    message = pb.DescriptorProto(name="Old", field=[field("n", 1), repeated])
    pool.add(encode(pb.FileDescriptorProto(name="old.proto", message_type=[message])))
    cls: Any = pool.message("Old")
    assert cls().n is None
    assert encode(cls(n=0, many=[1, 2])) == b"\x08\x00\x10\x01\x10\x02"


# ---------------------------------------------------------------- hostile names


HOSTILE = (
    *keyword.kwlist,
    *keyword.softkwlist,
    *(name for name in dir(betterproto.Message)),
    *(f"_{word}" for word in ("cls", "full_name", "hints", "group_current", "unknown_fields", "serialized_on_wire")),
    *("self", "cls", "field", "int", "str", "bytes", "list", "dict", "object", "property", "super", "type", "print"),
    *("_", "__", "___", "_1", "a__b", "a_b", "aB", "AB", "A_B", "name", "value", "MISSING", "__init__", "__slots__"),
    *("buf", "pos", "end", "m", "d", "v", "n0", "f0", "unset", "state", "__builtins__", "__import__", "exec"),
)


@pytest.mark.parametrize("name", sorted(set(HOSTILE)))
def test_a_field_may_have_any_name(name: str) -> None:
    cls = class_of(field(name, 1), field("other", 2, T.TYPE_STRING))
    planned, other = plan_of(cls).fields
    assert planned.name.isidentifier()
    assert not keyword.iskeyword(planned.name)
    assert not hasattr(betterproto.Message, planned.name)
    message = cls(**{planned.name: 7, other.name: "x"})
    assert encode(message) == b"\x08\x07\x12\x01x"
    assert getattr(decode(cls, b"\x08\x07\x12\x01x"), planned.name) == 7
    assert planned.proto_name == name


NAMES = st.sampled_from(HOSTILE) | st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True)


@given(names=st.lists(NAMES, max_size=12, unique=True))
@example(["a_b", "a__b", "aB", "A_B"])
@example(["a_b", "aB", "a_b_2"])
@example(["class", "_class", "class_"])
def test_names_that_become_the_same_attribute_stay_apart(names: list[str]) -> None:
    cls = class_of(*(field(name, number) for number, name in enumerate(names, 1)))
    planned = plan_of(cls).fields
    assert [item.proto_name for item in planned] == names
    message = cls(**{item.name: item.number for item in planned})
    again = decode(cls, encode(message))
    assert [getattr(again, item.name) for item in planned] == list(range(1, len(names) + 1))


@pytest.mark.parametrize("name", ["class", "None", "Message", "_", "__init__", "type", "object", "M1"])
def test_a_message_and_an_enum_may_have_any_name(name: str) -> None:
    pool = DescriptorPool()
    values = [pb.EnumValueDescriptorProto(name=f"{name}", number=0), pb.EnumValueDescriptorProto(name="mro", number=1)]
    message = pb.DescriptorProto(
        name=name,
        field=[
            field("kind", 1, T.TYPE_ENUM, type_name=f".a.{name}.Kind"),
            field("again", 2, T.TYPE_MESSAGE, type_name=f".a.{name}"),
        ],
        enum_type=[pb.EnumDescriptorProto(name="Kind", value=values)],
    )
    pool.add(file_of(message))
    cls: Any = pool.message(f"a.{name}")
    again = decode(cls, b"\x08\x01\x12\x02\x08\x05")
    assert (again.kind, again.kind.name, again.again.kind) == (1, "mro", 5)
    assert encode(again) == b"\x08\x01\x12\x02\x08\x05"


@pytest.mark.parametrize("name", ["mro", "name", "value", "try_value", "None", "_value_map_", "__class__", "__len__"])
def test_an_enum_value_may_have_any_name(name: str) -> None:
    pool = DescriptorPool()
    values = [pb.EnumValueDescriptorProto(name="ZERO", number=0), pb.EnumValueDescriptorProto(name=name, number=1)]
    kind = pb.EnumDescriptorProto(name="Kind", value=values)
    pool.add(
        file_of(
            pb.DescriptorProto(name="M", field=[field("kind", 1, T.TYPE_ENUM, type_name=".a.Kind")]), enum_type=[kind]
        )
    )
    enum: Any = pool.enum("a.Kind")
    assert enum.from_string(name) is enum(1)
    assert enum(1).name == name
    cls: Any = pool.message("a.M")
    assert decode(cls, b"\x08\x01").kind is enum(1)
    assert encode(cls(kind=enum(1))) == b"\x08\x01"


@pytest.mark.parametrize("name", ["class", "_", "a", "__class__", "choice", "self"])
def test_a_oneof_may_have_any_name(name: str) -> None:
    # The second oneof, since betterproto's FieldDescriptorProto does not write a 0.
    oneofs = [pb.OneofDescriptorProto(name="spare"), pb.OneofDescriptorProto(name=name)]
    cls = class_of(field("x", 1, oneof_index=1), field("y", 2, oneof_index=1), oneof_decl=oneofs)
    message = decode(cls, b"\x08\x01\x10\x02")
    assert betterproto.which_one_of(message, name) == ("y", 2)
    assert encode(message) == b"\x10\x02"


# ---------------------------------------------------------------- the pool


def test_the_same_file_may_be_added_again_and_another_of_its_name_may_not() -> None:
    pool = DescriptorPool()
    first = pool.add(file_of(pb.DescriptorProto(name="M")))
    assert pool.add(file_of(pb.DescriptorProto(name="M"))) is first
    with pytest.raises(DescriptorError, match=r"two different files are named 'a\.proto'"):
        pool.add(file_of(pb.DescriptorProto(name="Other")))
    assert pool.files == (first,)


def test_a_name_is_declared_in_one_file_only_and_a_refused_file_leaves_nothing() -> None:
    pool = DescriptorPool()
    pool.add(file_of(pb.DescriptorProto(name="M")))
    with pytest.raises(DescriptorError, match=r"b\.proto: a\.M is declared in a\.proto too"):
        pool.add(file_of(pb.DescriptorProto(name="New"), pb.DescriptorProto(name="M"), name="b.proto"))
    assert len(pool.files) == 1
    with pytest.raises(SymbolNotFound):
        pool.message("a.New")


def test_files_may_come_in_any_order() -> None:
    user = file_of(
        pb.DescriptorProto(name="User", field=[field("t", 1, T.TYPE_MESSAGE, type_name=".b.T")]), dependency=["b.proto"]
    )
    used = file_of(pb.DescriptorProto(name="T", field=[field("n", 1)]), name="b.proto", package="b")
    for files in ((user, used), (used, user)):
        pool = DescriptorPool()
        for file in files:
            pool.add(file)
        assert pool.missing == ()
        decoded: Any = decode(pool.message("a.User"), b"\x0a\x02\x08\x07")
        assert decoded.t.n == 7


def test_a_missing_import_is_named_and_only_what_needs_it_fails() -> None:
    pool = DescriptorPool()
    user = pb.DescriptorProto(name="User", field=[field("t", 1, T.TYPE_MESSAGE, type_name=".b.T")])
    pool.add(file_of(user, pb.DescriptorProto(name="Fine", field=[field("n", 1)]), dependency=["b.proto"]))
    assert pool.missing == ("b.proto",)
    assert encode(decode(pool.message("a.Fine"), b"\x08\x01")) == b"\x08\x01"
    with pytest.raises(SymbolNotFound, match=r"no file here declares 'b\.T'"):
        decode(pool.message("a.User"), b"")


@pytest.mark.parametrize(
    ("scope", "mention", "found"),
    [
        ("a.Outer", ".a.Inner", "a.Inner"),
        ("a.Outer", "Inner", "a.Outer.Inner"),
        ("a.Other", "Inner", "a.Inner"),
        ("a.Outer.Inner", "Outer.Inner", "a.Outer.Inner"),
        ("a.Outer", "a.Inner", "a.Inner"),
        ("a.Outer", "Nowhere", "Nowhere"),
    ],
)
def test_names_are_resolved_from_the_innermost_scope_outwards(scope: str, mention: str, found: str) -> None:
    pool = DescriptorPool()
    outer = pb.DescriptorProto(name="Outer", nested_type=[pb.DescriptorProto(name="Inner")])
    pool.add(file_of(outer, pb.DescriptorProto(name="Inner"), pb.DescriptorProto(name="Other")))
    assert pool.resolve(scope, mention) == found


def test_services_tell_their_methods(pool: DescriptorPool) -> None:
    assert pool.services() == (f"{PACKAGE}.Features",)
    service = pool.service(f"{PACKAGE}.Features")
    assert [(m.name, m.path, m.client_streaming, m.server_streaming) for m in service.methods] == [
        ("Unary", f"/{PACKAGE}.Features/Unary", False, False),
        ("Up", f"/{PACKAGE}.Features/Up", True, False),
        ("Down", f"/{PACKAGE}.Features/Down", False, True),
        ("Both", f"/{PACKAGE}.Features/Both", True, True),
    ]
    both = service.method("Both")
    assert (both.input_type, both.output_type) == (f"{PACKAGE}.Edges.Inner", f"{PACKAGE}.Maps")
    with pytest.raises(SymbolNotFound, match="has no method 'Bth'; did you mean Both"):
        service.method("Bth")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Tree", f"did you mean {PACKAGE}.Tree?"),
        ("orbit.tree", f"did you mean {PACKAGE}.Tree?"),
        (f"{PACKAGE}.Teee", f"did you mean {PACKAGE}.Tree"),
        ("zzzzzz", "no file here declares 'zzzzzz'"),
    ],
)
def test_who_mistypes_a_name_is_helped(pool: DescriptorPool, name: str, hint: str) -> None:
    with pytest.raises(SymbolNotFound) as caught:
        pool.message(name)
    assert hint in str(caught.value)


def test_a_name_of_something_else_is_not_found(pool: DescriptorPool) -> None:
    with pytest.raises(SymbolNotFound, match="Colour is no message"):
        pool.message(f"{PACKAGE}.Colour")
    with pytest.raises(SymbolNotFound, match="Tree is no enum"):
        pool.enum(f"{PACKAGE}.Tree")
    with pytest.raises(SymbolNotFound, match="no service is named"):
        pool.service(f"{PACKAGE}.Tree")


@pytest.mark.parametrize("name", ["Tree", "Edges.Inner", "Colour", "Features", "Features/Unary", "Features.Unary"])
def test_every_declared_name_leads_to_its_file(pool: DescriptorPool, name: str) -> None:
    assert pool.file_for_symbol(f"{PACKAGE}.{name}").name == "features.proto"


def test_json_names_are_those_of_the_file(pool: DescriptorPool) -> None:
    names = {item.proto_name: item.json_name for item in plan_of(pool.message(f"{PACKAGE}.Edges")).fields}
    assert names["with_json_name"] == "@other"
    assert names["last_one_byte"] == "lastOneByte"
    assert names["camelCase"] == "camelCase"
    assert names["field_name_10"] == "fieldName10"
    assert names["_leading"] == "Leading"
    assert names["double__underscore"] == "doubleUnderscore"
