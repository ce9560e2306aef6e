"""Messages alone: construct, encode, decode, read every field; each runtime in a process of its own.

python -m benchmarks.codec orbit-lite     answers commands like side.py
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks import works
from benchmarks.processes import Contender, Process
from benchmarks.run import OURS, Run, Step

#: Runtimes beside orbit-lite's, and what their process needs in its environment.
PEERS: dict[str, dict[str, str]] = {
    "betterproto": {},
    "protobuf upb": {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "upb"},
    "protobuf Python": {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
}
BATCH = 20
#: Operations that share the time of one measurement, about.
SHARE = 8


def codec(run: Run) -> Iterator[Step]:
    contenders = [*run.of_kind(OURS), *(Contender(name, name) for name in PEERS)]
    processes: dict[str, Process] = {}

    def measure(contender: Contender, work: str, warm_up: float) -> None:
        if contender.name not in processes:
            variables = PEERS.get(contender.kind)
            processes[contender.name] = Process(
                contender.python, "benchmarks.codec", contender.kind, variables=variables
            )
        process = processes[contender.name]
        process.ask("measure", work=work, seconds=warm_up)
        found = process.ask("measure", work=work, seconds=run.seconds / SHARE)
        run.results.add("codec", work, contender.name, found)

    def end() -> None:
        for process in processes.values():
            process.end()

    for work in ("tiny", "typical"):
        for repeat, contender in run.interleaved(contenders):
            warm_up = run.warm_up(contender) / SHARE if repeat == 0 else 0.01
            yield f"codec: {work}, {contender.name}", partial(measure, contender, work, warm_up)
    yield "codec: end", end


# ---------------------------------------------------------------- in the process


def runtime(kind: str) -> tuple[Any, Callable[[Any], bytes], Callable[[Any], Callable[[bytes], Any]]]:
    """Schema, encoder, and for a class its decoder."""
    if kind == OURS:
        from orbit_lite.codec import decode, encode  # noqa: PLC0415  # one runtime a process

        return works.generated(), encode, lambda cls: lambda data: decode(cls, data)
    if kind == "betterproto":
        return works.plain(), bytes, lambda cls: lambda data: cls().parse(data)
    return works.google(), lambda message: message.SerializeToString(), lambda cls: cls.FromString


def operations(kind: str, work: str) -> dict[str, Callable[[], Any]]:
    """What is timed. `read` takes every field of a message that was decoded."""
    schema, encode, decoder = runtime(kind)
    make = {"tiny": works.make_tiny, "typical": works.make_typical}[work]
    read: Callable[[Any], object] = {"tiny": lambda message: message.service, "typical": works.read_request}[work]
    message = make(schema)
    data = encode(message)
    decode = decoder(type(message))
    decoded = decode(data)
    works.check(read(decoded))
    return {
        "construct_us": lambda: make(schema),
        "encode_us": lambda: encode(message),
        "decode_us": lambda: decode(data),
        "read_us": lambda: read(decoded),
        "all_us": lambda: read(decode(encode(make(schema)))),
    }


def per_call(operation: Callable[[], Any], seconds: float) -> float:
    """Seconds of CPU for one, repeated for that long at least."""
    count = 0
    before = time.process_time()
    end = before + seconds
    while True:
        for _ in range(BATCH):
            operation()
        count += BATCH
        if (now := time.process_time()) >= end:
            return (now - before) / count


def figures(kind: str, work: str, seconds: float) -> dict[str, float]:
    """Microseconds."""
    found = {name: per_call(operation, seconds) * 1e6 for name, operation in operations(kind, work).items()}
    found["both_us"] = found["encode_us"] + found["decode_us"]
    return found


def main() -> None:
    kind = sys.argv[1]
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(figures(kind, request["work"], request["seconds"])), flush=True)


if __name__ == "__main__":
    main()
