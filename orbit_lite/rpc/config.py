"""Settings of the transport. Durations are seconds.

`TransportConfig` has the fields and defaults of Orbit-RS. What Orbit-RS has as constants, or not at all, is in
`RetryConfig`, `PoolConfig` and `ServerConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orbit_lite.errors import ConfigurationError, Status
from orbit_lite.http2.config import Http2Config

__all__ = ["PoolConfig", "RetryConfig", "ServerConfig", "TransportConfig"]

MIB = 1 << 20
#: The gRPC length prefix has 32 bits.
LARGEST_MESSAGE = (1 << 32) - 1
#: A client that pings more often than this is taken for an attacker (gRFC A8).
SHORTEST_KEEP_ALIVE = 10.0
_YEAR = 366 * 86_400.0


def _fail(name: str, value: object, allowed: str) -> ConfigurationError:
    return ConfigurationError(f"{name}={value!r}: must be {allowed}")


def _whole(config: object, name: str, low: int, high: int) -> None:
    value = getattr(config, name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _fail(name, value, f"a whole number from {low} to {high}")


def _number(config: object, name: str, low: float, high: float, unit: str, *, optional: bool = False) -> None:
    value = getattr(config, name)
    if value is None and optional:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise _fail(name, value, f"from {low:g} to {high:g}{unit}" + (" or None" if optional else ""))


def _seconds(config: object, name: str, low: float, high: float = _YEAR, *, optional: bool = False) -> None:
    _number(config, name, low, high, " seconds", optional=optional)


def _flag(config: object, name: str) -> None:
    value = getattr(config, name)
    if not isinstance(value, bool):
        raise _fail(name, value, "true or false")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportConfig:
    """How this side calls others. Raises ConfigurationError for a value out of range."""

    max_connections_per_endpoint: int = 10
    """Connections that a pool opens to one endpoint, a further one only when those open are saturated."""

    connect_timeout: float = 5.0
    """Time for name resolution, TCP and TLS of one connection."""

    request_timeout: float = 30.0
    """Time limit of a unary call, all attempts included, where the caller gives none."""

    keep_alive_interval: float | None = 30.0
    """Silence after which a connection with open calls is tested with a PING; None = never. At least 10 s, since
    servers close connections that ping more often (gRFC A8)."""

    keep_alive_timeout: float | None = 10.0
    """Time in which a PING must be answered, else the connection is given up; None = 20 s (gRFC A8)."""

    max_message_size: int = 16 * MIB
    """Largest message in bytes, both ways. Orbit-RS receives at most 4 MiB outside its TransactionService."""

    retry_attempts: int = 3
    """How often a failed call is tried again: 3 means at most 4 tries. 0 = never."""

    retry_backoff_initial: float = 0.1
    """Upper bound of the delay before the first retry."""

    retry_backoff_multiplier: float = 2.0
    """Factor by which that bound grows with each further retry."""

    tcp_keepalive: float | None = 10.0
    """Idle time after which the operating system probes a TCP connection; None = it does not."""

    http2_adaptive_window: bool = True
    """Let receive windows follow the measured bandwidth-delay product, from 1 MiB a stream up to 16 MiB."""

    def __post_init__(self) -> None:
        _whole(self, "max_connections_per_endpoint", 1, 1000)
        _seconds(self, "connect_timeout", 0.001, 3600.0)
        _seconds(self, "request_timeout", 0.001)
        _seconds(self, "keep_alive_interval", SHORTEST_KEEP_ALIVE, optional=True)
        _seconds(self, "keep_alive_timeout", 0.1, 3600.0, optional=True)
        _whole(self, "max_message_size", 1, LARGEST_MESSAGE)
        _whole(self, "retry_attempts", 0, 100)
        _seconds(self, "retry_backoff_initial", 0.0, 3600.0)
        _number(self, "retry_backoff_multiplier", 1.0, 100.0, "")
        _seconds(self, "tcp_keepalive", 1.0, 32767.0, optional=True)
        _flag(self, "http2_adaptive_window")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """Whether a call may be tried again, beside the attempts and delays in TransportConfig (gRFC A6)."""

    backoff_max: float = 5.0
    """Upper bound of any delay."""

    jitter: float = 1.0
    """Part of a delay that is drawn at random: 1 = anywhere from 0 to the bound (full jitter), 0 = always the bound."""

    budget_tokens: float = 10.0
    """Tokens per endpoint: a retry needs more than half of them, a failure costs one. 0 = no budget, always retry."""

    budget_ratio: float = 0.1
    """Tokens that each success gives back: 0.1 lets at most every tenth call be a retry in the long run."""

    idempotent_methods: frozenset[str] = field(default_factory=frozenset)
    """Methods (`/package.Service/Method`) that may be tried again though they may have been executed already."""

    retryable_codes: frozenset[Status] = frozenset(
        {Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.RESOURCE_EXHAUSTED}
    )
    """Statuses after which another try may help; all others end the call."""

    def __post_init__(self) -> None:
        _seconds(self, "backoff_max", 0.0, 3600.0)
        _number(self, "jitter", 0.0, 1.0, "")
        _number(self, "budget_tokens", 0.0, 1000.0, "")
        _number(self, "budget_ratio", 0.0, 1.0, "")
        for method in self.idempotent_methods:
            if not method.startswith("/"):
                raise _fail("idempotent_methods", method, "written as /package.Service/Method")
        if Status.OK in self.retryable_codes:
            raise _fail("retryable_codes", "OK", "statuses of failures")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """When a pool opens and closes connections, beside `max_connections_per_endpoint`."""

    soft_stream_limit: int = 100
    """Open calls from which a connection counts as saturated, where the peer's own limit is not lower."""

    max_idle: float = 600.0
    """Idle time after which a connection is closed."""

    max_age: float = 3600.0
    """Age after which a connection takes no new calls and is closed once those in flight have ended."""

    cleanup_interval: float = 300.0
    """Time between two looks for connections to close."""

    redial_initial: float = 0.1
    """Time before a failed endpoint is dialled again, varied by a fifth. For connections between nodes; for servers of
    others gRPC's connection backoff has 1 s."""

    redial_max: float = 1.0
    """Time that this grows to, by a factor of 1.6 with each failure in a row; 120 s in gRPC's connection backoff."""

    def __post_init__(self) -> None:
        _whole(self, "soft_stream_limit", 1, 1_000_000)
        _seconds(self, "max_idle", 0.0)
        _seconds(self, "max_age", 1.0)
        _seconds(self, "cleanup_interval", 0.001)
        _seconds(self, "redial_initial", 0.0, 3600.0)
        _seconds(self, "redial_max", 0.0, 3600.0)
        if self.redial_max < self.redial_initial:
            raise _fail("redial_max", self.redial_max, f"at least redial_initial={self.redial_initial!r}")


def check_compression(value: str | None) -> str | None:
    """The value, if it is one. Raises ConfigurationError."""
    if value not in (None, "gzip"):
        raise _fail("compression", value, "gzip or None")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How this side serves. Raises ConfigurationError for a value out of range."""

    max_message_size: int = 16 * MIB
    """Largest message in bytes, both ways."""

    max_concurrent_streams: int = 256
    """Calls that run at once on one connection; further ones are refused, and may be retried safely. Go allows 250,
    hyper 200, nginx 128."""

    handshake_timeout: float = 10.0
    """Time for the TLS handshake, and again for the HTTP/2 preface."""

    keep_alive_interval: float | None = 7200.0
    """Silence after which a connection is tested with a PING; None = never (gRFC A9)."""

    keep_alive_timeout: float = 20.0
    """Time in which a PING must be answered, else the connection is closed (gRFC A9)."""

    tcp_keepalive: float | None = 10.0
    """Idle time after which the operating system probes a TCP connection; None = it does not."""

    stall_timeout: float | None = 30.0
    """Time that a reply waits for a client that makes no room for it, before its call is reset; None = for ever
    (CVE-2019-9511)."""

    cancel_grace: float = 5.0
    """Time that a cancelled handler has for its cleanup before the server stops waiting for it."""

    compression: str | None = None
    """"gzip": replies are compressed for callers that take it. Compressed requests are always taken."""

    max_connections: int = 10_000
    """Connections at once. Above it the one that has been idle for longest is closed, or else the new one."""

    max_connection_idle: float | None = 300.0
    """Time without calls after which a connection is closed by GOAWAY; None = never."""

    max_connection_age: float | None = None
    """Age, varied by a tenth, at which a connection is closed by GOAWAY once its calls have ended; None = never."""

    max_connection_age_grace: float | None = None
    """Time that calls have to end then; None = any."""

    http2: Http2Config | None = None
    """Limits of HTTP/2 connections in detail; its max_concurrent_streams and preface_timeout are those above."""

    def __post_init__(self) -> None:
        _whole(self, "max_message_size", 1, LARGEST_MESSAGE)
        _whole(self, "max_concurrent_streams", 1, (1 << 31) - 1)
        _seconds(self, "handshake_timeout", 0.1, 3600.0)
        _seconds(self, "keep_alive_interval", SHORTEST_KEEP_ALIVE, optional=True)
        _seconds(self, "keep_alive_timeout", 0.1, 3600.0)
        _seconds(self, "tcp_keepalive", 1.0, 32767.0, optional=True)
        _seconds(self, "stall_timeout", 0.1, optional=True)
        _seconds(self, "cancel_grace", 0.0, 3600.0)
        check_compression(self.compression)
        _whole(self, "max_connections", 1, 10_000_000)
        _seconds(self, "max_connection_idle", 0.1, optional=True)
        _seconds(self, "max_connection_age", 0.1, optional=True)
        _seconds(self, "max_connection_age_grace", 0.0, optional=True)
