"""One pair of functions per message class: made when first needed, kept on the class, free of a schema's names."""

from __future__ import annotations

import dataclasses
import gc
import threading
import weakref
from types import ModuleType
from typing import Any

import betterproto
import betterproto.lib.google.protobuf as pb
import pytest

from orbit_lite.codec import compile as compiling
from orbit_lite.codec import decode, encode
from orbit_lite.codec.compile import codec_of
from orbit_lite.codec.decoder import decoder_source
from orbit_lite.codec.descriptors import DescriptorPool
from orbit_lite.codec.encoder import encoder_source
from orbit_lite.codec.plan import READ_DURATION, READ_TIMESTAMP, Label, plan_of


def fresh() -> Any:
    """A class that no test has used before."""

    @dataclasses.dataclass(eq=False, repr=False)
    class Fresh(betterproto.Message):
        n: int = betterproto.int32_field(1)

    return Fresh


def test_a_class_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[type] = []

    class Counting(compiling.Codec):
        __slots__ = ()

        def __init__(self, cls: type[betterproto.Message]) -> None:
            compiled.append(cls)
            super().__init__(cls)

    monkeypatch.setattr(compiling, "Codec", Counting)
    cls = fresh()
    for _ in range(3):
        assert decode(cls, encode(cls(n=5))).n == 5
    assert compiled == [cls]
    assert codec_of(cls) is codec_of(cls)


def test_a_class_that_is_never_used_is_never_compiled(pool: DescriptorPool) -> None:
    cls = fresh()
    cls(n=1)
    assert "_orbit_codec" not in vars(cls)


def test_classes_of_sub_messages_are_compiled_when_one_comes(descriptor_set: bytes) -> None:
    pool = DescriptorPool()
    pool.add_set(descriptor_set)
    tree, forest = (pool.message(f"orbit.test.features.{name}") for name in ("Tree", "Forest"))
    decode(tree, b"\x0a\x01x")
    assert "_orbit_codec" not in vars(forest)
    decode(tree, b"\x2a\x00")
    assert "_orbit_codec" in vars(forest)


def test_a_subclass_gets_functions_of_its_own() -> None:
    """betterproto gives it the metadata of its parent, once the parent was used."""
    base = fresh()
    encode(base(n=1))
    more: Any = dataclasses.make_dataclass(
        "More", [("text", str, betterproto.string_field(3))], bases=(base,), eq=False, repr=False
    )
    assert encode(more(n=1, text="x")) == b"\x08\x01\x1a\x01x"
    message = decode(more, b"\x08\x01\x1a\x01x")
    assert (type(message), message.n, message.text) == (more, 1, "x")
    assert more().text == ""
    assert encode(base(n=1)) == b"\x08\x01"


def test_a_subclass_without_fields_of_its_own_is_written_like_its_parent(features: ModuleType) -> None:
    special: Any = dataclasses.make_dataclass("Special", [], bases=(features.Tree,), eq=False, repr=False)
    encode(features.Tree())
    assert encode(special(name="x")) == b"\x0a\x01x"
    assert type(decode(special, b"\x0a\x01x")) is special


def test_a_class_that_nobody_uses_any_more_is_let_go() -> None:
    cls = fresh()
    decode(cls, encode(cls(n=1)))
    gone = weakref.ref(cls)
    del cls
    for _ in range(3):
        gc.collect()
    assert gone() is None


def test_threads_that_meet_at_a_new_class_agree() -> None:
    for _ in range(20):
        cls = fresh()
        start = threading.Barrier(4)
        results: list[bytes] = []

        def use(cls: Any = cls, start: threading.Barrier = start, results: list[bytes] = results) -> None:
            start.wait()
            results.append(encode(decode(cls, b"\x08\x07")))

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [b"\x08\x07"] * 4


def test_no_name_of_a_schema_enters_the_source() -> None:
    """Two classes that differ in names alone have the same source; what a name may do wrong, it cannot do here."""

    def sources(name: str, number: str, text: str, choice: str) -> list[str]:
        fields: list[Any] = [
            (number, int, betterproto.int32_field(1)),
            (text, list[str], betterproto.string_field(2)),
            (f"{number}_of", dict[int, str], betterproto.map_field(3, betterproto.TYPE_INT32, betterproto.TYPE_STRING)),
            (f"{text}_choice", bool, betterproto.bool_field(4, group=choice)),
            (f"{number}_choice", float, betterproto.double_field(5, group=choice)),
        ]
        plan = plan_of(dataclasses.make_dataclass(name, fields, bases=(betterproto.Message,), eq=False, repr=False))
        return [encoder_source(plan)[0], decoder_source(plan)[0]]

    assert sources("Order", "number", "text", "choice") == sources("Evil", "buf", "unset", "d")


def test_the_plan_of_a_class_is_made_once_and_sorted_by_number(features: ModuleType) -> None:
    plan = plan_of(features.Choice)
    assert plan is plan_of(features.Choice)
    numbers = [field.number for field in plan.fields]
    assert numbers == sorted(numbers)
    assert plan.oneofs == ("choice", "second")


@pytest.mark.parametrize(
    ("name", "field", "kind", "label"),
    [
        ("Scalars", "int32", "int32", Label.IMPLICIT),
        ("Scalars", "colour", "enum", Label.IMPLICIT),
        ("Optionals", "string", "string", Label.EXPLICIT),
        ("Optionals", "message", "message", Label.EXPLICIT),
        ("Repeated", "sint64", "sint64", Label.REPEATED),
        ("Maps", "of_colour", "enum", Label.MAP),
        ("Maps", "of_timestamp", "timestamp", Label.MAP),
        ("Choice", "a_bytes", "bytes", Label.ONEOF),
        ("Choice", "a_wrapper", "wrapper", Label.ONEOF),
        ("WellKnown", "timestamp", "timestamp", Label.IMPLICIT),
        ("WellKnown", "durations", "duration", Label.REPEATED),
        ("WellKnown", "wrapped_bytes", "wrapper", Label.IMPLICIT),
        ("WellKnown", "struct", "message", Label.IMPLICIT),
    ],
)
def test_the_plan_says_outright_what_betterproto_says_by_annotation(
    features: ModuleType, name: str, field: str, kind: str, label: Label
) -> None:
    (planned,) = (item for item in plan_of(getattr(features, name)).fields if item.name == field)
    assert (planned.kind, planned.label) == (kind, label)


def test_a_new_message_is_what_betterprotos_constructor_makes_and_present(features: ModuleType) -> None:
    for name in ("Scalars", "Optionals", "Choice", "WellKnown", "Nothing"):
        cls = getattr(features, name)
        message, state = plan_of(cls).new()
        assert type(message) is cls
        assert message == cls()
        assert vars(cls()) | {"_serialized_on_wire": True} == state
    one, _ = plan_of(features.Choice).new()
    other, _ = plan_of(features.Choice).new()
    one.a_int32 = 5
    assert betterproto.which_one_of(other, "choice") == ("", None), "nothing is shared"


def test_a_read_of_an_unset_time_gives_the_default_that_is_not_written(features: ModuleType) -> None:
    plan_of(features.WellKnown)
    message = features.WellKnown()
    assert message.timestamp is READ_TIMESTAMP
    assert message.duration is READ_DURATION
    assert encode(message) == b""


def test_a_map_of_wrappers_is_refused_since_betterproto_does_not_say_which() -> None:
    from typing import Optional

    namespace: dict[str, Any] = {
        "numbers": betterproto.map_field(1, betterproto.TYPE_STRING, betterproto.TYPE_MESSAGE),
        "__annotations__": {"numbers": dict[str, Optional[int]]},  # noqa: UP045  # as the generator writes it
    }
    cls: Any = dataclasses.dataclass(eq=False, repr=False)(type("Loose", (betterproto.Message,), namespace))
    with pytest.raises(TypeError, match=r"Loose\.numbers: betterproto does not say which message"):
        encode(cls())


def test_messages_of_betterprotos_library_go_through_the_same_codec() -> None:
    message = pb.FileDescriptorProto(name="x", message_type=[pb.DescriptorProto(name="M")])
    assert decode(pb.FileDescriptorProto, encode(message)) == message
