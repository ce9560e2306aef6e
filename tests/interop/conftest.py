"""The same calls between every pair of implementations of which ours is one.

A `Client` makes calls of the Echo service and tells what came of them in one vocabulary. The service is written once,
in grpclib's shape, and runs on our server and on grpclib's; grpcio's server has a twin of it. What it does follows from
the first message: `fail`, `hang`, `mirror`, `size N`, anything else is echoed.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from betterproto.lib.google.protobuf import StringValue
from grpclib.client import Channel as GrpclibChannel
from grpclib.const import Cardinality, Handler
from grpclib.const import Status as GrpclibStatus
from grpclib.exceptions import GRPCError
from grpclib.server import Server as GrpclibServer

from orbit_lite.rpc import Channel, RpcError, Server

if TYPE_CHECKING:
    from tests.interop.js import peer as js
else:  # the folders of tests are no packages
    _spec = importlib.util.spec_from_file_location("orbit_test_js_peer", Path(__file__).parent / "js" / "peer.py")
    js = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(js)

KINDS = {
    "Unary": Cardinality.UNARY_UNARY,
    "Expand": Cardinality.UNARY_STREAM,
    "Collect": Cardinality.STREAM_UNARY,
    "Chat": Cardinality.STREAM_STREAM,
}
FAILURE = "nicht jetzt ☺\n100 %"
REASON = "BUSY"


def path(method: str) -> str:
    return f"/test.Echo/{method}"


@dataclass
class Outcome:
    """What came of a call. details: reasons of google.rpc.ErrorInfo."""

    replies: list[str] = field(default_factory=list)
    status: int = 0
    message: str = ""
    details: list[str] = field(default_factory=list)
    initial: list[tuple[str, str | bytes]] = field(default_factory=list)
    trailing: list[tuple[str, str | bytes]] = field(default_factory=list)


Cancel = Callable[[], Awaitable[None]]


def kind_of(method: str) -> Cardinality:
    return KINDS.get(method, Cardinality.UNARY_UNARY)


class Client(Protocol):
    """One implementation's client."""

    async def call(
        self, method: str, texts: Sequence[str], *, timeout: float | None = None, metadata: Any = None
    ) -> Outcome:
        """Send all texts, receive all replies."""
        ...

    async def chat(self, texts: Sequence[str]) -> Cancel:
        """Open a Chat, send texts, wait for the reply to the first; gives what cancels the call."""
        ...


@dataclass
class Watch:
    """What the service saw of its callers."""

    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def see(self, event: str) -> None:
        """Set the event of that name."""
        {"hanging": self.hanging, "cancelled": self.cancelled}[event].set()


def error_info() -> Any:
    return importlib.import_module("google.rpc.error_details_pb2").ErrorInfo(reason=REASON, domain="test")


def reasons(status_details: bytes) -> list[str]:
    """Reasons of the ErrorInfo details in google.rpc.Status bytes."""
    status = importlib.import_module("google.rpc.status_pb2").Status.FromString(status_details)
    found = []
    for detail in status.details:
        info = importlib.import_module("google.rpc.error_details_pb2").ErrorInfo()
        if detail.Unpack(info):
            found.append(info.reason)
    return found


def custom(metadata: Any) -> list[tuple[str, str | bytes]]:
    """The pairs that the tests sent, in order."""
    return [(name, value) for name, value in metadata if name.startswith("x-")]


# ---------------------------------------------------------------- the service


class EchoService:
    """In grpclib's shape: runs on our server and on grpclib's."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __mapping__(self) -> dict[str, Handler]:
        return {path(name): Handler(self.serve, kind, StringValue, StringValue) for name, kind in KINDS.items()}

    async def serve(self, stream: Any) -> None:
        kind = stream._cardinality if hasattr(stream, "_cardinality") else stream.method
        if kind.client_streaming and kind.server_streaming:
            async for message in stream:
                await self.answer(stream, [message.value], many=False)
            return
        texts = [message.value async for message in stream] if kind.client_streaming else []
        if not kind.client_streaming:
            texts = [(await stream.recv_message()).value]
        await self.answer(stream, texts, many=kind.server_streaming)

    async def answer(self, stream: Any, texts: list[str], *, many: bool) -> None:
        command, _, argument = texts[0].partition(" ") if texts else ("", "", "")
        if command == "fail":
            raise GRPCError(GrpclibStatus.FAILED_PRECONDITION, FAILURE, [error_info()])
        if command == "hang":
            self.watch.hanging.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.watch.cancelled.set()
        pairs = custom(stream.metadata.items())
        if command == "mirror":
            await stream.send_initial_metadata(metadata=pairs)
        reply = "x" * int(argument) if command == "size" else ",".join(texts)
        for _ in range(3 if many else 1):
            await stream.send_message(StringValue(reply))
        if command == "mirror":
            await stream.send_trailing_metadata(metadata=pairs)


# ---------------------------------------------------------------- clients


async def open_chat(call: Any, texts: Sequence[str]) -> Cancel:
    """For both clients in grpclib's shape."""
    await call.__aenter__()
    for text in texts:
        await call.send_message(StringValue(text))
    await call.recv_message()

    async def cancel() -> None:
        await call.cancel()
        await call.__aexit__(None, None, None)

    return cancel


class OrbitClient:
    """Ours."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    async def call(
        self, method: str, texts: Sequence[str], *, timeout: float | None = None, metadata: Any = None
    ) -> Outcome:
        outcome = Outcome()
        call = self.channel.request(
            path(method),
            kind_of(method),
            StringValue,
            StringValue,
            timeout=timeout,
            metadata=metadata,
        )
        try:
            async with call:
                for text in texts:
                    await call.send_message(StringValue(text))
                await call.end()
                async for reply in call:
                    outcome.replies.append(reply.value)
        except RpcError as error:
            outcome.status, outcome.message = int(error.code), error.message
            for detail in error.details:
                info = error_info()
                info.ParseFromString(detail.value)  # type: ignore[attr-defined]
                outcome.details.append(info.reason)
        outcome.initial = custom(call.initial_metadata.items() if call.initial_metadata else ())
        outcome.trailing = custom(call.trailing_metadata.items() if call.trailing_metadata else ())
        return outcome

    async def chat(self, texts: Sequence[str]) -> Cancel:
        call = self.channel.request(path("Chat"), Cardinality.STREAM_STREAM, StringValue, StringValue)
        return await open_chat(call, texts)


class GrpclibClient:
    """grpclib's."""

    def __init__(self, channel: GrpclibChannel) -> None:
        self.channel = channel

    async def call(
        self, method: str, texts: Sequence[str], *, timeout: float | None = None, metadata: Any = None
    ) -> Outcome:
        outcome = Outcome()
        call: Any = self.channel.request(
            path(method),
            kind_of(method),
            StringValue,
            StringValue,
            timeout=timeout,
            metadata=metadata,
        )
        try:
            async with call:
                for text in texts[:-1]:
                    await call.send_message(StringValue(text))
                await call.send_message(StringValue(texts[-1]), end=True)
                async for reply in call:
                    outcome.replies.append(reply.value)
        except GRPCError as error:
            outcome.status, outcome.message = error.status.value, error.message or ""
            outcome.details = [detail.reason for detail in error.details or ()]
        except TimeoutError:
            outcome.status = 4
        outcome.initial = custom(call.initial_metadata.items() if call.initial_metadata else ())
        outcome.trailing = custom(call.trailing_metadata.items() if call.trailing_metadata else ())
        return outcome

    async def chat(self, texts: Sequence[str]) -> Cancel:
        call = self.channel.request(path("Chat"), Cardinality.STREAM_STREAM, StringValue, StringValue)
        return await open_chat(call, texts)


class GrpcioClient:
    """grpcio's, with asyncio."""

    def __init__(self, channel: Any) -> None:
        self.grpc = importlib.import_module("grpc")
        self.message = importlib.import_module("google.protobuf.wrappers_pb2").StringValue
        self.channel = channel

    def method(self, name: str) -> Any:
        kind = kind_of(name)
        make = getattr(self.channel, kind.name.lower())
        return make(
            path(name),
            request_serializer=self.message.SerializeToString,
            response_deserializer=self.message.FromString,
        )

    def request(self, name: str, texts: Sequence[str]) -> Any:
        messages = [self.message(value=text) for text in texts]
        return messages if kind_of(name).client_streaming else messages[0]

    async def call(
        self, method: str, texts: Sequence[str], *, timeout: float | None = None, metadata: Any = None
    ) -> Outcome:
        outcome = Outcome()
        request = self.request(method, texts)
        call = self.method(method)(
            iter(request) if isinstance(request, list) else request, timeout=timeout, metadata=metadata
        )
        try:
            if kind_of(method).server_streaming:
                outcome.replies = [reply.value async for reply in call]
            else:
                outcome.replies = [(await call).value]
        except self.grpc.RpcError:
            pass
        outcome.initial = custom(await call.initial_metadata())
        self.fill(outcome, await call.code(), await call.details(), await call.trailing_metadata())
        return outcome

    @staticmethod
    def fill(outcome: Outcome, code: Any, details: str | None, trailing: Any) -> None:
        outcome.status, outcome.message = code.value[0], details or ""
        outcome.trailing = custom(trailing or ())
        for name, value in trailing or ():
            if name == "grpc-status-details-bin":
                outcome.details = reasons(value)

    async def chat(self, texts: Sequence[str]) -> Cancel:
        call = self.method("Chat")()
        for text in texts:
            await call.write(self.message(value=text))
        await call.read()

        async def cancel() -> None:
            call.cancel()

        return cancel


class GrpcioSyncClient(GrpcioClient):
    """grpcio's, with threads."""

    async def call(
        self, method: str, texts: Sequence[str], *, timeout: float | None = None, metadata: Any = None
    ) -> Outcome:
        return await asyncio.to_thread(self.call_now, method, texts, timeout, metadata)

    def call_now(self, method: str, texts: Sequence[str], timeout: float | None, metadata: Any) -> Outcome:
        outcome = Outcome()
        request, kind = self.request(method, texts), kind_of(method)
        argument = iter(request) if isinstance(request, list) else request
        stub = self.method(method)
        if kind.server_streaming:
            call = stub(argument, timeout=timeout, metadata=metadata)
        else:
            call = stub.future(argument, timeout=timeout, metadata=metadata)
        with suppress(self.grpc.RpcError):
            outcome.replies = [reply.value for reply in call] if kind.server_streaming else [call.result().value]
        outcome.initial = custom(call.initial_metadata() or ())
        self.fill(outcome, call.code(), call.details(), call.trailing_metadata())
        return outcome

    async def chat(self, texts: Sequence[str]) -> Cancel:
        call = self.method("Chat")(iter([self.message(value=text) for text in texts]))
        await asyncio.to_thread(next, call)

        async def cancel() -> None:
            call.cancel()

        return cancel


class JsClient:
    """grpc-js's."""

    def __init__(self, peer: js.Peer) -> None:
        self.peer = peer

    async def call(
        self, method: str, texts: Sequence[str], *, timeout: float | None = None, metadata: Any = None
    ) -> Outcome:
        told = await self.peer.ask("call", method=method, texts=texts, timeout=timeout, metadata=to_json(metadata))
        outcome = Outcome(told["replies"], told["status"], told["message"])
        outcome.initial, outcome.trailing = custom(from_json(told["initial"])), custom(from_json(told["trailing"]))
        for name, value in from_json(told["trailing"]):
            if name == "grpc-status-details-bin":
                assert isinstance(value, bytes)
                outcome.details = reasons(value)
        return outcome

    async def chat(self, texts: Sequence[str]) -> Cancel:
        call = (await self.peer.ask("open", method="Chat"))["id"]
        for text in texts:
            await self.peer.ask("write", call=call, text=text)
        await self.peer.ask("read", call=call)

        async def cancel() -> None:
            await self.peer.ask("cancel", call=call)

        return cancel


def to_json(metadata: Any) -> list[tuple[str, str]]:
    """Pairs as peer.js takes them."""
    return [
        (name, base64.b64encode(value).decode() if isinstance(value, bytes) else value)
        for name, value in metadata or ()
    ]


def from_json(pairs: list[tuple[str, str]]) -> list[tuple[str, str | bytes]]:
    return [(name, base64.b64decode(value) if name.endswith("-bin") else value) for name, value in pairs]


# ---------------------------------------------------------------- servers


@asynccontextmanager
async def orbit_server(service: EchoService) -> AsyncIterator[int]:
    async with Server([service]) as server:
        await server.start("127.0.0.1", 0)
        assert server.port is not None
        yield server.port


@asynccontextmanager
async def grpclib_server(service: EchoService) -> AsyncIterator[int]:
    async with GrpclibServer([service]) as server:
        await server.start("127.0.0.1", 0)
        inner: Any = server._server
        yield inner.sockets[0].getsockname()[1]


@asynccontextmanager
async def grpcio_server(service: EchoService) -> AsyncIterator[int]:
    grpc = importlib.import_module("grpc")
    aio = importlib.import_module("grpc.aio")
    message = importlib.import_module("google.protobuf.wrappers_pb2").StringValue

    def handler(kind: Cardinality) -> Any:
        async def run(request: Any, context: Any) -> AsyncIterator[Any]:
            pairs = custom(context.invocation_metadata())

            async def answer(texts: list[str]) -> AsyncIterator[Any]:
                command, _, argument = texts[0].partition(" ")
                if command == "fail":
                    status = importlib.import_module("google.rpc.status_pb2").Status(code=9, message=FAILURE)
                    status.details.add().Pack(error_info())
                    context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
                    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, FAILURE, context.trailing_metadata())
                if command == "hang":
                    service.watch.hanging.set()
                    try:
                        await asyncio.Event().wait()
                    finally:
                        service.watch.cancelled.set()
                if command == "mirror":
                    await context.send_initial_metadata(pairs)
                    context.set_trailing_metadata(pairs)
                reply = "x" * int(argument) if command == "size" else ",".join(texts)
                many = kind.server_streaming and not kind.client_streaming
                for _ in range(3 if many else 1):
                    yield message(value=reply)

            if kind.client_streaming and kind.server_streaming:
                async for item in request:
                    async for reply in answer([item.value]):
                        yield reply
                return
            texts = [item.value async for item in request] if kind.client_streaming else [request.value]
            async for reply in answer(texts):
                yield reply

        async def run_one(request: Any, context: Any) -> Any:
            return await anext(run(request, context))

        make = getattr(grpc, f"{kind.name.lower()}_rpc_method_handler")
        return make(
            run if kind.server_streaming else run_one,
            request_deserializer=message.FromString,
            response_serializer=message.SerializeToString,
        )

    server = aio.server()
    handlers = {name: handler(kind) for name, kind in KINDS.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    port: int = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@asynccontextmanager
async def js_server(service: EchoService) -> AsyncIterator[int]:
    async with js.running(service.watch.see) as peer:
        yield (await peer.ask("serve", failure=js_failure()))["port"]


def js_failure() -> dict[str, Any]:
    """What `fail` answers with; without details where googleapis-common-protos is not installed."""
    try:
        status = importlib.import_module("google.rpc.status_pb2").Status(code=9, message=FAILURE)
        status.details.add().Pack(error_info())
        details = status.SerializeToString()
    except ImportError:
        details = b""
    return {"code": 9, "message": FAILURE, "details": base64.b64encode(details).decode()}


SERVERS: dict[str, Any] = {
    "orbit": orbit_server,
    "grpclib": grpclib_server,
    "grpcio": grpcio_server,
    "js": js_server,
}


@asynccontextmanager
async def client_of(kind: str, port: int) -> AsyncIterator[Client]:
    if kind == "orbit":
        async with Channel("127.0.0.1", port) as channel:
            yield OrbitClient(channel)
    elif kind == "grpclib":
        async with GrpclibChannel("127.0.0.1", port) as grpclib_channel:
            yield GrpclibClient(grpclib_channel)
    elif kind == "grpcio":
        aio = importlib.import_module("grpc.aio")
        async with aio.insecure_channel(f"127.0.0.1:{port}") as aio_channel:
            yield GrpcioClient(aio_channel)
    elif kind == "js":
        async with js.running() as peer:
            await peer.ask("connect", port=port)
            yield JsClient(peer)
    else:
        grpc = importlib.import_module("grpc")
        sync_channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        try:
            yield GrpcioSyncClient(sync_channel)
        finally:
            await asyncio.to_thread(sync_channel.close)


@dataclass
class Connected:
    """A client of one implementation and a server of another, one of them ours."""

    client: Client
    watch: Watch
    client_kind: str
    server_kind: str
    port: int


PAIRS = [
    ("orbit", "orbit"),
    ("orbit", "grpclib"),
    ("orbit", "grpcio"),
    ("grpclib", "orbit"),
    ("grpcio", "orbit"),
    ("grpcio-sync", "orbit"),
    ("orbit", "js"),
    ("js", "orbit"),
]


@pytest.fixture(params=PAIRS, ids=[f"{client}-to-{server}" for client, server in PAIRS])
async def connected(request: pytest.FixtureRequest) -> AsyncIterator[Connected]:
    client_kind, server_kind = request.param
    if "grpcio" in client_kind + server_kind:
        pytest.importorskip("grpc", reason="grpcio has no wheel for this Python")
    if "js" in request.param and (reason := js.missing()):
        pytest.skip(reason)
    watch = Watch()
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(SERVERS[server_kind](EchoService(watch)))
        client = await stack.enter_async_context(client_of(client_kind, port))
        yield Connected(client, watch, client_kind, server_kind, port)
