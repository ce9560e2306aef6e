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

    __slots__ = ("_at", "_data", "_encoding", "_held", "_max_size", "_pieces", "_wanted", "_whole", "is_packed")

    def __init__(self, max_size: int, encoding: str = IDENTITY) -> None:
        self._encoding = encoding
        self.is_packed = False
        self._max_size = max_size
        self._data = b""  # what was fed, from _at on …
        self._at = 0
        self._pieces: list[bytes] = []  # … or, while a message is incomplete, what there is of its content,
        self._held = 0  # the size of that,
        self._wanted = 0  # and the message's
        self._whole: bytes | None = None  # the message that came in pieces, which were joined once

    def feed(self, data: bytes) -> None:
        """Add received bytes. Call `next` until it gives None before feeding more, so that limits hold."""
        if self._pieces:
            self._pieces.append(data)
            self._held += len(data)
            beyond = self._held - self._wanted
            if beyond < 0:
                return
            if beyond:
                self._pieces[-1] = data[:-beyond]
            self._whole = b"".join(self._pieces)
            self._pieces.clear()
            self._data, self._at = data, len(data) - beyond
            return
        if self._at < len(self._data):
            data = self._data[self._at :] + data
        self._data, self._at = data, 0

    def next(self) -> bytes | None:
        """The next complete message, None while it is incomplete.

        Raises ResourceExhausted when its declared length is over the limit, Internal when it claims to be compressed
        though no encoding was agreed upon. Nothing can be read after that.
        """
        if self._whole is not None:
            whole, self._whole = self._whole, None
            return whole
        data, at = self._data, self._at
        if len(data) - at < _PREFIX.size:
            return None
        flag, size = _PREFIX.unpack_from(data, at)
        if flag or size > self._max_size:
            self._check(flag, size)
        begin = at + _PREFIX.size
        end = begin + size
        self.is_packed = flag == 1
        if end > len(data):
            self._pieces.append(data[begin:])
            self._held, self._wanted = len(data) - begin, size
            self._data, self._at = b"", 0
            return None
        self._at = end
        message: bytes = data[begin:end]
        return message

    def _check(self, flag: int, size: int) -> None:
        if flag > 1 or (flag and self._encoding == IDENTITY):
            problem = "is compressed though no encoding was agreed upon" if flag == 1 else f"has the flag {flag:#04x}"
            raise Internal(f"received message {problem}")
        if size > self._max_size:
            raise ResourceExhausted(
                f"received message of {size} bytes is larger than the limit of {self._max_size} bytes",
                retryable=False,
            )

    def end(self) -> None:
        """The byte stream is over. Raises Internal when it stopped inside a message."""
        if self._pieces:
            there, wanted = self._held, f"{self._wanted} bytes"
        else:
            there, wanted = len(self._data) - self._at, "its prefix"
        if self._pieces or there:
            raise Internal(f"stream ended inside a message: {there} bytes of {wanted} received")
