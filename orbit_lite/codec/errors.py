"""What goes wrong between bytes and messages, and the limits that guard it."""

from __future__ import annotations

from dataclasses import dataclass

from orbit_lite.errors import ConfigurationError, SerializationError

__all__ = ["CodecLimits", "DecodeError", "EncodeError"]


class DecodeError(SerializationError):
    """Bytes that are not a valid encoding of the message.

    path: where in the message, such as `PrepareMessage.operations[2].operation_id`; the message's name alone when the
    fault lies between its fields. offset: of the faulty tag or value in the outermost buffer, in bytes.
    """

    orb_code = "ORB-1503"

    def __init__(self, path: str, offset: int, problem: str, **context: object) -> None:
        super().__init__(f"{path}: {problem} (at byte {offset})", **context)  # type: ignore[arg-type]  # same keywords
        self.path = path
        self.offset = offset
        self.problem = problem


class EncodeError(SerializationError):
    """A message that holds a value which its field's type cannot carry: a defect of the program that built it."""

    orb_code = "ORB-1504"

    def __init__(self, path: str, problem: str, **context: object) -> None:
        super().__init__(f"{path}: {problem}", **context)  # type: ignore[arg-type]  # same keywords
        self.path = path
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecLimits:
    """What `decode` takes from a peer before it refuses."""

    max_size: int = 2**31 - 1
    """Bytes of the whole message. Protobuf's own limit is 2 GiB; the RPC layer sets its smaller one before decoding."""

    max_depth: int = 100
    """Messages inside messages, groups included; what protobuf's C++ and Java runtimes allow."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_size < 2**31:
            raise ConfigurationError(f"max_size={self.max_size}: must be 0..2147483647 bytes, protobuf's own limit")
        if not 1 <= self.max_depth <= 200:
            raise ConfigurationError(f"max_depth={self.max_depth}: must be 1..200, for each level uses Python's stack")
