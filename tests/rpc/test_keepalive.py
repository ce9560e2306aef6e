"""A silent peer is asked, and given up if it stays silent; one that says anything is kept (gRFC A8)."""

from __future__ import annotations

import asyncio

import pytest

from orbit_lite.rpc.keepalive import KeepAlive


class Watched:
    """A connection that counts what it is told."""

    def __init__(self, *, wanted: bool = True) -> None:
        self.last_received = asyncio.get_running_loop().time()
        self.pinged_at: float | None = None
        self.is_worth_a_ping = wanted
        self.pings = 0
        self.given_up: list[str] = []
        self.asked = asyncio.Event()
        self.lost = asyncio.Event()

    def ping(self) -> None:
        self.pings += 1
        self.asked.set()

    def give_up(self, reason: str) -> None:
        self.given_up.append(reason)
        self.lost.set()

    def answer(self) -> None:
        self.last_received = asyncio.get_running_loop().time()


def keep_alive(*connections: Watched) -> KeepAlive:
    made = KeepAlive(asyncio.get_running_loop(), interval=0.01, timeout=0.02)
    for connection in connections:
        made.watch(connection)
    return made


async def test_silence_is_asked_about_once_and_then_ends_the_connection() -> None:
    watched = Watched()
    keeper = keep_alive(watched)
    async with asyncio.timeout(5):
        await watched.lost.wait()
    assert watched.pings == 1
    assert watched.given_up == ["the peer did not answer a PING within 0.02 s"]
    keeper.forget(watched)


async def test_any_sign_of_life_is_an_answer() -> None:
    watched = Watched()
    keeper = keep_alive(watched)
    for _ in range(3):
        async with asyncio.timeout(5):
            await watched.asked.wait()
        watched.asked.clear()
        watched.answer()
    assert watched.given_up == []
    keeper.forget(watched)


@pytest.mark.parametrize("forgotten", [True, False])
async def test_nobody_is_asked_without_need(forgotten: bool) -> None:
    watched = Watched(wanted=forgotten)
    keeper = keep_alive(watched)
    if forgotten:
        keeper.forget(watched)
    await asyncio.sleep(0.1)
    assert (watched.pings, watched.given_up) == (0, [])
    keeper.forget(watched)


async def test_one_timer_serves_all_and_ends_with_the_last() -> None:
    silent, alive = Watched(), Watched()
    keeper = keep_alive(silent, alive)
    async with asyncio.timeout(5):
        while not silent.given_up:
            await alive.asked.wait()
            alive.asked.clear()
            alive.answer()
    keeper.forget(silent)
    assert alive.given_up == []
    loop = asyncio.get_running_loop()
    waiting = getattr(loop, "_scheduled", None)  # asyncio's own list; other loops have none to look at
    if waiting is not None:
        assert len([handle for handle in waiting if "KeepAlive" in repr(handle) and not handle.cancelled()]) == 1
    keeper.forget(alive)
    if waiting is not None:
        assert not [handle for handle in waiting if "KeepAlive" in repr(handle) and not handle.cancelled()]
