"""Protobuf bytes ⇄ betterproto messages, for any message class, exact to protobuf's specification.

betterproto gives the dataclasses; its own runtime is not used, for it takes broken bytes for messages and is slow. A
class is looked at once (plan.py) and gets two straight-line functions of its own (encoder.py, decoder.py, compile.py).

    data = encode(message)
    message = decode(NodeInfoProto, data)

`orbit_lite.codec.json` gives the canonical JSON of the same messages, `orbit_lite.codec.descriptors` makes message
classes from descriptors. Nothing here knows any particular message, and nothing here does input or output.
"""

from __future__ import annotations

from orbit_lite.codec.binary import decode, decoder_of, encode, encoder_of
from orbit_lite.codec.errors import CodecLimits, DecodeError, EncodeError
from orbit_lite.codec.message import Message
from orbit_lite.codec.stub import ServiceStub

__all__ = [
    "CodecLimits",
    "DecodeError",
    "EncodeError",
    "Message",
    "ServiceStub",
    "decode",
    "decoder_of",
    "encode",
    "encoder_of",
]
