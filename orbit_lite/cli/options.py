"""Options that verbs share, and how a verb runs asynchronous work."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orbit_lite.errors import quote

if TYPE_CHECKING:
    from orbit_lite.rpc import Channel

__all__ = [
    "DEFAULT_ENDPOINT",
    "DEFAULT_TIMEOUT",
    "Duration",
    "connected",
    "endpoint_option",
    "json_option",
    "run",
    "timeout_option",
]

DEFAULT_ENDPOINT = "http://localhost:50051"
DEFAULT_TIMEOUT = 10.0

# Generic for type checkers only: click 8.1 is not, at run time.
if TYPE_CHECKING:
    _ParamType = click.ParamType[float]
else:
    _ParamType = click.ParamType

_Function = TypeVar("_Function", bound=Callable[..., Any])
_T = TypeVar("_T")

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


class Duration(_ParamType):
    """`250ms`, `30s`, `5m`, `1h` or bare seconds, as seconds; more than 0, at most a day."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float | int):
            return float(value)
        match = _DURATION.fullmatch(str(value))
        seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
        if not 0 < seconds <= 86400:
            self.fail(f"{quote(str(value))!r} is no duration: write 250ms, 30s or 5m, at most a day", param, ctx)
        return seconds


def json_option(function: _Function) -> _Function:
    """--json, as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, errors too.")(function)


def timeout_option(function: _Function) -> _Function:
    """--timeout, in seconds."""
    return click.option(
        "--timeout",
        type=Duration(),
        default=f"{DEFAULT_TIMEOUT:g}s",
        show_default=True,
        metavar="DURATION",
        help="How long to wait for the answer, such as 250ms or 30s.",
    )(function)


def endpoint_option(function: _Function) -> _Function:
    """-e/--endpoint: the node to ask."""
    return click.option(
        "-e",
        "--endpoint",
        envvar="ORBIT_ENDPOINT",
        default=DEFAULT_ENDPOINT,
        show_default=True,
        show_envvar=True,
        metavar="URL",
        help="The node to ask: http://HOST:PORT, HOST:PORT or unix:/PATH.",
    )(function)


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end. Ctrl-C cancels the work, which cleans up, and comes out as KeyboardInterrupt."""
    return asyncio.run(work)


@asynccontextmanager
async def connected(endpoint: str, timeout: float) -> AsyncIterator[Channel]:
    """A channel whose connection has been made. timeout: seconds for that, and for each call that names none.

    Raises ParseError for an endpoint that is none, ConnectError and TimeoutError when nobody answers.
    """
    from orbit_lite.rpc import Channel, TransportConfig

    config = TransportConfig(connect_timeout=min(timeout, 3600.0), request_timeout=timeout)
    async with Channel.from_url(endpoint, config=config) as channel:
        await channel.connect()
        yield channel
