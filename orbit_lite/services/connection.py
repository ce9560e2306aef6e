"""`orbit.shared.ConnectionService`: the stream on which clients and nodes invoke actors, server side.

One OpenStream carries any number of invocations at once. Each runs in a task of its own and is answered when it is
done, so answers leave in any order, matched by message_id. Three things keep a stream in bounds:

- Every invocation holds a place, from before it is read until its answer is with the transport. When all places are
  taken the next message is not read, flow control fills, and the peer waits: neither requests nor answers pile up.
- Answers to anything else are sent by the reader itself, before it reads on.
- When the peer vanishes, its invocations are cancelled and waited for. Nobody is left to hear of them.

Whom a message is for: Orbit-RS clients call every server `(default:server)`, so a unicast target says nothing and is
not looked at; who hosts the actor is the handler's decision, which passes the request on if need be. The last node of a
routed target is its goal; if that is another node, the request goes there when there is a `relay`, and is refused
otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Protocol

from orbit_lite.converters import ConnectionInfoResponseConverter, MessageConverter
from orbit_lite.converters.json_text import dump_json
from orbit_lite.converters.presence import fields, int64
from orbit_lite.errors import (
    ClusterError,
    ConversionError,
    DrainingError,
    NetworkError,
    SerializationError,
    TimeoutError,
)
from orbit_lite.model import (
    Content,
    InfoRequest,
    InfoResponse,
    InvocationHandler,
    InvocationReason,
    InvocationRequest,
    InvocationResponse,
    Invoker,
    Json,
    Message,
    NodeId,
    RoutedUnicast,
    Unicast,
)
from orbit_lite.rpc import ResourceExhausted, current_call
from orbit_lite.rpc.errors import EXECUTED_METADATA
from orbit_lite.services.invocation_errors import write_error
from orbit_lite.services.streaming import ReplyStream
from orbit_proto.orbit.shared import (
    ConnectionInfoRequestProto,
    ConnectionInfoResponseProto,
    ConnectionServiceBase,
    MessageProto,
)

__all__ = ["OrbitConnectionService"]

log = logging.getLogger("orbit_lite.services")

OPEN_STREAM = "/orbit.shared.ConnectionService/OpenStream"

#: Seconds that the answers to invocations cut short by a drain have to reach the transport.
FLUSH_GRACE = 1.0


class MessageStream(ReplyStream, Protocol):
    """A server's call object in grpclib's shape: messages are iterated, answers sent.

    may_be_left: kept true while nothing is under way, when a client that just leaves is no failed call.
    """

    may_be_left: bool

    def __aiter__(self) -> AsyncIterator[MessageProto]: ...


class OrbitConnectionService(ConnectionServiceBase):
    """Routes the invocations of all streams to `handler`.

    node_id: who we are, the source of all answers. relay: carries invocations whose route ends at another node.
    max_concurrent: invocations of one stream that run at once, the answers that wait to be sent among them. It bounds
    memory, not the work, which mailboxes bound; invocations that wait for each other across nodes hold places
    meanwhile, hence the generous default.
    """

    def __init__(
        self,
        node_id: NodeId,
        handler: InvocationHandler,
        *,
        relay: Invoker | None = None,
        max_concurrent: int = 1024,
    ) -> None:
        self.node_id = node_id
        self.max_concurrent = max_concurrent
        self.is_draining = False
        self._handler = handler
        self._relay = relay
        self._streams: set[_ServerStream] = set()

    @property
    def in_flight(self) -> int:
        """Invocations that run now, or whose answers are being sent."""
        return sum(len(stream.running) for stream in self._streams)

    async def get_connection_info(
        self, connection_info_request_proto: ConnectionInfoRequestProto
    ) -> ConnectionInfoResponseProto:
        """Who we are. (Orbit-RS answers with a new random key each time.)"""
        return ConnectionInfoResponseConverter.to_proto(InfoResponse(self.node_id))

    def __mapping__(self) -> dict[str, Any]:
        # Not by way of betterproto's generator method `open_stream`: through it every answer would wait in a queue and
        # cost a switch of tasks, and what ends the call would reach the generator late.
        mapping = super().__mapping__()
        return mapping | {OPEN_STREAM: mapping[OPEN_STREAM]._replace(func=self.serve_stream)}

    async def serve_stream(self, stream: MessageStream) -> None:
        """Serve one OpenStream until its client is done, gone, or the service has drained.

        Raises DrainingError in the last case, with `executed` NO for the client: whatever has no answer did not run.
        """
        if self.is_draining:
            raise self._drained()
        served = _ServerStream(self, stream)
        self._streams.add(served)
        call = current_call()
        peer = call.peer if call is not None else "unknown peer"
        log.debug("= actor stream from %s opened", peer)
        try:
            await served.run()
        finally:
            self._streams.discard(served)
            log.debug("= actor stream from %s ended", peer)

    async def drain(self, timeout: float) -> int:
        """Refuse new invocations, let running ones finish for `timeout` seconds, cut the rest, and end all streams.

        Those that are cut answer a TimeoutError. Returns how many there were.
        """
        self.is_draining = True
        cut = await asyncio.gather(*(stream.drain(timeout, self._drained()) for stream in self._streams))
        return sum(cut)

    async def run(self, message: Message, request: InvocationRequest) -> Json:
        """The result of one invocation. Raises whatever the handler does."""
        if isinstance(message.target, RoutedUnicast) and (goal := message.target.path[-1]) != self.node_id:
            if self._relay is None:
                raise ClusterError(f"the message is routed to {goal}, and this is {self.node_id}, which does not relay")
            passed_on = replace(request, reason=InvocationReason.REROUTED)
            return await self._relay.invoke(goal, passed_on, attempts=message.attempts + 1)
        return await self._handler.handle(request, source=message.source, attempts=message.attempts)

    def refusal(self) -> DrainingError:
        """What new invocations are told during a drain."""
        return DrainingError(f"node {self.node_id} takes no new calls")

    def _drained(self) -> DrainingError:
        return DrainingError(f"node {self.node_id} takes no new calls", metadata={EXECUTED_METADATA: "no"})

    def __repr__(self) -> str:
        phase = ", draining" if self.is_draining else ""
        return (
            f"<OrbitConnectionService {self.node_id}, {len(self._streams)} streams, {self.in_flight} in flight{phase}>"
        )


class _ServerStream:
    """One OpenStream being served: a reader, and a task per running invocation."""

    def __init__(self, service: OrbitConnectionService, stream: MessageStream) -> None:
        self.running: set[asyncio.Task[None]] = set()
        self._service = service
        self._stream = stream
        stream.may_be_left = True
        self._places = asyncio.Semaphore(service.max_concurrent)
        self._sending = asyncio.Lock()
        self._has_read_all = False
        self._is_cut = False
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Serve until the client has ended its side and everything is answered. Raises what ended it otherwise."""
        reader = asyncio.create_task(self._read())
        try:
            await self._over  # and when this task is cancelled, so is the future: nothing is concluded any more
        finally:
            tasks = [reader, *self.running]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def drain(self, timeout: float, farewell: DrainingError) -> int:
        """Finish what runs, then end the stream with `farewell`; see OrbitConnectionService.drain."""
        if self.running:
            await asyncio.wait(self.running, timeout=timeout)
        late = set(self.running)
        self._is_cut = True
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=FLUSH_GRACE)
        if any(not task.done() or task.cancelled() for task in late):
            self._end(NetworkError("the node stopped before it could send its answers"))
        else:
            self._end(farewell)
        return len(late)

    def _end(self, reason: Exception | None = None) -> None:
        """Let `run` end; the first reason stays."""
        if not self._over.done():
            if reason is None:
                self._over.set_result(None)
            else:
                self._over.set_exception(reason)

    # ---------------------------------------------------------------- reading

    async def _read(self) -> None:
        try:
            async for proto in self._stream:
                try:
                    message = MessageConverter.from_proto(proto)
                except ConversionError as error:
                    await self._reject(proto, error)
                else:
                    await self._take(message)
        except Exception as error:  # noqa: BLE001  # whatever it is, it ends the call in `run`
            self._end(error)
        else:
            self._has_read_all = True
            self._conclude()

    async def _reject(self, proto: MessageProto, error: ConversionError) -> None:
        """Answer a message that decoded well and makes no sense; the stream goes on."""
        log.debug("< message that cannot be read: %s", error)
        try:
            message_id = int64(fields(proto), "message_id")
        except ConversionError:
            return
        await self._reply(message_id, None, write_error(error))

    async def _take(self, message: Message) -> None:
        match message.content:
            case InvocationRequest() as request:
                await self._places.acquire()
                if self._service.is_draining:
                    self._places.release()
                    await self._reply(message.message_id, message.source, write_error(self._service.refusal()))
                    return
                task = asyncio.create_task(self._serve(message, request))
                self.running.add(task)
                self._stream.may_be_left = False
                task.add_done_callback(self._served)
            case InfoRequest():
                await self._reply(message.message_id, message.source, InfoResponse(self._service.node_id))
            case other:  # a failure to be told of, or answers, which nobody here asked for
                log.debug("< %s dropped, message %d", type(other).__name__, message.message_id)

    # ---------------------------------------------------------------- answering

    async def _serve(self, message: Message, request: InvocationRequest) -> None:
        content: Content
        try:
            content = InvocationResponse(dump_json("value", await self._service.run(message, request)))
        except asyncio.CancelledError as error:
            if self._over.done():
                raise
            # Not the stream's end: either the time to drain has passed, or the handler broke with a stray cancellation.
            content = write_error(TimeoutError("the node stopped before the call had ended") if self._is_cut else error)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # every request is answered, whatever its handler raises
            content = write_error(error)
        await self._reply(message.message_id, message.source, content)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._places.release()
        self.running.discard(task)
        if not self._over.done():  # else these are the calls that the client has left
            self._stream.may_be_left = not self.running
        if not task.cancelled() and (error := task.exception()) is not None and isinstance(error, Exception):
            self._end(error)
        self._conclude()

    def _conclude(self) -> None:
        if self._has_read_all and not self.running:
            self._end()

    async def _reply(self, message_id: int, recipient: NodeId | None, content: Content) -> None:
        proto = self._answer(message_id, recipient, content)
        async with self._sending:
            try:
                await self._stream.send_message(proto)
            except (SerializationError, ResourceExhausted) as error:
                # Too large, or text without a UTF-8 form: nothing of this answer was sent, and the caller must hear.
                apology = write_error(SerializationError(f"the answer cannot be sent: {error.message}"))
                await self._stream.send_message(self._answer(message_id, recipient, apology))

    def _answer(self, message_id: int, recipient: NodeId | None, content: Content) -> MessageProto:
        return MessageConverter.to_proto(
            Message(message_id, content, source=self._service.node_id, target=Unicast(recipient))
        )
