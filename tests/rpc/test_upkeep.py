"""Connections that have to go, and how they go: without losing a call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from orbit_lite.rpc import Channel, ServerConfig
from orbit_lite.rpc.upkeep import Upkeep

if TYPE_CHECKING:
    from tests.rpc.conftest import Served

Serve = Callable[..., Awaitable["Served"]]


@dataclass
class Kept:
    made_at: float = 0.0
    idle_since: float = 0.0
    is_idle: bool = True
    is_retiring: bool = False
    ended: list[str] = field(default_factory=list)

    def retire(self) -> None:
        self.is_retiring = True
        self.ended.append("retired")

    def close(self, reason: str) -> None:
        self.ended.append(reason)


def test_what_is_idle_for_too_long_is_retired_and_what_is_used_is_not() -> None:
    upkeep = Upkeep(ServerConfig(max_connection_idle=300.0))
    idle, fresh, busy = Kept(), Kept(idle_since=100.0), Kept(is_idle=False)
    upkeep.look([idle, fresh, busy], 300.0)
    assert [kept.ended for kept in (idle, fresh, busy)] == [["retired"], [], []]


def test_old_ones_are_retired_within_a_tenth_of_their_age_and_closed_after_their_grace() -> None:
    upkeep = Upkeep(ServerConfig(max_connection_idle=None, max_connection_age=100.0, max_connection_age_grace=5.0))
    busy = [Kept(made_at=number / 7, is_idle=False) for number in range(50)]
    upkeep.look(busy, 89.0)
    assert not any(kept.ended for kept in busy)
    upkeep.look(busy, 97.0)
    assert 0 < sum(bool(kept.ended) for kept in busy) < 50, "they do not all go at once"
    upkeep.look(busy, 118.0)
    assert all(kept.ended[0] == "retired" for kept in busy)
    upkeep.look(busy, 125.0)
    assert all(kept.ended[-1].startswith("the grace") for kept in busy)


def test_the_oldest_idle_connection_makes_room_or_else_the_new_one_goes() -> None:
    upkeep = Upkeep(ServerConfig(max_connections=2))
    old, older, new = Kept(idle_since=2.0), Kept(idle_since=1.0), Kept(idle_since=3.0)
    upkeep.make_room([old, new], new, 2)
    assert (old.ended, new.ended) == ([], [])
    upkeep.make_room([old, older, new], new, 3)
    assert (old.ended, older.ended, new.ended) == ([], ["too many connections"], [])
    busy = Kept(is_idle=False)
    upkeep.make_room([busy, busy, new], new, 3)
    assert new.ended == ["too many connections"]


@pytest.mark.parametrize(("options", "interval"), [({"max_connection_idle": None}, None), ({}, 30.0)])
def test_without_limits_nobody_looks(options: dict[str, Any], interval: float | None) -> None:
    assert Upkeep(ServerConfig(**options)).interval == interval


async def fewer_than(count: int, served: Served) -> None:
    async with asyncio.timeout(10):
        while served.server.connections >= count:  # noqa: ASYNC110  # a server tells nobody
            await asyncio.sleep(0.01)


async def echo(stream: Any) -> None:
    await stream.send_message(await stream.recv_message())


async def test_calls_notice_nothing_of_connections_that_come_of_age(serve: Serve) -> None:
    served = await serve(echo, server_config=ServerConfig(max_connection_age=0.1, cancel_grace=1.0))
    seen: set[Any] = set()

    async def work(worker: int) -> int:
        done = 0
        while asyncio.get_running_loop().time() < end:
            assert await served.unary(f"{worker} {done}") == f"{worker} {done}"
            seen.add(served.channel._connection)
            done += 1
        return done

    end = asyncio.get_running_loop().time() + 2.5
    assert min(await asyncio.gather(*[work(number) for number in range(8)])) > 10
    assert len(seen) >= 3


async def test_a_server_closes_what_nobody_uses(serve: Serve) -> None:
    served = await serve(echo, server_config=ServerConfig(max_connection_idle=0.1, cancel_grace=1.0))
    await served.unary("x")
    await fewer_than(1, served)
    assert await served.unary("y") == "y", "the next call dials again"


async def test_over_the_limit_an_idle_connection_goes(serve: Serve) -> None:
    served = await serve(echo, server_config=ServerConfig(max_connections=2, cancel_grace=1.0))
    channels = [Channel("127.0.0.1", served.server.port) for _ in range(5)]
    for channel in channels:
        await channel.connect()
    await fewer_than(3, served)
    for channel in channels:
        channel.close()
        await channel.wait_closed()
