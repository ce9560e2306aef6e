"""Servers on loopback and channels to them, closed in the right order at the end of a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest

from orbit_lite.rpc import Channel, Server, ServerConfig


class Serve(Protocol):
    async def __call__(self, *services: Any, config: ServerConfig | None = None) -> Server: ...


class Connect(Protocol):
    async def __call__(self, *services: Any, config: ServerConfig | None = None) -> Channel: ...


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def serve(stack: AsyncExitStack) -> Serve:
    """Start a server for these services on a free port of 127.0.0.1."""

    async def start(*services: Any, config: ServerConfig | None = None) -> Server:
        server = await stack.enter_async_context(Server(services, config=config))
        await server.start("127.0.0.1", 0)
        return server

    return start


@pytest.fixture
def connect(serve: Serve, stack: AsyncExitStack) -> Connect:
    """Start a server for these services; gives a channel to it."""

    async def start(*services: Any, config: ServerConfig | None = None) -> Channel:
        server = await serve(*services, config=config)
        return await stack.enter_async_context(Channel("127.0.0.1", server.port))

    return start


class Until(Protocol):
    async def __call__(self, condition: Callable[[], object], /) -> None: ...


@pytest.fixture
def until() -> Until:
    """Wait for what another task or the network brings about; a test's time limit bounds it."""

    async def wait(condition: Callable[[], object], /) -> None:
        while not condition():  # noqa: ASYNC110  # the condition has no event
            await asyncio.sleep(0.001)

    return wait
