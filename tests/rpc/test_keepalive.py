"""A silent peer is asked, and given up if it stays silent; one that says anything is kept (gRFC A8)."""

from __future__ import annotations

import asyncio

import pytest

from orbit_lite.rpc.keepalive import KeepAlive


class Watched:
    """Counts what it is told."""

    def __init__(self, *, wanted: bool = True) -> None:
        self.pings = 0
        self.given_up: list[str] = []
        self.asked = asyncio.Event()
        self.lost = asyncio.Event()
        self.keep_alive = KeepAlive(
            asyncio.get_running_loop(),
            interval=0.01,
            timeout=0.02,
            ping=self._ping,
            is_wanted=lambda: wanted,
            give_up=self._give_up,
        )

    def _ping(self) -> None:
        self.pings += 1
        self.asked.set()

    def _give_up(self, reason: str) -> None:
        self.given_up.append(reason)
        self.lost.set()


async def test_silence_is_asked_about_once_and_then_ends_the_connection() -> None:
    watched = Watched()
    async with asyncio.timeout(5):
        await watched.lost.wait()
    assert watched.pings == 1
    assert watched.given_up == ["the peer did not answer a PING within 0.02 s"]
    watched.keep_alive.stop()


async def test_any_sign_of_life_is_an_answer() -> None:
    watched = Watched()
    for _ in range(3):
        async with asyncio.timeout(5):
            await watched.asked.wait()
        watched.asked.clear()
        watched.keep_alive.heard(asyncio.get_running_loop().time())
    assert watched.given_up == []
    watched.keep_alive.stop()


@pytest.mark.parametrize("stopped", [True, False])
async def test_nobody_is_asked_without_need(stopped: bool) -> None:
    watched = Watched(wanted=stopped)
    if stopped:
        watched.keep_alive.stop()
    await asyncio.sleep(0.1)
    assert (watched.pings, watched.given_up) == (0, [])
    watched.keep_alive.stop()
