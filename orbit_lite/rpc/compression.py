"""Compressed messages: gzip, and `identity` for those that are not. Source: grpc/doc/compression.md.

A small message can say that it is a huge one, so it is unpacked in steps, with a limit that holds for every step.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from orbit_lite.rpc.errors import Internal, ResourceExhausted

__all__ = ["ACCEPTED", "GZIP", "IDENTITY", "accepts", "compress", "decompress"]

IDENTITY = "identity"
GZIP = "gzip"
#: What this side takes, as the value of grpc-accept-encoding.
ACCEPTED = f"{IDENTITY},{GZIP}"

#: Messages below this size in bytes are sent as they are.
WORTH_IT = 256
#: Bytes that one step unpacks: some milliseconds of work.
STEP = 1 << 20
#: Above this size a message may not be more than a hundred times as large as what was sent.
_LARGE, _RATIO = 4 << 20, 100
_GZIP_BITS = 31  # zlib's name for: one gzip member


def accepts(header: str | None, encoding: str) -> bool:
    """Whether a peer that sent this grpc-accept-encoding takes messages of the encoding."""
    return encoding == IDENTITY or (header is not None and encoding in (part.strip() for part in header.split(",")))


def compress(message: bytes) -> bytes | None:
    """The message as gzip, None where that saves nothing."""
    if len(message) < WORTH_IT:
        return None
    packer = zlib.compressobj(level=6, wbits=_GZIP_BITS)
    packed = packer.compress(message) + packer.flush()
    return packed if len(packed) < len(message) else None


def decompress(packed: bytes, max_size: int) -> Iterator[bytes]:
    """The message in pieces of at most STEP bytes; others may run between two of them.

    Raises ResourceExhausted over max_size or for a bomb, Internal for what is not exactly one gzip member.
    """
    unpacker = zlib.decompressobj(wbits=_GZIP_BITS)
    size, most = 0, max(_LARGE, _RATIO * len(packed))
    try:
        while not unpacker.eof:
            piece = unpacker.decompress(packed, min(STEP, max_size + 1 - size))
            packed = unpacker.unconsumed_tail
            size += len(piece)
            if size > max_size:
                raise ResourceExhausted(
                    f"received message is larger than the limit of {max_size} bytes when decompressed", retryable=False
                )
            if size > most:
                raise ResourceExhausted(f"received message is over {_RATIO} times as large as what was sent")
            if not piece and not unpacker.eof:
                raise Internal("received message is compressed and cut off")
            yield piece
    except zlib.error as error:
        raise Internal(f"received message cannot be decompressed: {error}") from error
    if unpacker.unused_data:
        raise Internal("received message has bytes behind its compressed content")
