"""The messages of features.proto in both worlds: betterproto classes, ours to test; google.protobuf's as the oracle."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import betterproto
import pytest
from hypothesis import strategies as st

from orbit_lite.codec.descriptors import DescriptorPool

HERE = Path(__file__).parent

MESSAGES = (
    "Scalars",
    "Optionals",
    "Repeated",
    "Unpacked",
    "Maps",
    "Choice",
    "Tree",
    "Forest",
    "WellKnown",
    "Edges",
    "Edges.Inner",
    "Nothing",
)


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
        reason = "google.protobuf is the oracle of these tests"
        descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2", reason=reason)
        descriptor_pool = pytest.importorskip("google.protobuf.descriptor_pool", reason=reason)
        api = pytest.importorskip("google.protobuf.internal.api_implementation", reason=reason)
        self.upb: bool = api.Type() == "upb"
        self.DecodeError = pytest.importorskip("google.protobuf.message").DecodeError
        self._class_of = pytest.importorskip("google.protobuf.message_factory").GetMessageClass
        self.unknown_fields = pytest.importorskip("google.protobuf.unknown_fields").UnknownFieldSet
        self._pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file:
            self._pool.Add(file)

    def __getattr__(self, name: str) -> Any:
        return self.message(name)

    def message(self, name: str) -> Any:
        """The class of `orbit.test.features.<name>`."""
        return self._class_of(self._pool.FindMessageTypeByName(f"orbit.test.features.{name}"))

    def filled(self, name: str) -> st.SearchStrategy[Any]:
        """Messages of that class with any content that Python's datetime and timedelta can hold."""
        return _filled(self.message(name), depth=2)

    @staticmethod
    def canonical(message: Any) -> bytes:
        """Equal for messages that mean the same: deterministic, and every NaN is the same one."""
        _settle(message)
        written: bytes = message.SerializeToString(deterministic=True)
        return written


@pytest.fixture(scope="session")
def google(descriptor_set: bytes) -> Google:
    """google.protobuf as the oracle."""
    return Google(descriptor_set)


@dataclass(frozen=True)
class Both:
    """One message class in both worlds."""

    name: str
    ours: type[betterproto.Message]
    theirs: Any


@pytest.fixture(params=MESSAGES, scope="session")
def both(request: pytest.FixtureRequest, features: ModuleType, google: Google) -> Both:
    """Each message class of features.proto in turn."""
    return Both(request.param, getattr(features, request.param.replace(".", "")), google.message(request.param))


@pytest.fixture(scope="session")
def upb(google: Google) -> Google:
    """The oracle of doubtful bytes: google.protobuf's C runtime. Its pure-Python one takes some that no other takes."""
    if not google.upb:
        pytest.skip("google.protobuf runs without its C runtime, and takes some broken bytes")
    return google


@pytest.fixture(scope="session")
def pool(descriptor_set: bytes) -> DescriptorPool:
    """features.proto as a program sees it that knows it by reflection only."""
    found = DescriptorPool()
    found.add_set(descriptor_set)
    return found


# ---------------------------------------------------------------- contents


def _edges(low: int, high: int) -> st.SearchStrategy[int]:
    """Integers, those where an encoding gets longer or a sign turns more often than others."""
    corners = {
        low,
        high,
        *(sign * (1 << bits) + off for bits in (7, 14, 28, 31, 32, 35, 63) for sign in (1, -1) for off in (-1, 0)),
    }
    return st.sampled_from(sorted(n for n in corners if low <= n <= high)) | st.integers(low, high) | st.integers(0, 9)


_INT32, _INT64 = _edges(-(2**31), 2**31 - 1), _edges(-(2**63), 2**63 - 1)
_UINT32, _UINT64 = _edges(0, 2**32 - 1), _edges(0, 2**64 - 1)
_MICROS = st.integers(0, 999_999).map(lambda micros: micros * 1000)

#: By the number that descriptors have for the type.
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    1: st.floats(),
    2: st.floats(width=32),
    3: _INT64,
    4: _UINT64,
    5: _INT32,
    6: _UINT64,
    7: _UINT32,
    8: st.booleans(),
    9: st.text(max_size=20),
    12: st.binary(max_size=20),
    13: _UINT32,
    14: st.sampled_from([0, 1, 2, -1, 1_000_000, 127, 128, 7_777_777, -(2**31), 2**31 - 1]),  # open, so any int32
    15: _INT32,
    16: _INT64,
    17: _INT32,
    18: _INT64,
}


@st.composite
def _timestamps(draw: st.DrawFn, cls: Any) -> Any:
    return cls(seconds=draw(st.integers(-62_135_596_800, 253_402_300_799)), nanos=draw(_MICROS))


@st.composite
def _durations(draw: st.DrawFn, cls: Any) -> Any:
    sign = draw(st.sampled_from([1, -1]))
    return cls(seconds=sign * draw(st.integers(0, 315_576_000_000)), nanos=sign * draw(_MICROS))


_SPECIAL: dict[str, Callable[[Any], st.SearchStrategy[Any]]] = {
    "google.protobuf.Timestamp": _timestamps,
    "google.protobuf.Duration": _durations,
}


def _values(cls: Any, depth: int) -> st.SearchStrategy[Any]:
    special = _SPECIAL.get(cls.DESCRIPTOR.full_name)
    return special(cls) if special else _filled(cls, depth=depth)


@st.composite
def _filled(draw: st.DrawFn, cls: Any, *, depth: int) -> Any:
    message = cls()
    fields = [field for field in cls.DESCRIPTOR.fields if depth or field.message_type is None]
    if not fields:
        return message
    for field in draw(st.lists(st.sampled_from(fields), max_size=4, unique_by=lambda field: field.number)):
        # By class, since google.protobuf makes an unset sub-message's object on reading.
        target = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[part] for part in ("key", "value"))
            for entry in draw(st.lists(_SCALARS[key.type], max_size=3)):
                if value.message_type is None:
                    target[entry] = draw(_SCALARS[value.type])
                else:
                    target[entry].CopyFrom(draw(_values(type(target[entry]), depth - 1)))
        elif isinstance(target, str | bytes | int | float):
            setattr(message, field.name, draw(_SCALARS[field.type]))
        elif field.message_type is None:
            target.extend(draw(st.lists(_SCALARS[field.type], max_size=6)))
        elif hasattr(target, "add"):
            for _ in range(draw(st.integers(0, 3))):
                added = target.add()
                added.CopyFrom(draw(_values(type(added), depth - 1)))
        else:
            target.SetInParent()
            target.CopyFrom(draw(_values(type(target), depth - 1)))
    return message


def _settle(message: Any) -> None:
    """Replace every NaN by the usual one: which of the many it is gets lost when floats become Python's doubles."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            of = field.message_type.fields_by_name["value"]
            for key in list(value):
                if of.message_type is not None:
                    _settle(value[key])
                elif of.type in (1, 2) and math.isnan(value[key]):
                    value[key] = math.nan
        elif field.message_type is not None:
            for item in value if hasattr(value, "add") else [value]:
                _settle(item)
        elif field.type in (1, 2):
            if isinstance(value, float):
                if math.isnan(value):
                    setattr(message, field.name, math.nan)
            else:
                value[:] = [math.nan if math.isnan(item) else item for item in value]
