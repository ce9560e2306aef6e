"""The two ways onto the wire, and google.protobuf as the oracle for both."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import betterproto
import pytest

import orbit_proto
from orbit_lite.converters.presence import fields


@dataclass(frozen=True)
class Wire:
    """A codec: the product's own or betterproto's runtime."""

    name: str
    encode: Callable[[betterproto.Message], bytes]
    decode: Callable[[type[Any], bytes], Any]


@pytest.fixture(scope="session", params=["codec", "betterproto"])
def wire(request: pytest.FixtureRequest) -> Wire:
    if request.param == "betterproto":
        return Wire("betterproto", bytes, lambda cls, data: cls.FromString(data))
    codec = pytest.importorskip("orbit_lite.codec")
    return Wire("codec", codec.encode, codec.decode)


class Google:
    """google.protobuf's classes for the shipped schema."""

    def __init__(self) -> None:
        descriptor_pb2 = importlib.import_module("google.protobuf.descriptor_pb2")
        pool = importlib.import_module("google.protobuf.descriptor_pool").DescriptorPool()
        message_class = importlib.import_module("google.protobuf.message_factory").GetMessageClass
        shipped = Path(str(orbit_proto.__file__)).with_name("descriptors.binpb").read_bytes()
        self._classes: dict[type, Any] = {}

        def add(package: str, path: str, messages: Any) -> None:
            for message in messages:
                name = f"{path}.{message.name}"
                # betterproto flattens nested messages: MessageTargetProto.Unicast → MessageTargetProtoUnicast
                ours = getattr(importlib.import_module(f"orbit_proto.{package}"), name.replace(".", ""), None)
                if ours is not None:
                    self._classes[ours] = message_class(pool.FindMessageTypeByName(f"{package}{name}"))
                    add(package, name, message.nested_type)

        for file in descriptor_pb2.FileDescriptorSet.FromString(shipped).file:
            pool.Add(file)
            if file.package != "google.protobuf":
                add(file.package, "", file.message_type)

    @property
    def classes(self) -> dict[type, Any]:
        """betterproto's class → google's."""
        return self._classes

    def like(self, message: betterproto.Message) -> Any:
        """A message of google's that says the same, made field by field and not by way of bytes."""
        made = self._classes[type(message)]()
        self._fill(made, message)
        return made

    def _fill(self, made: Any, message: betterproto.Message) -> None:
        state = fields(message)
        for field in made.DESCRIPTOR.fields:
            value = state[field.name]
            if value is betterproto.PLACEHOLDER or value is None:
                continue
            there = getattr(made, field.name)
            if isinstance(value, dict):
                for key, item in value.items():
                    if isinstance(item, betterproto.Message):
                        self._fill(there[key], item)
                    else:
                        there[key] = item
            elif isinstance(value, list):
                for item in value:
                    if isinstance(item, betterproto.Message):
                        self._fill(there.add(), item)
                    else:
                        there.append(item)
            elif isinstance(value, datetime):
                there.FromDatetime(value)
                there.SetInParent()
            elif isinstance(value, betterproto.Message):
                there.SetInParent()
                self._fill(there, value)
            else:
                setattr(made, field.name, value)


@pytest.fixture(scope="session")
def google() -> Google:
    pytest.importorskip("google.protobuf", reason="google.protobuf is the oracle")
    return Google()
