"""Where the time of one call goes: each layer's CPU on either side, in this interpreter and in the others given.

The whole is measured with 16 calls in flight between two processes. Codec, HPACK and HTTP/2 are measured alone, in one
process: HPACK as it mostly is, blocks that are remembered, and HTTP/2 without it. The event loop and the socket are
what the raw echo needs for messages of that size with as many in flight. What is left of the whole is gRPC: calls,
deadlines, metadata, handlers. Blocks that are seen for the first time are no part of the whole.

python -m benchmarks.layers     answers commands like side.py
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks import works
from benchmarks.codec import per_call
from benchmarks.processes import Contender, Pair, Process
from benchmarks.run import FLOOR, OURS, Run, Step

WORKS = ("tiny", "typical")
SIDES = ("client", "server")
IN_FLIGHT = 16
CODEC, HPACK, HTTP2, LOOP = "codec", "HPACK, blocks remembered", "HTTP/2", "event loop and socket"
GRPC, WHOLE, UNSEEN = "gRPC, what is left", "whole call", "HPACK, blocks never seen"
#: In the order of the table.
LAYERS = (CODEC, GRPC, HPACK, HTTP2, LOOP, WHOLE, UNSEEN)
#: Streams opened before the first is read, as many as a server handles in one turn.
BATCH = 32
#: Microseconds by side.
Cost = dict[str, float]


def layers(run: Run) -> Iterator[Step]:
    for contender in run.of_kind(OURS):
        text = f"CPU µs of a call, {IN_FLIGHT} in flight; the raw echo's are those of the event loop and the socket"
        run.results.note("layers", contender.name, text)
    for _, contender in run.interleaved(run.of_kind(OURS)):
        yield f"layers: {contender.name}", partial(measure, run, contender)


def measure(run: Run, contender: Contender) -> None:
    found: dict[str, dict[str, float]] = {layer: {} for layer in LAYERS}
    alone = Process(contender.python, "benchmarks.layers")
    try:
        for work in WORKS:
            parts: dict[str, Cost] = {}
            for seconds in (run.warm_up(contender) / 10, run.seconds / 10):
                parts = alone.ask("measure", work=work, seconds=seconds)
            parts[WHOLE] = whole(run, contender, work)
            parts[LOOP] = whole(run, Contender(FLOOR, FLOOR, contender.python, contender.pypy), work)
            inside = (CODEC, HPACK, HTTP2, LOOP)
            parts[GRPC] = {side: parts[WHOLE][side] - sum(parts[layer][side] for layer in inside) for side in SIDES}
            for layer, cost in parts.items():
                found[layer] |= {f"{work}_{side}": cost[side] for side in SIDES}
    finally:
        alone.end()
    for layer in LAYERS:
        run.results.add("layers", layer, contender.name, found[layer])


def whole(run: Run, contender: Contender, work: str) -> Cost:
    with Pair(contender) as pair:
        pair.connect()
        pair.run(work, IN_FLIGHT, run.warm_up(contender))
        found = pair.run(work, IN_FLIGHT, run.seconds)
    return {side: found[f"{side}_us"] for side in SIDES}


# ---------------------------------------------------------------- in the process


def parts(work: str, seconds: float) -> dict[str, Cost]:
    """The layers that can be measured alone."""
    messages = Messages(work)
    remembered, unseen = headers(messages.path, seconds)
    engine = http2(messages, seconds)
    return {
        CODEC: {side: per_call(operation, seconds) * 1e6 for side, operation in messages.codec().items()},
        HPACK: remembered,
        HTTP2: {side: engine[side] - remembered[side] for side in SIDES},
        UNSEEN: unseen,
    }


class Messages:
    """The request and the reply of a work, and what codec and handler do with them."""

    def __init__(self, work: str) -> None:
        # The layers of orbit-lite are imported in the measured process only.
        from orbit_lite.codec import decode, encode  # noqa: PLC0415

        self.path = {"tiny": works.CHECK, "typical": works.SEND}[work]
        self._schema = schema = works.generated()
        self._make = {"tiny": works.make_tiny, "typical": works.make_typical}[work]
        self._answer = {"tiny": works.answer_tiny, "typical": works.answer_typical}[work]
        self._read = {"tiny": works.read_tiny, "typical": works.read_typical}[work]
        self._encode, self._decode = encode, decode
        request = self._make(schema)
        reply = self._answer(schema, request)
        self._classes = type(request), type(reply)
        self.request, self.reply = encode(request), encode(reply)

    def codec(self) -> dict[str, Callable[[], Any]]:
        schema, make, answer, read = self._schema, self._make, self._answer, self._read
        encode, decode, (of_request, of_reply) = self._encode, self._decode, self._classes

        def client() -> None:
            encode(make(schema))
            read(decode(of_reply, self.reply))

        return {"client": client, "server": lambda: encode(answer(schema, decode(of_request, self.request)))}


def heads(path: str) -> tuple[Any, Any, Any]:
    """The header blocks of a call: request, response, trailers."""
    from orbit_lite.rpc.call import OK_TRAILERS, RESPONSE_HEAD, request_headers  # noqa: PLC0415

    request = request_headers(
        path, scheme="http", authority="127.0.0.1:50051", timeout=30.0, user_agent="grpc-python-orbit-lite", metadata=()
    )
    return request, RESPONSE_HEAD, OK_TRAILERS


def headers(path: str, seconds: float) -> tuple[Cost, Cost]:
    """HPACK with blocks that are remembered, and with the same ones when they are new."""
    from orbit_lite.http2.fields import HeaderDecoder, HeaderEncoder, HeaderMemory  # noqa: PLC0415

    memory = HeaderMemory(1 << 14, 128)
    writer, reader = HeaderEncoder(memory), HeaderDecoder(memory)
    request, head, tail = fields = heads(path)
    for each in fields * 2:
        reader.decode(writer.encode(each))
    request_block, head_block, tail_block = (writer.encode(each) for each in fields)
    client = partial(exchange, writer.encode, reader.decode, (request,), (head_block, tail_block))
    server = partial(exchange, writer.encode, reader.decode, (head, tail), (request_block,))

    def anew(operation: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            memory.forget()
            operation()

        return run

    remembered = {"client": per_call(client, seconds) * 1e6, "server": per_call(server, seconds) * 1e6}
    unseen = {"client": per_call(anew(client), seconds) * 1e6, "server": per_call(anew(server), seconds) * 1e6}
    return remembered, unseen


def exchange(write: Callable[[Any], Any], read: Callable[[Any], Any], sent: Any, received: Any) -> None:
    for fields in sent:
        write(fields)
    for block in received:
        read(block)


def http2(messages: Messages, seconds: float) -> Cost:
    """Two ends of a connection without anything between them: whole requests and whole replies."""
    from orbit_lite.http2.config import Http2Config  # noqa: PLC0415
    from orbit_lite.http2.connection import Connection  # noqa: PLC0415
    from orbit_lite.http2.events import DataReceived, RequestReceived  # noqa: PLC0415
    from orbit_lite.rpc.framing import frame_message  # noqa: PLC0415

    client, server = (Connection(Http2Config(), client=is_client, now=0.0) for is_client in (True, False))
    for _ in range(2):  # SETTINGS, and what acknowledges them
        server.receive(bytes(client.take_output()), 0.0)
        client.receive(bytes(server.take_output()), 0.0)
    head, response, tail = heads(messages.path)
    request, reply = (frame_message(data, 1 << 24) for data in (messages.request, messages.reply))
    spent, count, now = dict.fromkeys(SIDES, 0.0), 0, time.process_time
    begun = now()
    while now() - begun < seconds or count < 2 * BATCH:
        started = now()
        for _ in range(BATCH):
            client.open_whole(head, request)
        output = client.take_output()
        sent = now()
        for event in server.receive(bytes(output), 0.0):
            # A request whose block is not remembered yet comes in two parts.
            if isinstance(event, RequestReceived) or (isinstance(event, DataReceived) and event.ends):
                server.reply(event.stream, response, reply, tail)
                server.release(event.stream)
        output = server.take_output()
        answered = now()
        client.receive(bytes(output), 0.0)
        if count:  # the first batch is learned
            spent["client"] += sent - started + now() - answered
            spent["server"] += answered - sent
        count += BATCH
    return {side: spent[side] / (count - BATCH) * 1e6 for side in SIDES}


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(parts(asked["work"], asked["seconds"])), flush=True)


if __name__ == "__main__":
    main()
