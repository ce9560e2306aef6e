"""codec.Message does what betterproto.Message does, loses no empty sub-message, and stores fields plainly."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import inspect
import io
import json
import pickle
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import betterproto
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit_lite.codec import DecodeError, EncodeError, Message, decode, encode
from orbit_lite.codec.json import from_json, to_json
from orbit_lite.codec.plan import FieldPlan, Label, plan_of
from orbit_lite.codec.scalars import SCALARS

GENERATED = Path(__file__).resolve().parent / "gen" / "features.py"
CLASSES = ("Scalars", "Optionals", "Repeated", "Maps", "Choice", "Tree", "WellKnown", "Edges", "Nothing")


@pytest.fixture(scope="session")
def lean() -> ModuleType:
    """The module `features` with its messages on codec.Message, as scripts/generate does it."""
    source = GENERATED.read_text().replace("(betterproto.Message)", "(Message)")
    spec = importlib.util.spec_from_loader("orbit_test_lean_features", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    vars(module)["Message"] = Message
    sys.modules[spec.name] = module  # betterproto resolves annotations there
    exec(compile(source, spec.name, "exec"), vars(module))  # noqa: S102  # our own file
    return module


# ---------------------------------------------------------------- the same operations on both

Make = Callable[[ModuleType], Any]

# What betterproto's own copies keep: no epoch, and zeros only where no sub-message becomes an empty one by them.
NUMBERS = st.integers(1, 300)
TOP = 2
PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.just(True),
    "string": st.text(min_size=1, max_size=5),
    "bytes": st.binary(min_size=1, max_size=5),
    "float": st.sampled_from([1.5, -2.0]),
    "double": st.sampled_from([1.5, -2.0]),
    "timestamp": st.integers(1, 9).map(lambda s: datetime(2026, 1, s, tzinfo=UTC)),
    "duration": st.integers(1, 9).map(lambda s: timedelta(seconds=s)),
}


def constant(value: object) -> Make:
    return lambda _: value


def values(field: FieldPlan, depth: int) -> st.SearchStrategy[Make]:
    """Values of one field, each made anew for either module."""
    if field.kind == "message":
        assert field.cls is not None
        single = messages(field.cls, depth - 1)
    elif field.kind == "enum":
        assert field.cls is not None
        name = field.cls.__name__
        least = 0 if depth == TOP and field.label is not Label.MAP else 1
        single = st.sampled_from([int(member) for member in field.cls if member >= least]).map(
            lambda number: lambda module: getattr(module, name).try_value(number)
        )
    else:
        kind = field.wrapped or field.kind
        single = PLAIN.get(kind, NUMBERS).map(constant)
        if depth == TOP and kind in SCALARS and field.label is not Label.MAP:
            single |= st.just(constant(SCALARS[kind].default))
    if field.label is Label.REPEATED:
        return st.lists(single, min_size=depth < TOP, max_size=2).map(
            lambda items: lambda module: [item(module) for item in items]
        )
    if field.label is Label.MAP:
        pairs = st.dictionaries(PLAIN.get(field.key or "", NUMBERS), single, min_size=depth < TOP, max_size=2)
        return pairs.map(lambda made: lambda module: {key: value(module) for key, value in made.items()})
    return single


def can_be_drawn(field: FieldPlan, depth: int) -> bool:
    """Whether its class is of the module, and a message of it can have content with so many levels inside it."""
    if field.cls is not None and field.cls.__module__ != "orbit_test_features":
        return False
    return field.kind != "message" or (depth > 0 and any(can_be_drawn(item, depth - 1) for item in inner(field)))


def inner(field: FieldPlan) -> tuple[FieldPlan, ...]:
    assert field.cls is not None
    return plan_of(field.cls).fields


def given_fields(cls: type[betterproto.Message], depth: int, least: int = 0) -> st.SearchStrategy[dict[str, Make]]:
    fields = [item for item in plan_of(cls).fields if can_be_drawn(item, depth)]
    if not fields:
        return st.just({})
    chosen = st.lists(
        st.sampled_from(fields), min_size=least, max_size=4, unique_by=lambda item: item.oneof or item.name
    )
    return chosen.flatmap(lambda some: st.fixed_dictionaries({item.name: values(item, depth) for item in some}))


def messages(cls: type[betterproto.Message], depth: int) -> st.SearchStrategy[Make]:
    """Messages with content: what becomes of empty ones differs, see below."""

    def make(fields: dict[str, Make]) -> Make:
        return lambda module: getattr(module, cls.__name__)(**{name: value(module) for name, value in fields.items()})

    return given_fields(cls, depth, least=1).map(make)


Operation = Callable[[Any, ModuleType], Any]


def operations(cls: type[betterproto.Message]) -> st.SearchStrategy[list[Operation]]:
    def assign(fields: dict[str, Make]) -> Operation:
        def act(message: Any, module: ModuleType) -> Any:
            for name, value in fields.items():
                setattr(message, name, value(module))
            return message

        return act

    steps: list[Operation] = [
        lambda message, _: copy.copy(message),
        lambda message, _: copy.deepcopy(message),
        lambda message, _: type(message)().parse(encode(message)),
        lambda message, _: type(message).FromString(encode(message)),
    ]
    return st.lists(given_fields(cls, TOP).map(assign) | st.sampled_from(steps), max_size=5)


def shown(value: Any) -> object:
    """Of a message its bytes, for its repr shows which fields of betterproto's were read."""
    if isinstance(value, betterproto.Message):
        return encode(value)
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return repr(value)


def outcome(act: Callable[[], object]) -> object:
    """Comparable between the modules, whose classes are different ones of the same names."""
    try:
        return shown(act())
    except (AttributeError, TypeError) as error:  # TypeError: betterproto's to_dict of some oneofs
        return f"{type(error).__name__}: {error}"


def looks(message: Any) -> dict[str, object]:
    """What can be seen of a message, mere looks before the reads, which leave defaults in betterproto's."""
    plan = plan_of(type(message))
    seen: dict[str, object] = {
        "repr": repr(message),
        "bool": bool(message),
        "encode": encode(message),
        "is_set": {field.name: message.is_set(field.name) for field in plan.fields},
    }
    seen["one_of"] = {oneof: outcome(lambda: betterproto.which_one_of(message, oneof)) for oneof in plan.oneofs}  # noqa: B023
    seen["dict"] = outcome(message.to_dict)
    seen["defaults"] = {field.name: outcome(lambda: getattr(message, field.name)) for field in plan.fields}  # noqa: B023
    seen["serialized"] = {
        field.name: betterproto.serialized_on_wire(getattr(message, field.name))
        for field in plan.fields
        if field.kind == "message" and field.label is Label.IMPLICIT
    }
    return seen


@pytest.mark.parametrize("name", CLASSES)
@settings(max_examples=60)
@given(data=st.data())
def test_it_does_what_betterprotos_does(features: ModuleType, lean: ModuleType, name: str, data: st.DataObject) -> None:
    plain_class, lean_class = getattr(features, name), getattr(lean, name)
    fields = data.draw(given_fields(plain_class, TOP))
    plain = plain_class(**{field: value(features) for field, value in fields.items()})
    ours = lean_class(**{field: value(lean) for field, value in fields.items()})
    for operation in data.draw(operations(plain_class)):
        plain, ours = operation(plain, features), operation(ours, lean)
    encoded = encode(ours)
    again = decode(lean_class, encoded)
    assert looks(ours) == looks(plain)
    assert encode(ours) == encoded == bytes(ours), "reading has changed it"
    assert ours == again
    assert (ours == lean_class()) == (plain == plain_class())
    assert unpickled(ours) == ours
    assert (len(ours), ours.SerializeToString()) == (len(encoded), encoded)
    assert to_json(ours, defaults=True) == to_json(plain, defaults=True)
    assert from_json(lean_class, json.loads(json.dumps(to_json(ours)))) == ours


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ("Maps", "WellKnown")])
@settings(max_examples=60)
@given(data=st.data())
def test_betterprotos_dict_and_json_make_the_same_message(
    features: ModuleType, lean: ModuleType, name: str, data: st.DataObject
) -> None:
    make = data.draw(messages(getattr(features, name), 1))
    ours, plain = make(lean), make(features)
    assert ours.to_json() == plain.to_json()
    assert repr(type(ours).from_dict(ours.to_dict())) == repr(type(plain).from_dict(plain.to_dict()))
    assert repr(type(ours)().from_json(ours.to_json())) == repr(type(plain)().from_json(plain.to_json()))


# ---------------------------------------------------------------- construction


def test_arguments_are_taken_by_position_and_by_name_as_a_dataclass_does(lean: ModuleType) -> None:
    inner = lean.EdgesInner(lean.EdgesInnerKind.try_value(1), depth=2)
    assert (inner.kind, inner.depth) == (1, 2)
    assert [item.name for item in dataclasses.fields(inner)] == ["kind", "depth"]
    assert list(inspect.signature(lean.EdgesInner.__init__).parameters) == ["self", "kind", "depth"]
    assert dataclasses.replace(inner, depth=3) == lean.EdgesInner(1, 3)
    with pytest.raises(TypeError, match=r"EdgesInner\.__init__\(\) got an unexpected keyword argument 'heigth'"):
        lean.EdgesInner(heigth=1)
    with pytest.raises(TypeError, match="multiple values"):
        lean.EdgesInner(1, kind=1)


def test_a_message_is_one_of_betterprotos(lean: ModuleType) -> None:
    assert isinstance(lean.Nothing(), betterproto.Message)
    assert lean.Nothing() != lean.Forest()
    with pytest.raises(TypeError, match="unhashable"):
        hash(lean.Nothing())


def test_messages_share_no_default(lean: ModuleType) -> None:
    one, other = lean.Choice(), lean.Choice()
    one.after.append(1)
    one.a_int32 = 1
    assert (other.after, betterproto.which_one_of(other, "choice")) == ([], ("", None))


def fresh(base: type[betterproto.Message]) -> Any:
    @dataclasses.dataclass(eq=False, repr=False)
    class Base(base):  # type: ignore[misc, valid-type]  # either of two
        n: int = betterproto.int32_field(1)

    return Base


def test_a_subclass_may_have_more_fields_or_none(lean: ModuleType) -> None:
    base = fresh(Message)

    @dataclasses.dataclass(eq=False, repr=False)
    class More(base):  # type: ignore[misc, valid-type]  # made above
        text: str = betterproto.string_field(2)

    class Same(base):  # type: ignore[misc, valid-type]  # made above
        pass

    assert (base(1).n, Same(1).n, More(1, "a").text) == (1, 1, "a")
    assert (encode(More(1, "a")), encode(Same(1))) == (b"\x08\x01\x12\x01a", b"\x08\x01")


def test_a_class_may_have_a_constructor_of_its_own() -> None:
    base = fresh(Message)

    class Own(base):  # type: ignore[misc, valid-type]  # made above
        def __init__(self) -> None:
            super().__init__(n=5)

    assert Own().n == Own().n == 5


def test_a_hook_after_construction_is_called_as_betterproto_generates_it_for_deprecated_fields() -> None:
    @dataclasses.dataclass(eq=False, repr=False)
    class Deprecated(Message):
        n: int = betterproto.int32_field(1)

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.is_set("n"):
                warnings.warn("n is deprecated", DeprecationWarning, stacklevel=2)

    Deprecated()
    with pytest.warns(DeprecationWarning, match="n is deprecated"):
        Deprecated(1)


# ---------------------------------------------------------------- presence


@pytest.mark.parametrize(
    "make",
    [
        lambda module: module.Tree(left=module.Tree()),
        lambda module: assigned(module.Tree(), "left", module.Tree()),
        lambda module: assigned(module.Tree(), "left", module.Tree().left),
        lambda module: assigned(module.Tree(), "left", None, name=""),
        lambda module: decode(module.Tree, b"\x12\x00"),
        lambda module: copy.copy(module.Tree(left=module.Tree())),
        lambda module: copy.deepcopy(module.Tree(left=module.Tree())),
        lambda module: unpickled(module.Tree(left=module.Tree())),
    ],
    ids=["passed", "assigned", "read and assigned", "touched", "received", "copied", "copied in depth", "unpickled"],
)
def test_an_empty_sub_message_that_somebody_put_there_is_sent(lean: ModuleType, make: Make) -> None:
    tree = make(lean)
    assert betterproto.serialized_on_wire(tree.left)
    assert encode(tree) == bytes(tree) == b"\x12\x00"
    assert tree.to_dict() == {"left": {}}


def unpickled(message: Any) -> Any:
    return pickle.loads(pickle.dumps(message))  # noqa: S301  # what this very process has written


def assigned(tree: Any, field: str, value: object, **inside: object) -> Any:
    if value is not None:
        setattr(tree, field, value)
    for name, item in inside.items():
        setattr(getattr(tree, field), name, item)
    return tree


def test_reading_makes_nothing_present(lean: ModuleType) -> None:
    tree = lean.Tree()
    assert tree.left.right.name == ""
    assert tree.children == tree.forest.root.children == []
    assert not betterproto.serialized_on_wire(tree.left)
    again = dataclasses.replace(tree, name="")
    assert encode(tree) == encode(again) == encode(copy.deepcopy(tree)) == b""
    assert tree == lean.Tree()
    assert not tree


def test_what_is_put_into_a_sub_message_that_was_read_is_not_lost(lean: ModuleType) -> None:
    tree = lean.Tree()
    tree.left.right.name = "a"
    tree.left.children.append(lean.Tree())
    tree.forest.trees[1] = lean.Tree(name="b")
    assert decode(lean.Tree, encode(tree)) == tree
    assert tree.left is tree.left
    assert (tree.left.right.name, tree.forest.trees[1].name) == ("a", "b")


def test_parsing_into_a_sub_message_that_was_read_makes_it_present(lean: ModuleType) -> None:
    tree = lean.Tree()
    left = tree.left
    tree.parse(b"\x12\x00")
    assert tree.left is left
    assert encode(tree) == b"\x12\x00"


# ---------------------------------------------------------------- oneofs


def test_assigning_a_member_clears_the_others(lean: ModuleType) -> None:
    choice = lean.Choice(a_string="a", fixed64=3)
    choice.a_int32 = 0
    assert betterproto.which_one_of(choice, "choice") == ("a_int32", 0)
    assert betterproto.which_one_of(choice, "second") == ("fixed64", 3)
    with pytest.raises(AttributeError, match="'choice' is set to 'a_int32', not 'a_string'") as caught:
        choice.a_string  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("a_string", choice)
    assert not hasattr(choice, "a_string")
    assert "a_string" not in repr(choice)
    assert encode(choice) == b"\x10\x00\x89\x01" + (3).to_bytes(8, "little")


def test_a_copy_has_its_own_choice(lean: ModuleType) -> None:
    choice = lean.Choice(a_int32=1)
    for made in (copy.copy(choice), copy.deepcopy(choice)):
        made.a_string = "a"
        assert betterproto.which_one_of(choice, "choice") == ("a_int32", 1)
        assert betterproto.which_one_of(made, "choice") == ("a_string", "a")


def test_the_placeholder_unsets_a_field(lean: ModuleType) -> None:
    scalars = lean.Scalars(int32=1)
    scalars.int32 = betterproto.PLACEHOLDER
    assert (scalars.int32, scalars.is_set("int32"), encode(scalars)) == (0, False, b"")


# ---------------------------------------------------------------- bytes


def test_bytes_and_parse_are_the_codecs(lean: ModuleType) -> None:
    with pytest.raises(EncodeError, match="outside the range of int32"):
        bytes(lean.Scalars(int32=2**31))
    for read in (lean.Scalars().parse, lean.Scalars.FromString):
        with pytest.raises(DecodeError, match="cut off"):
            read(b"\x08")
    assert lean.Scalars(int32=1, int64=2).parse(b"\x08\x05") == lean.Scalars(int32=5, int64=2)


def test_unknown_fields_survive_copies(lean: ModuleType) -> None:
    unknown = b"\xa8\x46\x01"
    message = lean.Nothing.FromString(unknown)
    assert bytes(message) == bytes(copy.copy(message)) == bytes(copy.deepcopy(message)) == unknown


def test_streams_hold_messages_with_and_without_their_size(lean: ModuleType) -> None:
    stream = io.BytesIO()
    message = lean.Scalars(string="a", int32=300)
    message.dump(stream, delimit=True)  # betterproto takes SIZE_DELIMITED only
    message.dump(stream)
    stream.seek(0)
    assert lean.Scalars().load(stream, betterproto.SIZE_DELIMITED) == message
    assert lean.Scalars().load(stream) == message
    with pytest.raises(ValueError, match="expected a message of 5 bytes, and the stream had 1"):
        lean.Scalars().load(io.BytesIO(b"\x08"), 5)


@settings(max_examples=60)
@given(data=st.data())
def test_both_bases_read_and_write_the_same_bytes(
    lean: ModuleType, google: Any, both: Any, data: st.DataObject
) -> None:
    body = google.canonical(data.draw(google.filled(both.name)))
    ours, plain = decode(getattr(lean, both.ours.__name__), body), decode(both.ours, body)
    assert encode(ours) == encode(plain)
    assert repr(ours) == repr(plain)
