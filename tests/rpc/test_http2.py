"""What our use of h2 changes: events frame by frame, GOAWAY that closes nothing, streams over the limit."""

from __future__ import annotations

import pytest
from h2.events import DataReceived, Event, RequestReceived, ResponseReceived, StreamReset
from hyperframe.frame import PingFrame, PushPromiseFrame

from orbit_lite.rpc.http2 import LAST_STREAM_ID, GoAway, Http2, ProtocolError
from orbit_lite.rpc.status import ErrorCode

HEADERS = [(":method", "POST"), (":scheme", "http"), (":path", "/s/M"), ("content-type", "application/grpc")]

DATA_ON_NO_STREAM = b"\0\0\1" + b"\0" + b"\0" + b"\0\0\0\0" + b"x"


def connected(*, streams: int = 100) -> tuple[Http2, Http2]:
    client = Http2(client=True, streams=0, stream_window=1 << 20, connection_window=1 << 22)
    server = Http2(client=False, streams=streams, stream_window=1 << 20, connection_window=1 << 22)
    transfer(client, server)
    transfer(server, client)
    transfer(client, server)
    return client, server


def transfer(source: Http2, target: Http2) -> list[Event]:
    return list(target.receive(source.data_to_send()))


def test_what_came_before_a_broken_frame_is_given_out() -> None:
    client, server = connected()
    client.send_headers(1, HEADERS)
    client.send_data(1, b"kept")
    events = server.receive(client.data_to_send() + DATA_ON_NO_STREAM + PingFrame(0).serialize())
    received = [next(events), next(events)]
    with pytest.raises(ProtocolError):
        next(events)
    assert [type(event) for event in received] == [RequestReceived, DataReceived]
    (goaway,) = [event for event in transfer(server, client) if isinstance(event, GoAway)]
    assert goaway.code == ErrorCode.PROTOCOL_ERROR
    assert goaway.last_stream_id == 1


def test_streams_go_on_after_a_goaway_of_either_side() -> None:
    client, server = connected()
    client.send_headers(1, HEADERS)
    transfer(client, server)
    server.send_goaway(ErrorCode.NO_ERROR, LAST_STREAM_ID, b"soon")
    server.send_goaway(ErrorCode.NO_ERROR)
    warning, last = transfer(server, client)
    assert warning == GoAway(LAST_STREAM_ID, ErrorCode.NO_ERROR, b"soon")
    assert last == GoAway(1, ErrorCode.NO_ERROR, b"")
    server.send_headers(1, [(":status", "200")])
    client.send_data(1, b"more")
    assert isinstance(transfer(server, client)[0], ResponseReceived)
    assert isinstance(transfer(client, server)[0], DataReceived)


def test_streams_over_the_limit_are_reported_not_punished() -> None:
    client = Http2(client=True, streams=0, stream_window=1 << 20, connection_window=1 << 22)
    server = Http2(client=False, streams=1, stream_window=1 << 20, connection_window=1 << 22)
    transfer(client, server)  # and not the other way: the client does not know the limit yet
    for stream_id in (1, 3):
        client.send_headers(stream_id, HEADERS)
    assert [type(event) for event in transfer(client, server)] == [RequestReceived, RequestReceived]
    server.reset_stream(3, ErrorCode.REFUSED_STREAM)
    reset = transfer(server, client)[-1]
    assert isinstance(reset, StreamReset)
    assert reset.error_code == ErrorCode.REFUSED_STREAM
    assert not client.can_reset(3)
    assert client.can_reset(1)


def test_the_limit_of_the_peer_is_respected() -> None:
    client, _ = connected(streams=1)
    assert client.free_streams == 1
    client.send_headers(1, HEADERS)
    assert client.free_streams == 0


def test_a_push_is_refused() -> None:
    client, server = connected()
    client.send_headers(1, HEADERS)
    transfer(client, server)
    push = PushPromiseFrame(1, promised_stream_id=2, data=b"", flags=["END_HEADERS"])
    with pytest.raises(ProtocolError):
        list(client.receive(push.serialize()))


def test_room_is_the_least_of_both_windows_and_a_frame() -> None:
    client, _ = connected()
    client.send_headers(1, HEADERS)
    assert client.room(1) == 16_384
    window = client.local_flow_control_window(1)
    while (room := client.room(1)) > 0:
        client.send_data(1, b"x" * room)
        window -= room
    assert window == 0


def test_header_blocks_over_the_hard_limit_end_the_connection() -> None:
    client, server = connected()
    client.send_headers(1, [*HEADERS, ("x", "y" * 70_000)])
    with pytest.raises(ProtocolError):
        transfer(client, server)


def test_a_frame_that_is_too_large_is_refused_by_its_header() -> None:
    _, server = connected()
    with pytest.raises(ProtocolError, match="16777215 bytes, at most 16384"):
        list(server.receive(b"\xff\xff\xff" + b"\0" * 5 + b"\1"))
