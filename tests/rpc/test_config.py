"""Settings: defaults of Orbit-RS, and errors that name the field, the value and what is allowed."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from orbit_lite.errors import ConfigurationError, Status
from orbit_lite.rpc.config import PoolConfig, RetryConfig, ServerConfig, TransportConfig


def test_the_transport_has_the_defaults_of_orbit_rs() -> None:
    assert asdict(TransportConfig()) == {
        "max_connections_per_endpoint": 10,
        "connect_timeout": 5.0,
        "request_timeout": 30.0,
        "keep_alive_interval": 30.0,
        "keep_alive_timeout": 10.0,
        "max_message_size": 16 * 1024 * 1024,
        "retry_attempts": 3,
        "retry_backoff_initial": 0.1,
        "retry_backoff_multiplier": 2.0,
        "tcp_keepalive": 10.0,
        "http2_adaptive_window": True,
    }


def test_what_is_optional_may_be_none() -> None:
    config = TransportConfig(keep_alive_interval=None, keep_alive_timeout=None, tcp_keepalive=None)
    assert config.keep_alive_interval is None
    assert ServerConfig(keep_alive_interval=None, tcp_keepalive=None).tcp_keepalive is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_connections_per_endpoint": 0}, "max_connections_per_endpoint=0: must be a whole number from 1 to 1000"),
        ({"max_connections_per_endpoint": True}, "max_connections_per_endpoint=True"),
        ({"max_connections_per_endpoint": 2.0}, "max_connections_per_endpoint=2.0"),
        ({"connect_timeout": 0}, "connect_timeout=0: must be from 0.001 to 3600 seconds"),
        ({"connect_timeout": None}, "connect_timeout=None"),
        ({"request_timeout": float("nan")}, "request_timeout=nan"),
        ({"request_timeout": float("inf")}, "request_timeout=inf"),
        ({"request_timeout": "30s"}, "request_timeout='30s'"),
        ({"keep_alive_interval": 9.9}, "keep_alive_interval=9.9: must be from 10 to "),
        ({"keep_alive_timeout": 0.0}, "keep_alive_timeout=0.0"),
        ({"max_message_size": 0}, "max_message_size=0"),
        ({"max_message_size": 1 << 32}, "max_message_size=4294967296"),
        ({"retry_attempts": -1}, "retry_attempts=-1: must be a whole number from 0 to 100"),
        ({"retry_backoff_initial": -0.1}, "retry_backoff_initial=-0.1"),
        ({"retry_backoff_multiplier": 0.5}, "retry_backoff_multiplier=0.5: must be from 1 to 100"),
        ({"tcp_keepalive": 0.5}, "tcp_keepalive=0.5"),
        ({"http2_adaptive_window": 1}, "http2_adaptive_window=1: must be true or false"),
    ],
)
def test_a_wrong_transport_setting_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        replace(TransportConfig(), **changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (RetryConfig, {"jitter": 1.5}, "jitter=1.5: must be from 0 to 1"),
        (RetryConfig, {"backoff_max": -1}, "backoff_max=-1"),
        (RetryConfig, {"budget_tokens": -1}, "budget_tokens=-1"),
        (RetryConfig, {"budget_ratio": 2}, "budget_ratio=2"),
        (RetryConfig, {"idempotent_methods": frozenset({"p.S/M"})}, "written as /package.Service/Method"),
        (RetryConfig, {"retryable_codes": frozenset({Status.OK})}, "statuses of failures"),
        (PoolConfig, {"soft_stream_limit": 0}, "soft_stream_limit=0"),
        (PoolConfig, {"max_idle": -1.0}, "max_idle=-1.0"),
        (PoolConfig, {"cleanup_interval": 0}, "cleanup_interval=0"),
        (PoolConfig, {"redial_initial": 2.0, "redial_max": 1.0}, "redial_max=1.0: must be at least redial_initial=2.0"),
        (ServerConfig, {"max_concurrent_streams": 0}, "max_concurrent_streams=0"),
        (ServerConfig, {"keep_alive_interval": 1.0}, "keep_alive_interval=1.0"),
        (ServerConfig, {"handshake_timeout": 0}, "handshake_timeout=0"),
        (ServerConfig, {"stall_timeout": 0.0}, "stall_timeout=0.0"),
        (ServerConfig, {"cancel_grace": -1}, "cancel_grace=-1"),
    ],
)
def test_a_wrong_setting_of_the_others_is_named(kind: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        kind(**changes)
    assert message in str(caught.value)
