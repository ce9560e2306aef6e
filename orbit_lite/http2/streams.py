"""The record of one stream: which sides are open (RFC 9113 §5.1) and both windows of flow control (§5.2).

The states of the RFC are combinations of two flags: open (both), half-closed (one of them), closed (none).
"""

from __future__ import annotations

from typing import Any

__all__ = ["Stream"]


class Stream:
    """One stream. `owner` is whatever the connection's user wants to find again when something arrives."""

    __slots__ = (
        "can_receive",
        "can_send",
        "content_left",
        "fault",
        "got_head",
        "id",
        "is_blocked",
        "is_charged",
        "owner",
        "receive_window",
        "send_window",
        "unreturned",
    )

    def __init__(self, stream_id: int, send_window: int, receive_window: int) -> None:
        self.id = stream_id
        #: This side has not sent END_STREAM or RST_STREAM.
        self.can_send = True
        #: The peer has not.
        self.can_receive = True
        #: Bytes of DATA that the peer's window allows; negative after it shrank (§6.9.2).
        self.send_window = send_window
        #: Bytes of DATA that our window still allows the peer.
        self.receive_window = receive_window
        #: Bytes that were consumed here and not yet given back by WINDOW_UPDATE.
        self.unreturned = 0
        #: The header block that opens the message (not an interim response) has come.
        self.got_head = False
        #: What is missing of the announced content-length; None without one.
        self.content_left: int | None = None
        #: The user waits for room to send, and wants to hear of it.
        self.is_blocked = False
        #: A reset of this stream was counted against the peer.
        self.is_charged = False
        #: Why the stream was ended from this side, for the user.
        self.fault: str | None = None
        self.owner: Any = None

    @property
    def is_closed(self) -> bool:
        """Neither side may send."""
        return not (self.can_send or self.can_receive)

    def __repr__(self) -> str:
        state = {(True, True): "open", (True, False): "half-closed (remote)", (False, True): "half-closed (local)"}
        return f"<Stream {self.id} {state.get((self.can_send, self.can_receive), 'closed')}>"
