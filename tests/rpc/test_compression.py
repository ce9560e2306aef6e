"""Compressed messages (grpc/doc/compression.md): agreed upon by headers, marked one by one, unpacked with limits."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from betterproto.lib.google.protobuf import StringValue
from hyperframe.frame import DataFrame, HeadersFrame
from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.errors import ConfigurationError
from orbit_lite.rpc import Channel, Internal, ResourceExhausted, ServerConfig, TransportConfig
from orbit_lite.rpc.compression import accepts, compress, decompress

if TYPE_CHECKING:
    from tests.rpc.conftest import RawPeer, Served

Serve = Callable[..., Awaitable["Served"]]
RawClient = Callable[..., Awaitable["RawPeer"]]

MIB = 1 << 20
TEXT = "compress me, " * 1000
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/test.Echo/Call"),
    (":authority", "test"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("grpc-encoding", "gzip"),
]


def unpacked(data: bytes, limit: int = MIB) -> bytes:
    return b"".join(decompress(data, limit))


@given(st.binary(max_size=5000), st.integers(0, 9))
def test_what_gzip_packs_is_unpacked(message: bytes, level: int) -> None:
    assert unpacked(gzip.compress(message, level)) == message


@given(st.binary(min_size=1, max_size=64).map(lambda part: part * 100))
def test_what_is_packed_here_gzip_unpacks(message: bytes) -> None:
    packed = compress(message)
    assert (message if packed is None else gzip.decompress(packed)) == message


def test_what_would_not_become_smaller_is_left_as_it_is() -> None:
    assert compress(b"x" * 255) is None
    assert compress(bytes(range(256))) is None


def test_the_limit_holds_for_the_content() -> None:
    packed = gzip.compress(b"x" * 1000)
    assert len(unpacked(packed, 1000)) == 1000
    with pytest.raises(ResourceExhausted, match="limit of 999 bytes when decompressed"):
        unpacked(packed, 999)


def test_a_bomb_is_given_up_long_before_its_end() -> None:
    bomb = gzip.compress(bytes(200 * MIB), 9)
    taken: list[int] = []
    with pytest.raises(ResourceExhausted, match="100 times"):
        taken.extend(len(piece) for piece in decompress(bomb, 1 << 32))
    assert max(taken) <= MIB
    assert sum(taken) <= len(bomb) * 100 + MIB


@given(st.binary(max_size=300), st.data())
def test_a_cut_or_prolonged_member_is_refused(message: bytes, data: st.DataObject) -> None:
    packed = gzip.compress(message)
    cut = data.draw(st.integers(0, len(packed) - 1))
    for broken in (packed[:cut], packed + b"x", packed + packed):
        with pytest.raises(Internal):
            unpacked(broken)


@given(st.binary(max_size=100))
def test_any_bytes_are_content_or_an_error(data: bytes) -> None:
    with suppress(Internal, ResourceExhausted):
        unpacked(data)


def test_what_a_peer_accepts_is_in_its_header() -> None:
    assert accepts("deflate, gzip", "gzip")
    assert not accepts("gzipped", "gzip")
    assert not accepts(None, "gzip")
    assert accepts(None, "identity")


def test_other_encodings_cannot_be_chosen() -> None:
    with pytest.raises(ConfigurationError, match="gzip or None"):
        Channel(compression="br")
    with pytest.raises(ConfigurationError, match="gzip or None"):
        ServerConfig(compression="br")


async def echo(stream: Any) -> None:
    message = await stream.recv_message()
    await stream.send_message(message)


@pytest.mark.parametrize("compression", [None, "gzip"])
async def test_requests_and_replies_are_compressed_where_both_want_it(serve: Serve, compression: str | None) -> None:
    served = await serve(echo, server_config=ServerConfig(compression="gzip"))
    async with (
        Channel("127.0.0.1", served.server.port, compression=compression) as channel,
        channel.request("/test.Echo/Call", served.cardinality, StringValue, StringValue) as call,
    ):
        await call.send_message(StringValue(TEXT))
        assert await call.recv_message() == StringValue(TEXT)


async def test_a_reply_is_compressed_only_for_those_who_take_it(serve: Serve, raw_client: RawClient) -> None:
    served = await serve(echo, server_config=ServerConfig(compression="gzip"))
    message = gzip.compress(bytes(StringValue(TEXT)))
    peer = await raw_client(served.server)
    for stream_id, extra in ((1, []), (3, [("grpc-accept-encoding", "gzip")])):
        peer.headers(stream_id, REQUEST + extra)
        peer.data(stream_id, struct.pack(">BI", 1, len(message)) + message, end=True)
        head = await peer.next(HeadersFrame, stream_id)
        assert dict(head.fields).get("grpc-encoding") == ("gzip" if extra else None)
        data = (await peer.next(DataFrame, stream_id)).data
        assert data[0] == bool(extra)
        await peer.next(HeadersFrame, stream_id)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (gzip.compress(bytes(200 * MIB), 9), "8"),
        (gzip.compress(b"")[:-3], "13"),
        (gzip.compress(b"") + b"x", "13"),
        (b"not gzip", "13"),
    ],
    ids=["bomb", "cut", "prolonged", "other"],
)
async def test_bad_content_is_answered_and_the_connection_lives(
    serve: Serve, raw_client: RawClient, content: bytes, status: str
) -> None:
    served = await serve(echo)
    peer = await raw_client(served.server)
    peer.headers(1, REQUEST)
    data = struct.pack(">BI", 1, len(content)) + content
    for start in range(0, len(data), 16_000):
        peer.data(1, data[start : start + 16_000], end=start + 16_000 >= len(data))
    answer = await peer.next(HeadersFrame, 1)
    assert dict(answer.fields)["grpc-status"] == status
    peer.headers(3, REQUEST)
    peer.data(3, struct.pack(">BI", 0, 0), end=True)
    assert dict((await peer.next(HeadersFrame, 3)).fields)[":status"] == "200"


async def test_the_size_limit_is_that_of_the_content(serve: Serve) -> None:
    served = await serve(echo, server_config=ServerConfig(max_message_size=10_000))
    config = TransportConfig(request_timeout=5.0)
    async with (
        Channel("127.0.0.1", served.server.port, config=config, compression="gzip") as channel,
        channel.request("/test.Echo/Call", served.cardinality, StringValue, StringValue) as call,
    ):
        await call.send_message(StringValue("x" * 20_000))
        with pytest.raises(ResourceExhausted, match="when decompressed"):
            await call.recv_message()
