"""grpcio, the C core: grpc.aio on asyncio's default event loop, and the synchronous form on threads.

Messages are google.protobuf's on upb. All settings are the defaults, except that each channel has a connection of its
own: channels with the same target would share one.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import load, works
from benchmarks.contender import HOST, BenchClient, BenchServer

grpc: Any = importlib.import_module("grpc")  # has no types
importlib.import_module("grpc.aio")
SCHEMA = works.google()
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
REQUESTS = {
    works.CHECK: (SCHEMA.HealthCheckRequest, SCHEMA.HealthCheckResponse),
    works.SEND: (SCHEMA.TransactionMessageRequest, SCHEMA.TransactionMessageResponse),
    works.BROADCAST: (SCHEMA.BroadcastMessageRequest, SCHEMA.BroadcastMessageResponse),
}
ANSWERS: dict[str, Callable[[Any, Any], Any]] = {
    works.CHECK: works.answer_tiny,
    works.SEND: works.answer_typical,
    works.BROADCAST: works.answer_payload,
}
THREADS = 16


def add_handlers(server: Any, unary: Callable[[Callable[[Any, Any], Any]], Any], stream: Any) -> None:
    for path, (request, reply) in REQUESTS.items():
        handler = grpc.unary_unary_rpc_method_handler(
            unary(ANSWERS[path]), request_deserializer=request.FromString, response_serializer=reply.SerializeToString
        )
        add_handler(server, path, handler)
    message = SCHEMA.MessageProto
    handler = grpc.stream_stream_rpc_method_handler(
        stream, request_deserializer=message.FromString, response_serializer=message.SerializeToString
    )
    add_handler(server, works.OPEN_STREAM, handler)


def add_handler(server: Any, path: str, handler: Any) -> None:
    _, service, method = path.split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))


def unary_methods(channel: Any) -> tuple[Any, ...]:
    return tuple(
        channel.unary_unary(path, request_serializer=request.SerializeToString, response_deserializer=reply.FromString)
        for path, (request, reply) in REQUESTS.items()
    )


def stream_method(channel: Any) -> Any:
    message = SCHEMA.MessageProto
    return channel.stream_stream(
        works.OPEN_STREAM, request_serializer=message.SerializeToString, response_deserializer=message.FromString
    )


# ---------------------------------------------------------------- asyncio


class AioServer(BenchServer):
    """The C core sets no limit of streams by itself."""

    async def start(self, streams: int | None) -> int:
        def unary(answer: Callable[[Any, Any], Any]) -> Any:
            async def serve(request: Any, context: Any) -> Any:
                return answer(SCHEMA, request)

            return serve

        async def stream(messages: AsyncIterator[Any], context: Any) -> None:
            # Of grpc.aio's two forms of a handler the one that is, by a little, the faster.
            while (message := await context.read()) is not grpc.aio.EOF:
                await context.write(works.answer_message(SCHEMA, message))

        self.server = grpc.aio.server()
        add_handlers(self.server, unary, stream)
        port: int = self.server.add_insecure_port(f"{HOST}:0")
        await self.server.start()
        return port

    async def stop(self) -> None:
        await self.server.stop(0)


class AioClient(BenchClient):
    schema = SCHEMA

    def __init__(self) -> None:
        self.channels: list[Any] = []

    async def connect(self, port: int, connections: int, pool: int | None) -> None:
        for _ in range(connections):
            channel = grpc.aio.insecure_channel(f"{HOST}:{port}", options=OWN_CONNECTION)
            self.channels.append(channel)
            await channel.channel_ready()

    def methods(self) -> list[Any]:
        return [unary_methods(channel) for channel in self.channels]

    def open_stream(self, connection: int, messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        call: AsyncIterator[Any] = aiter(stream_method(self.channels[connection])(messages))
        return call

    async def close(self) -> None:
        for channel in self.channels:
            await channel.close()


# ---------------------------------------------------------------- threads


class SyncServer(BenchServer):
    async def start(self, streams: int | None) -> int:
        def unary(answer: Callable[[Any, Any], Any]) -> Any:
            return lambda request, context: answer(SCHEMA, request)

        def stream(messages: Iterator[Any], context: Any) -> Iterator[Any]:
            for message in messages:
                yield works.answer_message(SCHEMA, message)

        self.server = grpc.server(ThreadPoolExecutor(THREADS))
        add_handlers(self.server, unary, stream)
        port: int = self.server.add_insecure_port(f"{HOST}:0")
        self.server.start()
        return port

    async def stop(self) -> None:
        await asyncio.to_thread(self.server.stop(0).wait)


class SyncClient(BenchClient):
    schema = SCHEMA

    def __init__(self) -> None:
        self.channels: list[Any] = []

    async def connect(self, port: int, connections: int, pool: int | None) -> None:
        for _ in range(connections):
            channel = grpc.insecure_channel(f"{HOST}:{port}", options=OWN_CONNECTION)
            self.channels.append(channel)
            await asyncio.to_thread(grpc.channel_ready_future(channel).result)

    def methods(self) -> list[Any]:
        return [unary_methods(channel) for channel in self.channels]

    def _caller(self, methods: Any, work: str, size: int) -> Callable[[], Any]:
        check, send, broadcast = methods
        text = "x" * size

        def tiny() -> None:
            works.read_tiny(check(works.make_tiny(SCHEMA), timeout=works.TIMEOUT))

        def typical() -> None:
            works.read_typical(send(works.make_typical(SCHEMA), timeout=works.TIMEOUT))

        def payload() -> None:
            works.read_payload(broadcast(works.make_payload(SCHEMA, text), timeout=works.TIMEOUT), text)

        return {"tiny": tiny, "typical": typical, "payload": payload}[work]

    async def once(self) -> None:
        for call in self.callers("tiny", 0):
            await asyncio.to_thread(call)

    async def run(self, work: str, in_flight: int, seconds: float, size: int) -> dict[str, float]:
        return await asyncio.to_thread(load.threaded_loop, self.callers(work, size), in_flight, seconds)

    async def chat(self, seconds: float) -> dict[str, float]:
        return await asyncio.to_thread(load.threaded_chat, stream_method(self.channels[0]), self.pacer(seconds))

    async def close(self) -> None:
        for channel in self.channels:
            channel.close()
