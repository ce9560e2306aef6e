"""Message classes at run time, from descriptors: for programs that learn a service by reflection.

    pool = DescriptorPool()
    pool.add(serialized_file_descriptor_proto)
    method = pool.service("orbit.shared.ConnectionService").method("GetConnectionInfo")
    request = from_json(pool.message(method.input_type), {})

The classes derive from betterproto.Message and go through the same codec as generated ones. They differ on purpose
where betterproto's generator loses something: well-known types are their own messages (a Timestamp keeps its
nanoseconds), enum members keep their full names, `[packed = false]` and the names in JSON are known.

A class is built when it is first asked for. proto2 and editions are understood as far as proto3 has the same thing:
groups and extensions stay unknown fields.
"""

from __future__ import annotations

import dataclasses
import difflib
import keyword
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Optional

import betterproto
import betterproto.lib.google.protobuf as pb
from betterproto.casing import snake_case
from betterproto.enum import EnumType

from orbit_lite.codec import decode
from orbit_lite.codec.declarations import (
    DescriptorError,
    Rules,
    SymbolNotFound,
    declared,
    features_of,
    get,
    given,
    is_group,
    is_map_entry,
    is_repeated,
    kind_of,
    rules_of,
)
from orbit_lite.codec.describe import describe
from orbit_lite.codec.plan import UNSET, DescribedField, json_name
from orbit_lite.errors import quote

__all__ = [
    "WELL_KNOWN",
    "DescriptorError",
    "DescriptorPool",
    "MethodDescriptor",
    "ProtoFile",
    "ServiceDescriptor",
    "SymbolNotFound",
]

#: Full name → class. Always betterproto's own classes, which `orbit_lite.codec.json` knows.
WELL_KNOWN: dict[str, type[betterproto.Message]] = {
    f"google.protobuf.{cls.__name__}": cls
    for cls in (
        pb.Any,
        pb.BoolValue,
        pb.BytesValue,
        pb.DoubleValue,
        pb.Duration,
        pb.Empty,
        pb.FieldMask,
        pb.FloatValue,
        pb.Int32Value,
        pb.Int64Value,
        pb.ListValue,
        pb.StringValue,
        pb.Struct,
        pb.Timestamp,
        pb.UInt32Value,
        pb.UInt64Value,
        pb.Value,
    )
}

_PYTHON = {"double": float, "float": float, "bool": bool, "string": str, "bytes": bytes}  # int for all others


@dataclass(frozen=True, slots=True)
class ProtoFile:
    """One .proto file of a pool. serialized: the FileDescriptorProto as it was added."""

    name: str
    package: str
    dependencies: tuple[str, ...]
    serialized: bytes


@dataclass(frozen=True, slots=True)
class MethodDescriptor:
    """One RPC; the types are full names of messages."""

    name: str
    path: str
    input_type: str
    output_type: str
    client_streaming: bool
    server_streaming: bool


@dataclass(frozen=True, slots=True)
class ServiceDescriptor:
    """One service by its full name."""

    name: str
    methods: tuple[MethodDescriptor, ...]

    def method(self, name: str) -> MethodDescriptor:
        """The method of this name. Raises SymbolNotFound."""
        for method in self.methods:
            if method.name == name:
                return method
        raise _not_found(f"{self.name} has no method", name, [method.name for method in self.methods])


@dataclass(frozen=True, slots=True)
class Symbol:
    """A declared name: the descriptor, the file in which it stands, and that file's rules."""

    descriptor: Any
    file: ProtoFile
    rules: Rules


class DynamicMessage(betterproto.Message):
    """Base of the classes built here. `_full_name`: as in the .proto file."""

    _full_name: ClassVar[str]
    _hints: ClassVar[Callable[[], dict[str, object]]]

    @classmethod
    def _type_hints(cls) -> dict[str, Any]:
        """betterproto asks here for the types of the fields. By then all classes can be had, the class itself too."""
        hints: dict[str, Any] | None = vars(cls).get("_resolved_hints")
        if hints is None:
            hints = vars(cls)["_hints"]()
            cls._resolved_hints = hints  # type: ignore[attr-defined]
        return hints


class DescriptorPool:
    """What is known of a set of .proto files. Files may be added in any order, and again."""

    def __init__(self) -> None:
        self._files: dict[str, ProtoFile] = {}
        self._symbols: dict[str, Symbol] = {}
        self._classes: dict[str, type[Any]] = {}

    def add(self, serialized_file: bytes) -> ProtoFile:
        """Add a serialized FileDescriptorProto.

        Raises DecodeError for other bytes; DescriptorError for names or numbers that protobuf does not allow, and for
        what contradicts a file that is already here. Nothing is added then.
        """
        descriptor = decode(pb.FileDescriptorProto, serialized_file)
        name, rules = get(descriptor, "name", ""), rules_of(descriptor)
        if known := self._files.get(name):
            if known.serialized != serialized_file:
                raise DescriptorError(f"two different files are named {quote(name)!r}")
            return known
        package, dependencies = get(descriptor, "package", ""), tuple(get(descriptor, "dependency", ()))
        file = ProtoFile(name, package, dependencies, bytes(serialized_file))
        symbols: dict[str, Symbol] = {}
        try:
            for full_name, item in declared(descriptor):
                if other := self._symbols.get(full_name) or symbols.get(full_name):
                    raise DescriptorError(f"{full_name} is declared in {quote(other.file.name)} too")
                symbols[full_name] = Symbol(item, file, rules)
        except DescriptorError as error:
            raise DescriptorError(f"{quote(name)}: {error.message}") from None
        self._files[name] = file
        self._symbols |= symbols
        return file

    def add_set(self, descriptor_set: bytes) -> tuple[ProtoFile, ...]:
        """Add each file of a serialized FileDescriptorSet, such as `protoc --descriptor_set_out` writes."""
        # The files as bytes, not as messages: writing them again would lose which defaults were given.
        holder = decode(_FileSet, descriptor_set)
        return tuple(self.add(file) for file in get(holder, "file", ()))

    @property
    def files(self) -> tuple[ProtoFile, ...]:
        """All files, in the order in which they were added."""
        return tuple(self._files.values())

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of files that are imported by files of the pool and are not in it, well-known types included."""
        wanted = dict.fromkeys(name for file in self._files.values() for name in file.dependencies)
        return tuple(name for name in wanted if name not in self._files)

    def services(self) -> tuple[str, ...]:
        """Full names of all services, sorted."""
        return tuple(
            sorted(n for n, symbol in self._symbols.items() if isinstance(symbol.descriptor, pb.ServiceDescriptorProto))
        )

    def file_for_symbol(self, name: str) -> ProtoFile:
        """The file that declares a message, enum, service or method. Raises SymbolNotFound."""
        return self.symbol(name).file

    def symbol(self, name: str) -> Symbol:
        """The declaration of a full name; a method's may be written `package.Service/Method`. Raises SymbolNotFound."""
        if found := self._symbols.get(_plain(name)):
            return found
        raise _not_found("no file here declares", name, self._symbols)

    def service(self, full_name: str) -> ServiceDescriptor:
        """The service. Raises SymbolNotFound."""
        symbol = self.symbol(full_name)
        if not isinstance(symbol.descriptor, pb.ServiceDescriptorProto):
            raise _not_found("no service is named", full_name, self.services())
        full_name = full_name.removeprefix(".")
        methods = []
        for method in get(symbol.descriptor, "method", ()):
            name = get(method, "name", "")
            methods.append(
                MethodDescriptor(
                    name=name,
                    path=f"/{full_name}/{name}",
                    input_type=self.resolve(full_name, get(method, "input_type", "")),
                    output_type=self.resolve(full_name, get(method, "output_type", "")),
                    client_streaming=get(method, "client_streaming", False),
                    server_streaming=get(method, "server_streaming", False),
                )
            )
        return ServiceDescriptor(full_name, tuple(methods))

    def message(self, full_name: str) -> type[betterproto.Message]:
        """The class of a message; the same one each time. Raises SymbolNotFound, DescriptorError."""
        full_name = full_name.removeprefix(".")
        return WELL_KNOWN.get(full_name) or self._class(full_name, pb.DescriptorProto, self._build_message)

    def enum(self, full_name: str) -> type[betterproto.Enum]:
        """The class of an enum. Its members have the names of the .proto file. Raises SymbolNotFound."""
        full_name = full_name.removeprefix(".")
        if full_name == "google.protobuf.NullValue":
            return pb.NullValue
        return self._class(full_name, pb.EnumDescriptorProto, _build_enum)

    def describe(self, name: str) -> str:
        """The declaration of a symbol, in the language of .proto files. Raises SymbolNotFound."""
        symbol = self.symbol(name)
        return describe(_plain(name), symbol.descriptor, symbol.rules)

    def resolve(self, scope: str, type_name: str) -> str:
        """The full name of a type that is mentioned within `scope`: innermost scope first, as in C++."""
        if type_name.startswith("."):
            return type_name[1:]
        while scope:
            if f"{scope}.{type_name}" in self._symbols:
                return f"{scope}.{type_name}"
            scope = scope.rpartition(".")[0]
        return type_name

    def _class(self, full_name: str, of: type[Any], build: Callable[[str, Symbol], type[Any]]) -> type[Any]:
        symbol = self.symbol(full_name)
        if not isinstance(symbol.descriptor, of):
            raise SymbolNotFound(f"{full_name} is no {'message' if of is pb.DescriptorProto else 'enum'}")
        found = self._classes.get(full_name)
        if found is None:
            self._classes[full_name] = found = build(full_name, symbol)
        return found

    def _build_message(self, full_name: str, symbol: Symbol) -> type[betterproto.Message]:
        fields = [field for field in get(symbol.descriptor, "field", ()) if not is_group(symbol.rules, field)]
        oneofs = [get(oneof, "name", "") for oneof in get(symbol.descriptor, "oneof_decl", ())]
        hints: dict[str, Callable[[], object]] = {}
        members: list[tuple[str, object, Any]] = []
        for name, field in zip(_python_names(get(field, "name", "") for field in fields), fields, strict=True):
            metadata = self._metadata(full_name, symbol.rules, field, oneofs)
            hints[name] = self._hint(full_name, field, metadata)
            default = None if metadata.optional else UNSET
            members.append((name, Any, dataclasses.field(default=default, metadata={"betterproto": metadata})))
        namespace = {
            "__module__": __name__,
            "_full_name": full_name,
            "_hints": staticmethod(lambda: {name: hint() for name, hint in hints.items()}),
        }
        simple_name = full_name.rpartition(".")[2]
        return dataclasses.make_dataclass(
            f"{simple_name}_" if keyword.iskeyword(simple_name) else simple_name,
            members,
            bases=(DynamicMessage,),
            namespace=namespace,
            eq=False,
            repr=False,
        )

    def _metadata(
        self, full_name: str, rules: Rules, field: pb.FieldDescriptorProto, oneofs: list[str]
    ) -> DescribedField:
        name, kind = get(field, "name", ""), kind_of(field)
        proto3_optional = get(field, "proto3_optional", False)
        group = oneofs[get(field, "oneof_index", 0)] if "oneof_index" in given(field) and not proto3_optional else None
        options, rules = get(field, "options", None), rules.of(features_of(field))
        single = group is None and not is_repeated(field)
        map_types = None
        if entry := self._map_entry(full_name, field):
            key, value = get(entry, "field", ())
            kind, map_types = "map", (kind_of(key), kind_of(value))
        return DescribedField(
            number=get(field, "number", 0),
            proto_type=kind,
            map_types=map_types,
            group=group,
            optional=single and (proto3_optional or (rules.explicit and kind != "message")),
            packed=rules.packed if options is None else get(options, "packed", rules.packed),
            proto_name=name,
            json_name=get(field, "json_name", "") or json_name(name),
        )

    def _map_entry(self, full_name: str, field: pb.FieldDescriptorProto) -> pb.DescriptorProto | None:
        """The entry message of a map field; None for all others."""
        if not is_repeated(field) or kind_of(field) != "message":
            return None
        symbol = self._symbols.get(self.resolve(full_name, get(field, "type_name", "")))
        if symbol is None or not isinstance(symbol.descriptor, pb.DescriptorProto):
            return None
        return symbol.descriptor if is_map_entry(symbol.descriptor) else None

    def _hint(self, full_name: str, field: pb.FieldDescriptorProto, metadata: DescribedField) -> Callable[[], object]:
        """What to call for the type annotation that betterproto's generator would have written."""

        def hint() -> object:
            if entry := self._map_entry(full_name, field):
                key, value = (self._item_type(full_name, part) for part in get(entry, "field", ()))
                return dict[key, value]  # type: ignore[valid-type]  # made at run time
            item = self._item_type(full_name, field)
            if is_repeated(field):
                return list[item]  # type: ignore[valid-type]
            return Optional[item] if metadata.optional else item  # noqa: UP045  # no type that `|` knows

        return hint

    def _item_type(self, full_name: str, field: pb.FieldDescriptorProto) -> Any:
        kind = kind_of(field)
        type_name = self.resolve(full_name, get(field, "type_name", ""))
        if kind == "enum":
            return self.enum(type_name)
        return self.message(type_name) if kind == "message" else _PYTHON.get(kind, int)


@dataclass(eq=False, repr=False)
class _FileSet(betterproto.Message):
    """google.protobuf.FileDescriptorSet whose files stay bytes."""

    file: list[bytes] = betterproto.bytes_field(1)  # noqa: RUF009  # how betterproto declares fields


def _plain(name: str) -> str:
    """`package.Service/Method`, as in paths, and `.package.Message`, as in descriptors, with dots only."""
    return name.removeprefix("/").removeprefix(".").replace("/", ".")


def _not_found(what: str, name: str, candidates: Iterable[str]) -> SymbolNotFound:
    candidates = list(candidates)
    # People leave out the package, or write it in other letters.
    tails = [known for known in candidates if known.rpartition(".")[2].lower() == name.rpartition(".")[2].lower()]
    similar = tails[:3] or difflib.get_close_matches(name, candidates, n=3)
    hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
    return SymbolNotFound(f"{what} {quote(name)!r}{hint}")


def _python_names(names: Iterable[str]) -> Iterator[str]:
    """Attribute names as betterproto's generator makes them, but distinct, and none that hides a method of Message."""
    taken: set[str] = set()
    for name in names:
        attribute = plain = snake_case(name)
        if keyword.iskeyword(plain) or not plain.isidentifier() or hasattr(betterproto.Message, plain):
            attribute = plain = f"_{plain}" if plain[:1].isdigit() else f"{plain}_"
        suffix = 2
        while attribute in taken:
            attribute, suffix = f"{plain}_{suffix}", suffix + 1
        taken.add(attribute)
        yield attribute


def _build_enum(full_name: str, symbol: Symbol) -> type[betterproto.Enum]:
    cls: Any = EnumType(full_name.rpartition(".")[2], (betterproto.Enum,), {"__module__": __name__})
    type.__setattr__(cls, "_full_name", full_name)
    for value in get(symbol.descriptor, "value", ()):
        name, number = get(value, "name", ""), int(get(value, "number", 0))
        member = cls._value_map_.get(number)  # an alias is the same member
        if member is None:
            member = cls._value_map_[number] = cls.__new__(cls, name=name, value=number)
        cls._member_map_[name] = member
        if not hasattr(cls, name):  # the maps serve lookups; `Colour.RED` is for people
            type.__setattr__(type(cls), name, member)
    return cls  # type: ignore[no-any-return]
