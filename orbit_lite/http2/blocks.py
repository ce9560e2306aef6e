"""Header blocks ready to be sent, for those that are sent again and again.

Nearly all calls of a connection give the very objects for their fields that calls before them gave. By that identity
the block is found without hashing what the fields say, ten pairs of text in each request, and one packing writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from struct import Struct

from orbit_lite.http2.fields import Fields, HeaderEncoder
from orbit_lite.http2.frames import HEADERS

__all__ = ["ReadyBlock"]

#: Every peer takes a frame of so many bytes (RFC 9113 §4.2).
_FITS = 1 << 14


class ReadyBlock:
    """The block of `fields`, to be used for them as long as the encoder has the same `lexicon`.

    word: length and type of its HEADERS frame. write: None when it may need more than one frame; else
    `write(word, flags, stream, block)` gives that frame, and, for blocks that DATA follows,
    `write(word, flags, stream, block, size << 8, flags, stream)` the head of the DATA frame too.
    """

    __slots__ = ("block", "fields", "lexicon", "word", "write")

    def __init__(self, encoder: HeaderEncoder, fields: Fields, *, before_data: bool) -> None:
        before = encoder.lexicon
        self.block = block = encoder.encode(fields)
        self.fields = fields
        # A block that changed the table says something else the next time.
        self.lexicon = before if encoder.lexicon is before else None
        size = len(block)
        self.word = size << 8 | HEADERS
        self.write = _writer(size, before_data) if size <= _FITS else None


@lru_cache(512)
def _writer(size: int, before_data: bool) -> Callable[..., bytes]:
    return Struct(f">IBI{size}sIBI" if before_data else f">IBI{size}s").pack
