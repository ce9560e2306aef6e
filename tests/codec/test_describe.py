"""Declarations as text: what `describe` prints is the .proto file again, as far as a descriptor remembers it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import betterproto.lib.google.protobuf as pb
import pytest

from orbit_lite.codec import encode
from orbit_lite.codec.descriptors import DescriptorPool, SymbolNotFound

PACKAGE = "orbit.test.features"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Nothing", "message Nothing {}"),
        ("Forest", "message Forest {Tree root = 1; map<int32, Tree> trees = 2;}"),
        ("Colour", "enum Colour {COLOUR_NONE = 0; RED = 1; GREEN = 2; DEEP_BLUE = 1000000; INFRARED = -1;}"),
        ("Alias", "enum Alias {option allow_alias = true; ALIAS_ZERO = 0; ALIAS_ONE = 1; ALIAS_UNO = 1;}"),
        ("Features.Up", "rpc Up(stream Scalars) returns (google.protobuf.Empty);"),
        ("Features/Both", "rpc Both(stream Edges.Inner) returns (stream Maps);"),
        ("Edges.Inner", "message Inner {enum Kind {KIND_ZERO = 0; KIND_ONE = 1;} Kind kind = 1; int32 depth = 2;}"),
    ],
)
def test_a_declaration_reads_as_it_was_written(pool: DescriptorPool, name: str, text: str) -> None:
    described = pool.describe(f"{PACKAGE}.{name}")
    assert " ".join(described.split()).replace("{ ", "{").replace(" }", "}") == text


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Scalars", "  Colour colour = 16;"),
        ("Optionals", "  optional Scalars message = 17;"),
        ("Repeated", "  repeated sint64 sint64 = 6;"),
        ("Unpacked", "  repeated int32 int32 = 1 [packed = false];"),
        ("Maps", "  map<string, google.protobuf.Timestamp> of_timestamp = 19;"),
        ("Choice", "  oneof second {\n    Tree tree = 16;\n    fixed64 fixed64 = 17;\n  }"),
        ("Edges", '  string with_json_name = 20003 [json_name = "@other"];'),
        ("Edges", "  repeated Inner.Kind kinds = 20000;"),
        ("Features", "  rpc Down(google.protobuf.Empty) returns (stream Tree);"),
    ],
)
def test_every_part_has_its_line(pool: DescriptorPool, name: str, line: str) -> None:
    assert f"{line}\n" in pool.describe(f"{PACKAGE}.{name}")


def test_what_is_unknown_cannot_be_described(pool: DescriptorPool) -> None:
    with pytest.raises(SymbolNotFound):
        pool.describe(f"{PACKAGE}.Nowhere")


def test_text_that_a_peer_chose_stays_on_its_line() -> None:
    field = pb.FieldDescriptorProto(
        name="f",
        number=1,
        type=pb.FieldDescriptorProtoType(9),
        label=pb.FieldDescriptorProtoLabel(1),
        json_name='x"];\n}\nmessage Fake {',
        default_value="a\x1b[2J\nb",
    )
    message = pb.DescriptorProto(name="M", field=[field], reserved_name=['"\n'])
    pool = DescriptorPool()
    pool.add(encode(pb.FileDescriptorProto(name="a.proto", message_type=[message])))
    text = pool.describe("M")
    assert len(text.splitlines()) == 4
    assert "\x1b" not in text
    assert '\\"];' in text


def test_protoc_reads_the_text_and_makes_the_same_descriptors(
    pool: DescriptorPool, google: Any, descriptor_set: bytes, tmp_path: Path
) -> None:
    pytest.importorskip("grpc_tools", reason="protoc comes with grpcio-tools")
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    original = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file[-1]
    parts = ["Colour", "Alias", *(item.name for item in original.message_type), "Features"]
    imports = "".join(f'import "{name}";\n' for name in original.dependency)
    body = "\n".join(pool.describe(f"{PACKAGE}.{part}") for part in parts)
    source = tmp_path / "features.proto"
    source.write_text(f'syntax = "proto3";\npackage {PACKAGE};\n{imports}{body}\n')
    out = tmp_path / "out.binpb"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{tmp_path}", f"--descriptor_set_out={out}", source.name]
    subprocess.run(protoc, check=True, cwd=tmp_path, env=os.environ, timeout=60)
    (again,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    assert {item.name: item for item in again.message_type} == {item.name: item for item in original.message_type}
    assert list(again.enum_type) == list(original.enum_type)
    assert list(again.service) == list(original.service)
