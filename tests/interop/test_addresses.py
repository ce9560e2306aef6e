"""TLS and Unix sockets, with grpcio at the other end."""

from __future__ import annotations

import asyncio
import importlib
import ssl
from pathlib import Path
from typing import Any

import pytest
from betterproto.lib.google.protobuf import StringValue
from grpclib.const import Cardinality, Handler

from orbit_lite.errors import ConnectError
from orbit_lite.rpc import Channel, Server, current_call

pytest.importorskip("grpc", reason="grpcio has no wheel for this Python")
pytestmark = pytest.mark.interop

CERTIFICATE = Path(__file__).parents[1] / "rpc" / "localhost.pem"
PEM = CERTIFICATE.read_bytes()
PATH = "/test.Echo/Unary"


class Service:
    """Replies who called."""

    def __mapping__(self) -> dict[str, Handler]:
        return {PATH: Handler(self.unary, Cardinality.UNARY_UNARY, StringValue, StringValue)}

    async def unary(self, stream: Any) -> None:
        await stream.recv_message()
        call = current_call()
        assert call is not None
        await stream.send_message(StringValue(str(call.peer)))


async def ask_with_grpcio(channel: Any) -> str:
    message = importlib.import_module("google.protobuf.wrappers_pb2").StringValue
    async with channel:
        method = channel.unary_unary(
            PATH, request_serializer=message.SerializeToString, response_deserializer=message.FromString
        )
        text: str = (await method(message(value="q"))).value
    return text


async def ask(channel: Channel) -> str:
    async with channel, channel.request(PATH, Cardinality.UNARY_UNARY, StringValue, StringValue) as call:
        await call.send_message(StringValue("q"))
        reply = await call.recv_message()
    assert reply is not None
    return reply.value


def grpcio_server() -> Any:
    grpc, aio = importlib.import_module("grpc"), importlib.import_module("grpc.aio")
    message = importlib.import_module("google.protobuf.wrappers_pb2").StringValue

    async def unary(request: Any, context: Any) -> Any:
        return message(value=context.peer())

    handler = grpc.unary_unary_rpc_method_handler(
        unary, request_deserializer=message.FromString, response_serializer=message.SerializeToString
    )
    server = aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Unary": handler}),))
    return server


async def test_grpcio_calls_us_over_tls() -> None:
    grpc, aio = importlib.import_module("grpc"), importlib.import_module("grpc.aio")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    async with Server([Service()]) as server:
        await server.start("127.0.0.1", 0, ssl=context)
        credentials = grpc.ssl_channel_credentials(PEM[PEM.index(b"-----BEGIN CERTIFICATE") :])
        peer = await ask_with_grpcio(aio.secure_channel(f"localhost:{server.port}", credentials))
    assert peer.startswith("127.0.0.1:")


async def test_we_call_grpcio_over_tls() -> None:
    grpc = importlib.import_module("grpc")
    server = grpcio_server()
    key, certificate = PEM.split(b"-----BEGIN CERTIFICATE")
    pair = (key[key.index(b"-----BEGIN") :], b"-----BEGIN CERTIFICATE" + certificate)
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    try:
        trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
        assert "127.0.0.1" in await ask(Channel.from_url(f"https://localhost:{port}", ssl=trusting))
        with pytest.raises(ConnectError, match=r"(?i)certificate verify failed"):
            await ask(Channel.from_url(f"https://localhost:{port}"))
    finally:
        await server.stop(0)


async def test_grpcio_calls_us_on_a_unix_socket(tmp_path: Path) -> None:
    aio = importlib.import_module("grpc.aio")
    async with Server([Service()]) as server:
        await server.start(path=str(tmp_path / "socket"))
        assert await ask_with_grpcio(aio.insecure_channel(f"unix:{tmp_path}/socket")) == "unix"


async def test_we_call_grpcio_on_a_unix_socket(tmp_path: Path) -> None:
    server = grpcio_server()
    server.add_insecure_port(f"unix:{tmp_path}/socket")
    await server.start()
    try:
        assert "unix" in await ask(Channel.from_url(f"unix:{tmp_path}/socket"))
    finally:
        await server.stop(0)


async def test_a_drain_lets_grpcios_calls_finish() -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    class Slow(Service):
        async def unary(self, stream: Any) -> None:
            started.set()
            await finish.wait()
            await super().unary(stream)

    aio = importlib.import_module("grpc.aio")
    async with Server([Slow()]) as server:
        await server.start("127.0.0.1", 0)
        calling = asyncio.create_task(ask_with_grpcio(aio.insecure_channel(f"127.0.0.1:{server.port}")))
        await started.wait()
        draining = asyncio.create_task(server.drain(30.0))
        await asyncio.sleep(0)
        finish.set()
        assert (await draining).finished == 1
        assert (await calling).startswith("127.0.0.1:")
