"""Where the time of one call goes: each layer alone, in this interpreter and in the others given.

python -m benchmarks.layers     answers commands like side.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks import works
from benchmarks.codec import per_call
from benchmarks.processes import Contender, Process
from benchmarks.run import OURS, Run, Step

REQUEST_HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", works.SEND),
    (":authority", "127.0.0.1:50051"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("user-agent", "grpc-python-orbit-lite"),
    ("grpc-timeout", "29999m"),
]


def layers(run: Run) -> Iterator[Step]:
    for contender in run.of_kind(OURS):
        run.results.note("layers", contender.name, "one typical call; headers by hpack, the general path")
    for _, contender in run.interleaved(run.of_kind(OURS)):
        yield f"layers: {contender.name}", partial(measure, run, contender)


def measure(run: Run, contender: Contender) -> None:
    process = Process(contender.python, "benchmarks.layers")
    try:
        process.ask("measure", seconds=run.warm_up(contender) / 10)
        for layer, cost in process.ask("measure", seconds=run.seconds / 10).items():
            run.results.add("layers", layer, contender.name, {"us": cost})
    finally:
        process.end()


# ---------------------------------------------------------------- in the process


def operations() -> dict[str, Callable[[], Any]]:
    """What is timed, in the order of a call."""
    # The layers of orbit-lite are imported in the measured process only.
    from hpack import Decoder, Encoder  # noqa: PLC0415

    from orbit_lite.codec import decode, encode  # noqa: PLC0415
    from orbit_lite.rpc.deadline import Deadline  # noqa: PLC0415
    from orbit_lite.rpc.framing import MessageReader, frame_message  # noqa: PLC0415
    from orbit_lite.rpc.metadata import Metadata  # noqa: PLC0415
    from orbit_lite.rpc.timeouts import decode_timeout, encode_timeout  # noqa: PLC0415

    schema = works.generated()
    request, reply = works.make_typical(schema), schema.TransactionMessageResponse(success=True, processing_time_ms=1)
    data, answer = encode(request), encode(reply)
    limit = 1 << 24
    framed = frame_message(data, limit)
    decoded = decode(type(request), data)
    encoder, decoder = Encoder(), Decoder()
    decoder.decode(encoder.encode(REQUEST_HEADERS))
    block = encoder.encode(REQUEST_HEADERS)

    def unframe() -> bytes | None:
        reader = MessageReader(limit)
        reader.feed(framed)
        return reader.next()

    return {
        "construct the request": lambda: works.make_typical(schema),
        "encode the request": lambda: encode(request),
        "frame the request": lambda: frame_message(data, limit),
        "metadata and deadline": lambda: (Metadata(None).encode(), Deadline.after(works.TIMEOUT)),
        "encode the deadline": lambda: encode_timeout(29.999),
        "encode the headers": lambda: encoder.encode(REQUEST_HEADERS),
        "decode the headers": lambda: decoder.decode(block),
        "decode the deadline": lambda: decode_timeout("29999m"),
        "unframe the request": unframe,
        "decode the request": lambda: decode(type(request), data),
        "read the request": lambda: works.read_request(decoded),
        "construct the reply": lambda: schema.TransactionMessageResponse(success=True, processing_time_ms=1),
        "encode the reply": lambda: encode(reply),
        "decode the reply": lambda: decode(type(reply), answer),
    }


def main() -> None:
    timed = operations()
    for line in sys.stdin:
        seconds = json.loads(line)["seconds"]
        found = {layer: per_call(operation, seconds) * 1e6 for layer, operation in timed.items()}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
