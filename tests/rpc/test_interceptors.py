"""Interceptors: one shape at both ends, around the whole of a call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality, Handler

from orbit_lite.rpc import Channel, ConnectionPool, NotFound, PermissionDenied, Server

Handle = Callable[[Any], Awaitable[None]]


class Service:
    def __init__(self, func: Handle) -> None:
        self._handler = Handler(func, Cardinality.UNARY_UNARY, StringValue, StringValue)

    def __mapping__(self) -> dict[str, Handler]:
        return {"/test.Echo/Call": self._handler}


async def echo(stream: Any) -> None:
    message = await stream.recv_message()
    if message.value == "nothing":
        raise NotFound("no such thing")
    name = stream.metadata.get("name", "nobody")
    await stream.send_message(StringValue(f"{name}: {message.value}"))


def noting(name: str, notes: list[str]) -> Any:
    @asynccontextmanager
    async def interceptor(call: Any) -> AsyncIterator[None]:
        notes.append(f"{name} {call.method.path}")
        try:
            yield
        except Exception as error:
            notes.append(f"{name} {type(error).__name__}")
            raise
        finally:
            notes.append(f"{name} left")

    return interceptor


async def ask(channel: Any, text: str) -> str:
    async with channel.request("/test.Echo/Call", Cardinality.UNARY_UNARY, StringValue, StringValue) as call:
        await call.send_message(StringValue(text), end=True)
        reply = await call.recv_message()
    assert isinstance(reply, StringValue)
    return reply.value


async def test_they_are_entered_in_order_and_left_in_reverse_at_both_ends() -> None:
    notes: list[str] = []
    server = Server([Service(echo)], interceptors=[noting("server", notes)])
    async with server:
        await server.start("127.0.0.1", 0)
        around = [noting("outer", notes), noting("inner", notes)]
        async with Channel("127.0.0.1", server.port, interceptors=around) as channel:
            assert await ask(channel, "x") == "nobody: x"
    path = "/test.Echo/Call"
    assert notes == [
        f"outer {path}",
        f"inner {path}",
        f"server {path}",
        "server left",
        "inner left",
        "outer left",
    ]


async def test_they_see_how_a_call_fails() -> None:
    notes: list[str] = []
    async with Server([Service(echo)], interceptors=[noting("server", notes)]) as server:
        await server.start("127.0.0.1", 0)
        async with Channel("127.0.0.1", server.port, interceptors=[noting("client", notes)]) as channel:
            with pytest.raises(NotFound):
                await ask(channel, "nothing")
    assert notes[2:] == ["server NotFound", "server left", "client NotFound", "client left"]


async def test_a_client_may_add_metadata_and_a_server_refuse() -> None:
    @asynccontextmanager
    async def named(call: Any) -> AsyncIterator[None]:
        call.metadata = {"name": "Ada"}
        yield

    @asynccontextmanager
    async def guarded(call: Any) -> AsyncIterator[None]:
        if call.metadata.get("name") != "Ada":
            raise PermissionDenied("Ada only")
        yield

    async with Server([Service(echo)], interceptors=[guarded]) as server:
        await server.start("127.0.0.1", 0)
        async with Channel("127.0.0.1", server.port, interceptors=[named]) as channel:
            assert await ask(channel, "x") == "Ada: x"
        async with Channel("127.0.0.1", server.port) as channel:
            with pytest.raises(PermissionDenied, match="Ada only"):
                await ask(channel, "x")
        async with ConnectionPool(interceptors=[named]) as pool:
            assert await ask(pool.channel(f"http://127.0.0.1:{server.port}"), "y") == "Ada: y"


async def test_one_that_cannot_be_entered_leaves_those_before_it_and_nothing_is_sent() -> None:
    notes: list[str] = []

    @asynccontextmanager
    async def broken(call: Any) -> AsyncIterator[None]:
        if call.method.path:
            raise RuntimeError("not today")
        yield

    async with Server([Service(echo)]) as server:
        await server.start("127.0.0.1", 0)
        async with Channel("127.0.0.1", server.port, interceptors=[noting("client", notes), broken]) as channel:
            with pytest.raises(RuntimeError, match="not today"):
                await ask(channel, "x")
            assert channel.open_streams == 0
        assert server.stats.calls == 0
    assert notes[1:] == ["client RuntimeError", "client left"]
