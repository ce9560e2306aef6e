"""What kinds of actors there are: their classes, methods, and kinds of keys.

A class becomes an actor type by `@actor("Name")`. Its public `async def` methods can be called; what they are and how
many arguments they take is found out once, here. Names that peers send are looked up in a table and never in the
class.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, TypedDict, TypeVar, Unpack

from orbit_lite.actors.config import ActorConfig
from orbit_lite.errors import ConfigurationError, Executed, InvocationFailed, ParseError, Status, quote
from orbit_lite.model import AddressableReference, Int32Key, Int64Key, Json, KeyKind

__all__ = ["ActorOptions", "ActorRegistry", "ActorType", "Method", "actor", "actor_type_of", "refusal"]

_Class = TypeVar("_Class", bound=type)

_HOOKS = ("on_activate", "on_deactivate")
_MARK = "__orbit_actor_type__"
_INTEGERS = {KeyKind.INT32: Int32Key, KeyKind.INT64: Int64Key}


class ActorOptions(TypedDict, total=False):
    """What a type sets for itself instead of the node's ActorConfig; see there."""

    mailbox_size: int
    idle_timeout: float | None
    invocation_timeout: float | None


def refusal(method: str, addressable_type: str, reason: str, code: Status) -> InvocationFailed:
    """The error for a call that was turned away before the actor's method began."""
    return InvocationFailed(
        f"{quote(method)} on {quote(addressable_type)} - {reason}", reason=reason, code=code, executed=Executed.NO
    )


@dataclass(frozen=True, slots=True)
class Method:
    """A method that can be called. function takes the instance first; least..most: how many arguments it takes."""

    name: str
    function: Callable[..., Coroutine[Any, Any, Json]]
    parameters: str
    least: int
    most: float

    @classmethod
    def of(cls, owner: str, function: Callable[..., Coroutine[Any, Any, Json]]) -> Method:
        """Inspect a function. Raises ConfigurationError for a keyword-only parameter without a default."""
        signature = inspect.signature(function)
        own = list(signature.parameters.values())[1:]
        least, most = 0, 0.0
        for parameter in own:
            match parameter.kind:
                case inspect.Parameter.POSITIONAL_ONLY | inspect.Parameter.POSITIONAL_OR_KEYWORD:
                    most += 1
                    least += parameter.default is inspect.Parameter.empty
                case inspect.Parameter.VAR_POSITIONAL:
                    most = float("inf")
                case inspect.Parameter.KEYWORD_ONLY if parameter.default is inspect.Parameter.empty:
                    raise ConfigurationError(
                        f"actor {owner}: {function.__name__} needs the keyword {parameter.name!r}, but arguments "
                        "travel by position; give it a default or move it before the *"
                    )
        shown = ", ".join(str(parameter.replace(annotation=inspect.Parameter.empty)) for parameter in own)
        return cls(function.__name__, function, shown, least, most)

    def check(self, addressable_type: str, args: Sequence[Json]) -> None:
        """Raises InvocationFailed (INVALID_ARGUMENT, not executed) for a wrong number of arguments."""
        if not self.least <= len(args) <= self.most:
            takes = str(self.least) if self.least == self.most else f"{self.least} to {self.most:g}"
            if self.most == float("inf"):
                takes = f"at least {self.least}"
            reason = f"takes {takes} argument{'' if takes == '1' else 's'} ({self.parameters}), got {len(args)}"
            raise refusal(self.name, addressable_type, reason, Status.INVALID_ARGUMENT)


@dataclass(frozen=True, slots=True)
class ActorType:
    """One kind of actor. key: the only kind of key that its actors have; None = any kind."""

    name: str
    cls: type
    methods: Mapping[str, Method]
    key: KeyKind | None = None
    options: ActorOptions = field(default_factory=ActorOptions)
    activates: bool = False
    """The class has an `on_activate`."""
    deactivates: bool = False
    """The class has an `on_deactivate`."""

    def method(self, name: str) -> Method:
        """Raises InvocationFailed (UNIMPLEMENTED, not executed), which names the methods that there are."""
        method = self.methods.get(name)
        if method is None:
            close = difflib.get_close_matches(name[:100], self.methods, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            there = ", ".join(sorted(self.methods)) or "none"
            raise refusal(name, self.name, f"no such method; {hint}methods: {there}", Status.UNIMPLEMENTED)
        return method

    def canonical(self, reference: AddressableReference, method: str) -> AddressableReference:
        """The reference under which the actor is known here: plain integers come as 64-bit keys where 32-bit are meant.

        Raises InvocationFailed (INVALID_ARGUMENT, not executed) for a key of another kind.
        """
        kind = reference.key.kind
        if self.key is None or kind is self.key:
            return reference
        if (integer := _INTEGERS.get(self.key)) is not None and isinstance(value := reference.key.value, int):
            try:
                return AddressableReference(reference.addressable_type, integer(value))
            except ParseError as error:
                raise refusal(method, self.name, error.message, Status.INVALID_ARGUMENT) from error
        reason = (
            f"keys of {self.name} are {self.key.name.lower()}, got {kind.name.lower()} {quote(str(reference.key))!r}"
        )
        raise refusal(method, self.name, reason, Status.INVALID_ARGUMENT)

    def mailbox_size(self, config: ActorConfig) -> int:
        """Calls that may wait for one actor."""
        return self.options.get("mailbox_size", config.mailbox_size)

    def idle_timeout(self, config: ActorConfig) -> float | None:
        """Seconds without calls after which an actor is deactivated; None = never."""
        return self.options.get("idle_timeout", config.idle_timeout)

    def invocation_timeout(self, config: ActorConfig) -> float | None:
        """Seconds that a call may take; None = as long as it likes."""
        return self.options.get("invocation_timeout", config.invocation_timeout)


def actor(name: str, *, key: KeyKind | None = None, **options: Unpack[ActorOptions]) -> Callable[[_Class], _Class]:
    """Make the class an actor type; without this, nothing of it can be called from outside.

    name: what references call the type; not empty and without ':'. key: the kind of keys; None = any, and then "1" and
    1 are different actors. options: what this type has instead of the node's defaults; `idle_timeout=None` lets its
    actors live as long as their node.

    Instances are made without arguments and get the attribute `context` (ActorContext) before `on_activate` is awaited.
    Raises ConfigurationError for a class that cannot work.
    """
    ActorConfig(**options)
    if not name or ":" in name:
        raise ConfigurationError(f"actor type {name!r}: must be a name without ':'")

    def decorate(cls: _Class) -> _Class:
        setattr(cls, _MARK, _inspect(name, cls, key, options))
        return cls

    return decorate


def actor_type_of(cls: object) -> ActorType | None:
    """What `@actor` made of the class; None for anything else, a subclass of an actor included."""
    mark = vars(cls).get(_MARK) if isinstance(cls, type) else None
    return mark if isinstance(mark, ActorType) else None


def _inspect(name: str, cls: type, key: KeyKind | None, options: ActorOptions) -> ActorType:
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise ConfigurationError(f"actor {name}: {cls.__name__} must be made without arguments ({error})") from error
    functions = dict(_functions(cls))
    if "context" in functions:
        raise ConfigurationError(f"actor {name}: the name 'context' is taken by the actor's ActorContext")
    for hook in _HOOKS:
        if hook in functions and not inspect.iscoroutinefunction(functions[hook]):
            raise ConfigurationError(f"actor {name}: {hook} must be an `async def`")
    methods = {
        function_name: Method.of(name, function)
        for function_name, function in functions.items()
        if not function_name.startswith("_") and function_name not in _HOOKS and inspect.iscoroutinefunction(function)
    }
    return ActorType(
        name, cls, methods, key, options, activates="on_activate" in functions, deactivates="on_deactivate" in functions
    )


def _functions(cls: type) -> Iterator[tuple[str, FunctionType]]:
    """The functions of a class and its bases, each name as attribute look-up would find it."""
    seen: set[str] = set()
    for base in cls.__mro__[:-1]:
        for name, value in vars(base).items():
            if name not in seen:
                seen.add(name)
                if isinstance(value, FunctionType):
                    yield name, value


class ActorRegistry:
    """The actor types of one node."""

    def __init__(self) -> None:
        self._types: dict[str, ActorType] = {}

    def register(self, cls: type) -> ActorType:
        """Add a class that `@actor` decorates; again has no effect.

        Raises ConfigurationError for any other class, and for a second class of the same name.
        """
        actor_type = actor_type_of(cls)
        if actor_type is None:
            raise ConfigurationError(f"{getattr(cls, '__name__', cls)} is no actor: decorate it with @actor(NAME)")
        known = self._types.setdefault(actor_type.name, actor_type)
        if known.cls is not cls:
            raise ConfigurationError(
                f"actor type {actor_type.name!r} is registered twice: {_home(known.cls)} and {_home(cls)}"
            )
        return known

    def get(self, addressable_type: str) -> ActorType | None:
        """The type of this name, None when it is not hosted here."""
        return self._types.get(addressable_type)

    def key_kind(self, addressable_type: str) -> KeyKind:
        """The kind of key that a bare text stands for: STRING unless the type says otherwise."""
        actor_type = self._types.get(addressable_type)
        return (actor_type and actor_type.key) or KeyKind.STRING

    @property
    def types(self) -> tuple[str, ...]:
        """Names in the order of registration."""
        return tuple(self._types)

    def __contains__(self, addressable_type: object) -> bool:
        return addressable_type in self._types

    def __repr__(self) -> str:
        return f"<ActorRegistry {', '.join(self._types) or 'empty'}>"


def _home(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
