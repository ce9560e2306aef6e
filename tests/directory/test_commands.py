"""Commands and replies of the replicated directory as bytes of the log."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.directory.commands import (
    LONGEST_LEASE_MS,
    SHORTEST_LEASE_MS,
    ActorPlacement,
    Command,
    Place,
    Refusal,
    Refused,
    Register,
    Registered,
    Release,
    Released,
    Reply,
    Tick,
    Ticked,
    decode_command,
    decode_reply,
    encode_command,
    encode_reply,
)
from orbit_lite.errors import ParseError
from orbit_lite.model import AddressableReference, NodeId, NodeInfo
from orbit_lite.testing import strategies as orbit

NUMBERS = st.integers(0, (1 << 63) - 1)
REGISTERS = st.builds(
    Register,
    orbit.node_infos().map(lambda info: replace(info, lease=None)),
    NUMBERS,
    NUMBERS,
    st.integers(SHORTEST_LEASE_MS, LONGEST_LEASE_MS),
)
COMMANDS = st.one_of(
    st.builds(Tick, NUMBERS, NUMBERS),
    REGISTERS,
    st.builds(Place, orbit.addressable_references(), orbit.node_ids()),
    st.builds(Release, orbit.addressable_references(), orbit.node_ids(), NUMBERS),
)
REPLIES = st.one_of(
    st.builds(Ticked, NUMBERS),
    st.builds(Registered, NUMBERS),
    st.builds(ActorPlacement, orbit.node_ids(), NUMBERS),
    st.builds(Released, st.booleans()),
    st.builds(Refused, st.sampled_from(Refusal), st.text(st.characters(exclude_categories=["Cs"]))),
)

REGISTER = encode_command(Register(NodeInfo(NodeId("a"), "http://a:1", 1), 1, 2, 15_000))


@given(COMMANDS)
def test_every_command_can_be_read_back(command: Command) -> None:
    assert decode_command(encode_command(command)) == command


@given(REPLIES)
def test_every_reply_can_be_read_back(reply: Reply) -> None:
    assert decode_reply(encode_reply(reply)) == reply


@given(COMMANDS, st.data())
def test_bytes_that_were_changed_are_refused_or_mean_something_else(command: Command, data: st.DataObject) -> None:
    written = bytearray(encode_command(command))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ParseError):
        assert decode_command(bytes(written)) != command


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        b"[]",
        b"null",
        b'{"op":"fly"}',
        b'{"op":["tick"]}',
        b'{"elapsed_ms":1,"op":"tick"}',
        b'{"elapsed_ms":true,"op":"tick","term":1}',
        b'{"elapsed_ms":1.0,"op":"tick","term":1}',
        b'{"elapsed_ms":-1,"op":"tick","term":1}',
        b'{"elapsed_ms":9223372036854775808,"op":"tick","term":1}',
        b'{"elapsed_ms":1,"elapsed_ms":1,"op":"tick","term":1}',
        b'{"elapsed_ms": 1,"op":"tick","term":1}',
        b'{"op":"tick","elapsed_ms":1,"term":1}',
        b'{"elapsed_ms":1,"extra":1,"op":"tick","term":1}',
        b'{"actor":["T","string"],"node":"(default:a)","op":"place"}',
        b'{"actor":["T","none",null],"node":"(default:a)","op":"place"}',
        b'{"actor":["T","string","k"],"node":"default:a","op":"place"}',
        b'{"actor":["T","float",1],"node":"(default:a)","op":"place"}',
        b'{"actor":["T","string","\\ud800"],"node":"(default:a)","op":"place"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_command_in_its_one_form_is_refused(data: bytes) -> None:
    with pytest.raises(ParseError):
        decode_command(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("types", "Account"),
        ("types", [1]),
        ("tags", {"a": 1}),
        ("tags", []),
        ("max", 1 << 32),
        ("max", True),
        ("port", 65_536),
        ("status", "busy"),
        ("status", "ACTIVE"),
        ("url", None),
        ("node", ""),
        ("incarnation", "1"),
        ("lease_ms", SHORTEST_LEASE_MS - 1),
        ("lease_ms", LONGEST_LEASE_MS + 1),
    ],
)
def test_a_registration_with_a_wrong_field_is_refused(field: str, value: object) -> None:
    document = json.loads(REGISTER) | {field: value}
    with pytest.raises(ParseError):
        decode_command(json.dumps(document, separators=(",", ":"), sort_keys=True).encode())


def test_kinds_of_keys_stay_apart() -> None:
    written = {
        encode_command(Place(AddressableReference.of("T", key), NodeId("a"))) for key in ("1", 1, None, "no-key")
    }
    assert len(written) == 4
