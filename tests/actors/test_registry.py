from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from orbit_lite.actors import ActorConfig, ActorRegistry, ActorType, actor, actor_type_of
from orbit_lite.errors import ConfigurationError, Executed, InvocationFailed, Status
from orbit_lite.model import AddressableReference, Int32Key, Int64Key, Json, Key, KeyKind, NoKey, StringKey


def audited(method: Callable[..., Coroutine[Any, Any, Json]]) -> Callable[..., Coroutine[Any, Any, Json]]:
    @functools.wraps(method)
    async def wrapper(self: object, *args: Json) -> Json:
        return await method(self, *args)

    return wrapper


class Auditable:
    async def history(self) -> Json:
        return []

    async def debit(self) -> Json:
        return "of the base"


@actor("Account")
class Account(Auditable):
    limit = 5

    async def on_activate(self) -> None:
        pass

    async def debit(self, amount: int, note: str = "") -> Json:  # type: ignore[override]
        return [amount, note]

    async def add_all(self, *amounts: int) -> Json:
        return sum(amounts)

    @audited
    async def audit(self, since: int) -> Json:
        return since

    async def _check(self) -> Json:
        return None

    def balance(self) -> Json:
        return 0

    async def entries(self) -> AsyncIterator[int]:
        yield 1

    @property
    def owner(self) -> str:
        return "x"

    @staticmethod
    async def help() -> Json:
        return None

    class Inner:
        pass


def type_of(cls: type) -> ActorType:
    actor_type = actor_type_of(cls)
    assert actor_type is not None
    return actor_type


# ---------------------------------------------------------------- methods


def test_public_async_methods_can_be_called_those_of_base_classes_too() -> None:
    assert set(type_of(Account).methods) == {"debit", "add_all", "audit", "history"}


@pytest.mark.parametrize(
    "name",
    ["_check", "balance", "entries", "owner", "help", "Inner", "limit", "on_activate", "__init__", "__class__", ""],
)
def test_nothing_else_can_be_called(name: str) -> None:
    with pytest.raises(InvocationFailed, match="no such method") as raised:
        type_of(Account).method(name)
    assert raised.value.code is Status.UNIMPLEMENTED
    assert raised.value.executed is Executed.NO


def test_an_unknown_method_is_told_what_there_is_and_what_may_be_meant() -> None:
    with pytest.raises(InvocationFailed) as raised:
        type_of(Account).method("debt")
    assert raised.value.description == (
        "Invocation failed: debt on Account - no such method; did you mean debit? "
        "methods: add_all, audit, debit, history"
    )


def test_a_hostile_method_name_stays_on_one_short_line() -> None:
    with pytest.raises(InvocationFailed) as raised:
        type_of(Account).method("x\r\n" * 100_000)
    assert "\n" not in raised.value.message
    assert len(raised.value.message) < 500


def test_the_nearest_definition_counts() -> None:
    assert type_of(Account).method("debit").parameters == "amount, note=''"


@pytest.mark.parametrize(
    ("name", "count"), [("debit", 1), ("debit", 2), ("add_all", 0), ("add_all", 50), ("history", 0), ("audit", 1)]
)
def test_a_fitting_number_of_arguments_is_accepted(name: str, count: int) -> None:
    type_of(Account).method(name).check("Account", [0] * count)


@pytest.mark.parametrize(
    ("name", "count", "reason"),
    [
        ("debit", 0, "takes 1 to 2 arguments (amount, note=''), got 0"),
        ("debit", 3, "takes 1 to 2 arguments (amount, note=''), got 3"),
        ("history", 1, "takes 0 arguments (), got 1"),
        ("audit", 0, "takes 1 argument (since), got 0"),
    ],
)
def test_a_wrong_number_of_arguments_says_what_the_method_takes(name: str, count: int, reason: str) -> None:
    with pytest.raises(InvocationFailed) as raised:
        type_of(Account).method(name).check("Account", [0] * count)
    assert raised.value.message == f"{name} on Account - {reason}"
    assert raised.value.code is Status.INVALID_ARGUMENT
    assert raised.value.executed is Executed.NO


def test_a_minimum_of_arguments_is_said_where_there_is_no_maximum() -> None:
    @actor("Sum")
    class Sum:
        async def add(self, first: int, *more: int) -> Json:
            return first + sum(more)

    with pytest.raises(InvocationFailed, match="takes at least 1 argument"):
        type_of(Sum).method("add").check("Sum", [])


# ---------------------------------------------------------------- classes that cannot work


def test_a_class_must_be_made_without_arguments() -> None:
    class NeedsOne:
        def __init__(self, path: str) -> None:
            self.path = path

    with pytest.raises(ConfigurationError, match="NeedsOne must be made without arguments"):
        actor("NeedsOne")(NeedsOne)


def test_defaults_make_a_constructor_fit() -> None:
    class Fits:
        def __init__(self, path: str = "x") -> None:
            self.path = path

    assert actor("Fits")(Fits) is Fits


@pytest.mark.parametrize("hook", ["on_activate", "on_deactivate"])
def test_hooks_must_be_asynchronous(hook: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{hook} must be an `async def`"):
        actor("Plain")(type("Plain", (), {hook: lambda self: None}))


def test_the_name_context_is_taken() -> None:
    class Taken:
        async def context(self) -> Json:
            return None

    with pytest.raises(ConfigurationError, match="'context' is taken"):
        actor("Taken")(Taken)


def test_arguments_that_only_a_keyword_can_give_are_refused_at_once() -> None:
    class Keyword:
        async def move(self, *, to: str) -> Json:
            return to

    with pytest.raises(ConfigurationError, match="move needs the keyword 'to'"):
        actor("Keyword")(Keyword)


@pytest.mark.parametrize("name", ["", "a:b"])
def test_a_name_that_no_reference_can_say_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="must be a name without ':'"):
        actor(name)


def test_options_are_checked_where_they_are_written() -> None:
    with pytest.raises(ConfigurationError, match="mailbox_size=0"):
        actor("Small", mailbox_size=0)


# ---------------------------------------------------------------- options


def test_a_type_may_replace_the_defaults_of_its_node() -> None:
    @actor("Own", idle_timeout=None, mailbox_size=5, invocation_timeout=2.0)
    class Own:
        pass

    config = ActorConfig()
    own, plain = type_of(Own), type_of(Account)
    assert (own.idle_timeout(config), own.mailbox_size(config), own.invocation_timeout(config)) == (None, 5, 2.0)
    assert (plain.idle_timeout(config), plain.mailbox_size(config)) == (config.idle_timeout, config.mailbox_size)
    assert plain.invocation_timeout(config) == config.invocation_timeout


# ---------------------------------------------------------------- kinds of keys


def typed(kind: KeyKind | None) -> ActorType:
    return type_of(actor("Typed", key=kind)(type("Typed", (), {})))


@pytest.mark.parametrize(
    ("kind", "given", "known"),
    [
        (None, StringKey("1"), StringKey("1")),
        (None, Int64Key(1), Int64Key(1)),
        (KeyKind.STRING, StringKey("1"), StringKey("1")),
        (KeyKind.INT32, Int64Key(1), Int32Key(1)),
        (KeyKind.INT32, Int32Key(1), Int32Key(1)),
        (KeyKind.INT64, Int32Key(1), Int64Key(1)),
        (KeyKind.NONE, NoKey(), NoKey()),
    ],
)
def test_an_actor_has_one_name_however_its_integer_key_is_written(kind: KeyKind | None, given: Key, known: Key) -> None:
    reference = AddressableReference("Typed", given)
    assert typed(kind).canonical(reference, "get") == AddressableReference("Typed", known)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (KeyKind.STRING, Int64Key(1)),
        (KeyKind.STRING, NoKey()),
        (KeyKind.INT64, StringKey("1")),
        (KeyKind.INT64, NoKey()),
        (KeyKind.NONE, StringKey("no-key")),
    ],
)
def test_a_key_of_another_kind_is_refused(kind: KeyKind, given: Key) -> None:
    with pytest.raises(InvocationFailed, match=f"keys of Typed are {kind.name.lower()}, got") as raised:
        typed(kind).canonical(AddressableReference("Typed", given), "get")
    assert raised.value.code is Status.INVALID_ARGUMENT
    assert raised.value.executed is Executed.NO


def test_an_integer_too_large_for_its_kind_is_refused() -> None:
    with pytest.raises(InvocationFailed, match="out of range"):
        typed(KeyKind.INT32).canonical(AddressableReference.of("Typed", 1 << 40), "get")


# ---------------------------------------------------------------- the registry


def test_a_registered_type_is_found_by_its_name() -> None:
    registry = ActorRegistry()
    assert registry.register(Account).name == "Account"
    assert "Account" in registry
    assert registry.get("Account") is type_of(Account)
    assert registry.get("Other") is None
    assert registry.types == ("Account",)
    assert repr(registry) == "<ActorRegistry Account>"


def test_registering_again_changes_nothing() -> None:
    registry = ActorRegistry()
    registry.register(Account)
    registry.register(Account)
    assert registry.types == ("Account",)


def test_two_classes_of_one_name_are_refused() -> None:
    registry = ActorRegistry()
    registry.register(Account)
    with pytest.raises(ConfigurationError, match=r"'Account' is registered twice: .*\.Account and .*\.Impostor"):
        registry.register(actor("Account")(type("Impostor", (), {})))


@pytest.mark.parametrize("thing", [int, type("Child", (Account,), {})])
def test_only_decorated_classes_can_be_registered_not_their_children(thing: type) -> None:
    with pytest.raises(ConfigurationError, match="is no actor: decorate it"):
        ActorRegistry().register(thing)


def test_anything_but_an_actor_class_has_no_actor_type() -> None:
    for thing in (None, 5, "Account", Account(), int):
        assert actor_type_of(thing) is None


def test_a_bare_text_is_a_string_key_unless_the_type_says_otherwise() -> None:
    registry = ActorRegistry()
    registry.register(actor("Numbered", key=KeyKind.INT64)(type("Numbered", (), {})))
    registry.register(Account)
    assert registry.key_kind("Numbered") is KeyKind.INT64
    assert registry.key_kind("Account") is KeyKind.STRING
    assert registry.key_kind("Unknown") is KeyKind.STRING
