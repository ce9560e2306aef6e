"""Messages in the byte stream of a call: a flag, a length, the message.

Source: grpc/doc/PROTOCOL-HTTP2.md, `Length-Prefixed-Message`. DATA frames and messages have no boundaries in common.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable

from orbit_lite.errors import Executed
from orbit_lite.rpc.compression import IDENTITY, compress
from orbit_lite.rpc.errors import Internal, ResourceExhausted

__all__ = ["MessageReader", "frame_message", "framer", "whole_message"]

_PREFIX = struct.Struct(">BI")
_PREFIX_SIZE = _PREFIX.size


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


def framer(encode: Callable[[object], bytes], max_size: int, *, packed: bool = False) -> Callable[[object], bytes]:
    """`encode` and then `frame_message` as one function, for a stream's messages. Raises what both raise."""
    prefix = _PREFIX.pack

    def frame(message: object) -> bytes:
        data = encode(message)
        size = len(data)
        if packed or size > max_size:
            return frame_message(data, max_size, packed=packed)
        return prefix(0, size) + data

    return frame


def whole_message(data: bytes, max_size: int) -> bytes | None:
    """The message, if the bytes are exactly one that a MessageReader would give; None for all else."""
    size = len(data) - _PREFIX_SIZE
    if 0 <= size <= max_size and _PREFIX.unpack_from(data) == (0, size):
        return data[_PREFIX_SIZE:]
    return None


class MessageReader:
    """Takes bytes, gives messages. max_size: largest message in bytes, checked before its first byte is stored.

    encoding: as grpc-encoding has it. Of a message that is compressed `next` gives what was sent, and sets `is_packed`.

    Of what is fed the plain messages that are complete are found at once, in one loop: `ready` holds them, and its
    owner may take them from the left itself. Whatever is not plain stays where it is until `next` comes to it.
    """

    __slots__ = ("_encoding", "_has_prefix", "_held", "_max_size", "_pieces", "_wanted", "is_packed", "ready")

    def __init__(self, max_size: int, encoding: str = IDENTITY) -> None:
        self._encoding = encoding
        self._max_size = max_size
        self._pieces: list[bytes] = []  # what follows those that are ready: an incomplete message, or one not plain,
        self._held = 0  # its size
        self._wanted = 0  # and how much of it is needed to go on
        self._has_prefix = (
            True  # it stands there with what there is of its prefix; a plain one only until that is whole
        )
        self.is_packed = False
        self.ready: deque[bytes] = deque()

    def feed(self, data: bytes) -> None:
        """Add received bytes. Call `next` until it gives None before feeding more, so that limits hold."""
        pieces, ready, largest = self._pieces, self.ready, self._max_size
        if pieces:
            self._held += len(data)
            beyond = self._held - self._wanted
            if beyond < 0:
                pieces.append(data)
                return
            if self._has_prefix:
                pieces.append(data)
                data = b"".join(pieces)
            else:  # a large one is joined once, to the message itself
                pieces.append(data[: len(data) - beyond])
                ready.append(b"".join(pieces))
                data = data[len(data) - beyond :]
            pieces.clear()
        unpack = _PREFIX.unpack_from
        begin, end = _PREFIX_SIZE, len(data)
        while begin <= end:
            flag, size = unpack(data, begin - _PREFIX_SIZE)
            stop = begin + size
            if flag or size > largest:
                self._keep(data[begin - _PREFIX_SIZE :], _PREFIX_SIZE + size, has_prefix=True)
                return
            if stop > end:
                self._keep(data[begin:], size, has_prefix=False)
                return
            ready.append(data[begin:stop])
            begin = stop + _PREFIX_SIZE
        if (begin := begin - _PREFIX_SIZE) < end:
            self._keep(data[begin:], _PREFIX_SIZE, has_prefix=True)

    def _keep(self, rest: bytes, wanted: int, *, has_prefix: bool) -> None:
        self._pieces.append(rest)
        self._held, self._wanted, self._has_prefix = len(rest), wanted, has_prefix

    def next(self) -> bytes | None:
        """The next complete message, None while it is incomplete.

        Raises ResourceExhausted when its declared length is over the limit, Internal when it claims to be compressed
        though no encoding was agreed upon. Nothing can be read after that.
        """
        if self.ready:
            self.is_packed = False
            return self.ready.popleft()
        if not self._pieces or not self._has_prefix or len(self._pieces[0]) < _PREFIX_SIZE:
            return None
        data = self._pieces[0]
        flag, size = _PREFIX.unpack_from(data)
        if flag > 1 or (flag and self._encoding == IDENTITY):
            problem = "is compressed though no encoding was agreed upon" if flag == 1 else f"has the flag {flag:#04x}"
            raise Internal(f"received message {problem}")
        if size > self._max_size:
            raise ResourceExhausted(
                f"received message of {size} bytes is larger than the limit of {self._max_size} bytes",
                retryable=False,
            )
        if self._held < self._wanted:
            return None
        self._pieces.clear()
        self.is_packed = True  # else it would be ready
        self.feed(data[self._wanted :])
        return data[_PREFIX_SIZE : _PREFIX_SIZE + size]

    def end(self) -> None:
        """The byte stream is over. Raises Internal when it stopped inside a message."""
        if not self._pieces:
            return
        prefix = _PREFIX_SIZE if self._has_prefix else 0
        if self._has_prefix and len(self._pieces[0]) < _PREFIX_SIZE:
            received, wanted = self._held, "its prefix"
        else:
            received, wanted = self._held - prefix, f"{self._wanted - prefix} bytes"
        raise Internal(f"stream ended inside a message: {received} bytes of {wanted} received")
