"""What signals mean to a node: SIGTERM and SIGINT drain it, a second one stops it, SIGHUP reads its configuration."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from orbit_lite.errors import OrbitError

if TYPE_CHECKING:
    from orbit_lite.node.config import NodeConfig
    from orbit_lite.node.node import OrbitNode

__all__ = ["Signals"]

_log = logging.getLogger(__name__)


class Signals:
    """Handles signals for the node within the block; without effect where the platform or the thread has none."""

    def __init__(self, node: OrbitNode, reload: Callable[[], NodeConfig] | None = None) -> None:
        self._node = node
        self._reload = reload
        self._installed: list[signal.Signals] = []
        self._ending: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        wanted: list[tuple[str, Callable[[], None]]] = [("SIGTERM", self._end), ("SIGINT", self._end)]
        if self._reload is not None:
            wanted.append(("SIGHUP", self._hang_up))
        for name, handle in wanted:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is None:
                continue
            try:
                loop.add_signal_handler(number, handle)
            except (NotImplementedError, RuntimeError, ValueError) as error:
                _log.debug("%s is not handled: %s", name, error)
            else:
                self._installed.append(number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in self._installed:
            asyncio.get_running_loop().remove_signal_handler(number)
        if self._ending is not None:
            self._ending.cancel()

    def _end(self) -> None:
        if self._ending is not None:
            _log.warning("second signal: node %s stops at once", self._node.node_id)
            self._node.request_stop()
            return
        self._ending = asyncio.create_task(self._drain_and_stop(), name="drain on signal")

    async def _drain_and_stop(self) -> None:
        try:
            await self._node.drain()
        finally:
            self._node.request_stop()

    def _hang_up(self) -> None:
        if self._reload is None:
            return
        try:
            self._node.apply(self._reload())
        except OrbitError as error:
            _log.error("the configuration was not read anew, the old one goes on: %s", error)
