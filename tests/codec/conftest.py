"""The messages of features.proto in both worlds: betterproto classes, ours to test, and google.protobuf's as the oracle."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def features() -> ModuleType:
    """What betterproto's plugin generated from features.proto."""
    spec = importlib.util.spec_from_file_location("orbit_test_features", HERE / "gen" / "features.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # betterproto resolves annotations there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def descriptor_set() -> bytes:
    """features.proto and all that it imports as a serialized FileDescriptorSet."""
    return (HERE / "features.binpb").read_bytes()


class Google:
    """google.protobuf's classes of features.proto by name; `upb` says whether it is the C runtime."""

    def __init__(self, descriptor_set: bytes) -> None:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
        from google.protobuf.internal import api_implementation

        self.upb = api_implementation.Type() == "upb"
        self.pool = descriptor_pool.DescriptorPool()
        self._class_of = message_factory.GetMessageClass
        for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file:
            self.pool.Add(file)  # type: ignore[no-untyped-call]

    def __getattr__(self, name: str) -> Any:
        return self._class_of(self.pool.FindMessageTypeByName(f"orbit.test.features.{name}"))


@pytest.fixture(scope="session")
def google(descriptor_set: bytes) -> Google:
    """google.protobuf as the oracle."""
    pytest.importorskip("google.protobuf", reason="google.protobuf is the oracle of these tests")
    return Google(descriptor_set)
