"""Length-prefixed messages (grpc/doc/PROTOCOL-HTTP2.md, `Length-Prefixed-Message`)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import Executed
from orbit_lite.rpc.errors import Internal, ResourceExhausted
from orbit_lite.rpc.framing import MessageReader, frame_message

LIMIT = 1000


def read_all(reader: MessageReader) -> list[bytes]:
    messages = []
    while (message := reader.next()) is not None:
        messages.append(message)
    return messages


@given(st.lists(st.binary(max_size=40), max_size=6), st.data())
def test_messages_come_out_whole_however_the_bytes_are_cut(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frame_message(message, LIMIT) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    reader, received = MessageReader(LIMIT), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        received += read_all(reader)
    reader.end()
    assert received == messages


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=40), st.binary(max_size=4))
def test_all_plain_messages_of_a_piece_are_ready_at_once(messages: list[bytes], rest: bytes) -> None:
    reader = MessageReader(LIMIT)
    reader.feed(b"".join(frame_message(message, LIMIT) for message in messages) + rest)
    assert list(reader.ready) == messages


@pytest.mark.parametrize("broken", [b"\1\0\0\0\0", b"\2\0\0\0\0", b"\0\xff\xff\xff\xff"])
def test_messages_before_a_broken_one_are_given_before_its_error(broken: bytes) -> None:
    reader = MessageReader(LIMIT)
    reader.feed(frame_message(b"first", LIMIT) + frame_message(b"second", LIMIT) + broken + b"whatever")
    assert [reader.next(), reader.next()] == [b"first", b"second"]
    with pytest.raises((Internal, ResourceExhausted)):
        reader.next()


def test_packed_and_plain_messages_keep_their_order() -> None:
    plain, packed = frame_message(b"plain", LIMIT), frame_message(b"a" * 500, LIMIT, packed=True)
    reader, flags = MessageReader(LIMIT, "gzip"), []
    reader.feed(plain + packed + plain + plain + packed)
    while reader.next() is not None:
        flags.append(reader.is_packed)
    assert flags == [False, True, False, False, True]


def test_nothing_comes_out_before_its_last_byte() -> None:
    stream = frame_message(b"hello", LIMIT)
    reader = MessageReader(LIMIT)
    for byte in stream[:-1]:
        reader.feed(bytes([byte]))
        assert reader.next() is None
    reader.feed(stream[-1:])
    assert reader.next() == b"hello"


def test_an_oversized_message_is_refused_at_its_prefix() -> None:
    reader = MessageReader(LIMIT)
    reader.feed(b"\0\xff\xff\xff\xff")
    with pytest.raises(ResourceExhausted, match="4294967295 bytes is larger than the limit of 1000") as caught:
        reader.next()
    assert not caught.value.retryable


def test_a_message_of_exactly_the_limit_passes_both_ways() -> None:
    reader = MessageReader(LIMIT)
    reader.feed(frame_message(b"x" * LIMIT, LIMIT))
    assert reader.next() == b"x" * LIMIT


def test_sending_over_the_limit_fails_here_and_is_never_retried() -> None:
    with pytest.raises(ResourceExhausted, match="1001 bytes is larger than the limit of 1000") as caught:
        frame_message(b"x" * (LIMIT + 1), LIMIT)
    assert caught.value.executed is Executed.NO
    assert not caught.value.retryable


@pytest.mark.parametrize(("flag", "problem"), [(1, "compressed"), (2, "flag 0x02"), (0xFF, "flag 0xff")])
def test_a_flag_other_than_zero_is_a_broken_protocol(flag: int, problem: str) -> None:
    reader = MessageReader(LIMIT)
    reader.feed(bytes([flag, 0, 0, 0, 0]))
    with pytest.raises(Internal, match=problem):
        reader.next()


@pytest.mark.parametrize("stream", [b"\0", b"\0\0\0\0", b"\0\0\0\0\2", b"\0\0\0\0\2x"])
def test_an_end_inside_a_message_is_a_broken_protocol(stream: bytes) -> None:
    reader = MessageReader(LIMIT)
    reader.feed(stream)
    assert reader.next() is None
    with pytest.raises(Internal, match="ended inside a message"):
        reader.end()
