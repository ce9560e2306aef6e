"""What the calls of one method have in common: found once, and never for other types than those of the call."""

from __future__ import annotations

from dataclasses import dataclass

import betterproto
import pytest

from orbit_lite.rpc import unary
from orbit_lite.rpc.errors import ResourceExhausted
from orbit_lite.rpc.unary import UnaryMethods

PATH = "/test.Notes/Write"


@dataclass(eq=False, repr=False)
class Note(betterproto.Message):
    text: str = betterproto.string_field(1)


@dataclass(eq=False, repr=False)
class Number(betterproto.Message):
    value: int = betterproto.uint64_field(1)


def test_a_method_is_found_once_for_its_types() -> None:
    methods = UnaryMethods(100, packed=False)
    first = methods.of(PATH, Note, Number)
    assert methods.of(PATH, Note, Number) is first
    assert (first.method.path, first.method.request_type, first.method.reply_type) == (PATH, Note, Number)
    assert first.frame(Note(text="hi")) == b"\0\0\0\0\4\x0a\2hi"
    assert first.decode(b"\x08\7") == Number(value=7)
    with pytest.raises(ResourceExhausted):
        first.frame(Note(text="x" * 100))


@pytest.mark.parametrize("types", [(Number, Number), (Note, Note)])
def test_other_types_on_the_same_path_are_another_method(types: tuple[type, type]) -> None:
    methods = UnaryMethods(100, packed=False)
    first, other = methods.of(PATH, Note, Number), methods.of(PATH, *types)
    assert (other.method.request_type, other.method.reply_type) == types
    assert methods.of(PATH, Note, Number).method is first.method


def test_what_is_remembered_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unary, "_METHODS", 3)
    methods = UnaryMethods(100, packed=False)
    first = methods.of(PATH, Note, Number)
    for number in range(3):
        methods.of(f"{PATH}{number}", Note, Number)
    assert methods.of(PATH, Note, Number) is not first
