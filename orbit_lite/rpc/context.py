"""What a handler can know about the call that it serves, and about who calls."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from orbit_lite.rpc.deadline import Deadline, Scope, current_scope
from orbit_lite.rpc.metadata import Metadata

__all__ = ["CallContext", "Peer", "call_scope", "current_call", "enter_call"]


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection.

    host, port: its address; both None on a Unix socket. certificate: what `ssl.SSLSocket.getpeercert` tells, None
    without TLS.
    """

    host: str | None = None
    port: int | None = None
    certificate: Mapping[str, object] | None = field(default=None, repr=False, hash=False)

    @property
    def is_local(self) -> bool:
        """Whether the peer is on this machine: a Unix socket or a loopback address."""
        if self.host is None:
            return True
        try:
            address = ipaddress.ip_address(self.host.partition("%")[0])
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return (mapped or address).is_loopback

    def addr(self) -> tuple[str, int] | None:
        """The address, as grpclib's handlers ask for it."""
        return None if self.host is None else (self.host, self.port or 0)

    def cert(self) -> Mapping[str, object] | None:
        """The certificate, as grpclib's handlers ask for it."""
        return self.certificate

    def __str__(self) -> str:
        if self.host is None:
            return "unix"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class CallContext:
    """One call as its handler sees it. method: `/package.Service/Method`."""

    method: str
    peer: Peer
    metadata: Metadata
    deadline: Deadline | None = None
    user_agent: str | None = None

    @property
    def context(self) -> CallContext:
        """Itself."""
        return self


def current_call() -> CallContext | None:
    """The call that is being served here, None outside a handler."""
    scope = current_scope.get()
    return None if scope is None else scope.context


def enter_call(call: Scope) -> None:
    """For the server: `call` is what the running task does, to its end. As `call_scope`."""
    current_scope.set(call)


@contextmanager
def call_scope(call: CallContext) -> Iterator[None]:
    """Within the block `call` is the current call, and its deadline, nobody else's, caps the calls made there."""
    token = current_scope.set(call)
    try:
        yield
    finally:
        current_scope.reset(token)
