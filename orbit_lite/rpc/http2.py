"""What the h2 library does differently from what gRPC needs, set right in one subclass.

Calls run on h2 (RFC 9113 as a state machine: bytes in, events and bytes out). This file is the only one that reaches
into it, and this is all that it changes:

- Events come one frame at a time. `receive_data` raises on a bad frame and loses the events of the good ones before it
  in the same read, so that the outcome would depend on how TCP cut the bytes.
- A frame that is too large is refused by its header, not after all of it has been stored.
- GOAWAY leaves the connection usable. h2 closes its state machine when one is sent or received; RFC 9113 §6.8 lets the
  streams that are open go on, and a graceful shutdown consists of two of them.
- Streams beyond our limit are ours to refuse. h2 ends the connection over them; RFC 9113 §5.1.2 asks for
  REFUSED_STREAM, which tells the peer that it may try again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event
from h2.exceptions import FrameTooLargeError, ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.exceptions import InvalidPaddingError
from hyperframe.frame import Frame, GoAwayFrame

from orbit_lite.rpc.status import ErrorCode

__all__ = ["HEADER_LIMIT", "LAST_STREAM_ID", "GoAway", "Http2", "ProtocolError"]

#: As the last stream id of a GOAWAY: "I will stop soon; nothing is refused yet" (RFC 9113 §6.8).
LAST_STREAM_ID = 2**31 - 1

#: Size of a header list (RFC 9113 §6.5.2) that we ask peers to keep to. Over it a request is refused …
HEADER_LIMIT = 16 * 1024
#: … and over this one h2 ends the connection: it was decoding all along.
HARD_HEADER_LIMIT = 4 * HEADER_LIMIT


@dataclass
class GoAway(Event):
    """The peer takes no streams above `last_stream_id`; those up to it go on."""

    last_stream_id: int
    code: int
    debug: bytes


class Http2(H2Connection):
    """One connection's protocol state. See h2's documentation for everything that is not here."""

    #: Closed streams that are remembered, to tell late frames from wrong ones: 65536 of them take 6 MiB a connection.
    MAX_CLOSED_STREAMS = 4096

    def __init__(self, *, client: bool, streams: int, stream_window: int, connection_window: int) -> None:
        # Header rules are checked above, where a violation can be answered on its stream: h2 would end the connection.
        super().__init__(
            H2Configuration(
                client_side=client,
                header_encoding=None,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=True,  # marks credentials as never to be indexed
            )
        )
        self.decoder.max_header_list_size = HARD_HEADER_LIMIT
        settings = {
            SettingCodes.INITIAL_WINDOW_SIZE: stream_window,
            SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_LIMIT,
        }
        settings |= {SettingCodes.ENABLE_PUSH: 0} if client else {SettingCodes.MAX_CONCURRENT_STREAMS: streams}
        self.local_settings = Settings(client=client, initial_values=settings)
        self.initiate_connection()
        self.increment_flow_control_window(connection_window - 65_535)

    def receive(self, data: bytes) -> Iterator[Event]:
        """Events of the received bytes, each as soon as its frame is read.

        Raises ProtocolError at the first frame that breaks the connection, when all before it have been given out; a
        GOAWAY that says so is then waiting in `data_to_send`.
        """
        try:
            self.incoming_buffer.add_data(data)
            self.incoming_buffer.max_frame_size = self.max_inbound_frame_size
            for frame in self.incoming_buffer:
                yield from self._receive_frame(frame)
            self._check_next_frame()
        except InvalidPaddingError as error:
            self.send_goaway(ErrorCode.PROTOCOL_ERROR)
            raise ProtocolError("padding is longer than the frame") from error
        except ProtocolError as error:
            self.send_goaway(error.error_code)
            raise

    def _check_next_frame(self) -> None:
        """Refuse an overlong frame by its header: h2 would wait for all of it first, up to 16 MiB."""
        buffer = self.incoming_buffer
        waiting: bytes = getattr(buffer, "_data", b"") or getattr(buffer, "data", b"")  # the name differs by version
        if len(waiting) >= 9 and (length := int.from_bytes(waiting[:3])) > self.max_inbound_frame_size:
            raise FrameTooLargeError(f"frame of {length} bytes, at most {self.max_inbound_frame_size} are allowed")

    def send_goaway(self, code: int, last_stream_id: int | None = None, debug: bytes = b"") -> None:
        """Queue a GOAWAY without closing anything; last_stream_id: by default the last one that the peer opened."""
        last = self.highest_inbound_stream_id if last_stream_id is None else last_stream_id
        self._prepare_for_sending([GoAwayFrame(0, last_stream_id=last, error_code=code, additional_data=debug)])

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        return [], [GoAway(frame.last_stream_id, frame.error_code, frame.additional_data)]

    @property
    def open_inbound_streams(self) -> int:
        """None, as far as h2 is concerned: the limit is kept by those who run the handlers."""
        super().open_inbound_streams  # noqa: B018  # h2 forgets closed streams when it counts
        return 0

    @property
    def free_streams(self) -> int:
        """How many more streams the peer's limit allows; negative when it was lowered."""
        return self.remote_settings.max_concurrent_streams - self.open_outbound_streams

    def room(self, stream_id: int) -> int:
        """Bytes of DATA that the peer's windows allow on a stream, not above one frame's size; may be negative."""
        return min(self.local_flow_control_window(stream_id), self.max_outbound_frame_size)

    def can_reset(self, stream_id: int) -> bool:
        """Whether a RST_STREAM would still mean something."""
        stream = self.streams.get(stream_id)
        return stream is not None and not stream.closed
