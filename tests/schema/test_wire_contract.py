"""The schema says what an Orbit-RS peer says: names, numbers, types, presence, and the calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import betterproto
import betterproto.lib.google.protobuf as pb
import pytest

import orbit_proto

CONTRACT = Path(__file__).with_name("wire.txt")
PACKAGES = {"orbit.shared", "orbit.consensus", "orbit.transactions"}


@pytest.fixture(scope="module")
def files() -> list[pb.FileDescriptorProto]:
    data = Path(orbit_proto.__file__).with_name("descriptors.binpb").read_bytes()
    return pb.FileDescriptorSet().parse(data).file


def test_the_schema_is_orbits_wire_to_the_letter(files: list[pb.FileDescriptorProto]) -> None:
    ours = {block for file in files if file.package in PACKAGES for block in blocks_of_file(file)}
    assert ours == set(blocks_of_text(CONTRACT.read_text("utf-8")))


def test_the_shipped_descriptors_are_complete_and_without_comments(files: list[pb.FileDescriptorProto]) -> None:
    names = [file.name for file in files]
    assert all(names.index(needed) < names.index(file.name) for file in files for needed in file.dependency)
    assert not any(file.source_code_info.location for file in files)
    assert {
        "grpc.health.v1",
        "grpc.reflection.v1",
        "grpc.reflection.v1alpha",
        "google.rpc",
        "orbit.lite",
        *PACKAGES,
    } <= {file.package for file in files}


def blocks_of_text(text: str) -> Iterator[str]:
    """Each line that is not indented begins a block."""
    block: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not line.startswith(" ") and block:
            yield "\n".join(block)
            block = []
        block.append(line)
    yield "\n".join(block)


def blocks_of_file(file: pb.FileDescriptorProto) -> Iterator[str]:
    for service in file.service:
        for method in service.method:
            request = "stream " * method.client_streaming + short(method.input_type, file.package)
            reply = "stream " * method.server_streaming + short(method.output_type, file.package)
            yield f"rpc {file.package}.{service.name}/{method.name}: {request} -> {reply}"
    for enum in file.enum_type:
        yield block_of_enum(enum, file.package)
    for message in file.message_type:
        yield from blocks_of_message(message, file.package, file.package)


def block_of_enum(enum: pb.EnumDescriptorProto, scope: str) -> str:
    return "\n".join([f"enum {scope}.{enum.name}", *(f"  {value.number} {value.name}" for value in enum.value)])


def blocks_of_message(message: pb.DescriptorProto, scope: str, package: str) -> Iterator[str]:
    entries = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    lines = [f"message {scope}.{message.name}"]
    for field in message.field:
        entry = entries.get(field.type_name.rpartition(".")[2])
        if entry is not None:
            kind = f"map<{type_name(entry.field[0], package)}, {type_name(entry.field[1], package)}>"
        elif field.label == pb.FieldDescriptorProtoLabel.LABEL_REPEATED:
            kind = f"repeated {type_name(field, package)}"
        elif field.proto3_optional:
            kind = f"optional {type_name(field, package)}"
        else:
            kind = type_name(field, package)
            # An unset oneof_index reads as 0, so the raw state has to tell.
            if field.__dict__["oneof_index"] is not betterproto.PLACEHOLDER:
                kind += f" (oneof {message.oneof_decl[field.oneof_index].name})"
        lines.append(f"  {field.number} {field.name}: {kind}")
    yield "\n".join(lines)
    for enum in message.enum_type:
        yield block_of_enum(enum, f"{scope}.{message.name}")
    for nested in message.nested_type:
        if nested.name not in entries:
            yield from blocks_of_message(nested, f"{scope}.{message.name}", package)


def type_name(field: pb.FieldDescriptorProto, package: str) -> str:
    if field.type_name:
        return short(field.type_name, package)
    return str(pb.FieldDescriptorProtoType(field.type)).removeprefix("TYPE_").lower()


def short(name: str, package: str) -> str:
    return name.removeprefix(".").removeprefix(f"{package}.")
