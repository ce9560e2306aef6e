"""Messages in the byte stream of a call: a flag, a length, the message.

Source: grpc/doc/PROTOCOL-HTTP2.md, `Length-Prefixed-Message`. DATA frames and messages have no boundaries in common.
"""

from __future__ import annotations

import struct

from orbit_lite.errors import Executed
from orbit_lite.rpc.compression import IDENTITY, compress
from orbit_lite.rpc.errors import Internal, ResourceExhausted

__all__ = ["MessageReader", "frame_message", "whole_message"]

_PREFIX = struct.Struct(">BI")


def frame_message(message: bytes, max_size: int, *, packed: bool = False) -> bytes:
    """The message with its prefix; packed: compressed where that saves something.

    Raises ResourceExhausted above max_size bytes: never sent, never worth a retry.
    """
    if len(message) > max_size:
        raise ResourceExhausted(
            f"message of {len(message)} bytes is larger than the limit of {max_size} bytes for sending",
            executed=Executed.NO,
            retryable=False,
        )
    if packed and (compressed := compress(message)) is not None:
        return _PREFIX.pack(1, len(compressed)) + compressed
    return _PREFIX.pack(0, len(message)) + message


def whole_message(data: bytes, max_size: int) -> bytes | None:
    """The message, if the bytes are exactly one that a MessageReader would give; None for all else."""
    size = len(data) - 5
    if 0 <= size <= max_size and not data[0] and int.from_bytes(data[1:5]) == size:
        return data[5:]
    return None


class MessageReader:
    """Takes bytes, gives messages. max_size: largest message in bytes, checked before its first byte is stored.

    encoding: as grpc-encoding has it. Of a message that is compressed `next` gives what was sent, and sets `is_packed`.
    """

    __slots__ = ("_buffer", "_encoding", "_max_size", "_size", "is_packed")

    def __init__(self, max_size: int, encoding: str = IDENTITY) -> None:
        self._encoding = encoding
        self.is_packed = False
        self._buffer = bytearray()
        self._max_size = max_size
        self._size: int | None = None  # of the message whose prefix has been read

    def feed(self, data: bytes) -> None:
        """Add received bytes. Call `next` until it gives None before feeding more, so that limits hold."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next complete message, None while it is incomplete.

        Raises ResourceExhausted when its declared length is over the limit, Internal when it claims to be compressed
        though no encoding was agreed upon. Nothing can be read after that.
        """
        if self._size is None:
            if len(self._buffer) < _PREFIX.size:
                return None
            flag, size = _PREFIX.unpack_from(self._buffer)
            if flag > 1 or (flag and self._encoding == IDENTITY):
                problem = (
                    "is compressed though no encoding was agreed upon" if flag == 1 else f"has the flag {flag:#04x}"
                )
                raise Internal(f"received message {problem}")
            if size > self._max_size:
                raise ResourceExhausted(
                    f"received message of {size} bytes is larger than the limit of {self._max_size} bytes",
                    retryable=False,
                )
            self._size = size
            self.is_packed = bool(flag)
            del self._buffer[: _PREFIX.size]
        if len(self._buffer) < self._size:
            return None
        message = bytes(self._buffer[: self._size])
        del self._buffer[: self._size]
        self._size = None
        return message

    def end(self) -> None:
        """The byte stream is over. Raises Internal when it stopped inside a message."""
        if self._size is not None or self._buffer:
            wanted = "its prefix" if self._size is None else f"{self._size} bytes"
            raise Internal(f"stream ended inside a message: {len(self._buffer)} bytes of {wanted} received")
