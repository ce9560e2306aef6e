"""A node's own end of the replicated directory: it stays registered, asks where others are, and gives actors a home.

What is asked is answered from the replica here, without a message, where that can do no harm: an address or a home that
is known. That there is none is only said after a linearizable read. A home that was moved meanwhile is no danger: the
node that had it knows by `epoch_of` that it may not act any more.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import logging
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from orbit_lite.actors.placement import Placement
from orbit_lite.directory.cache import CachingNodeResolver
from orbit_lite.directory.commands import (
    LONGEST_LEASE_MS,
    LONGEST_TICK_MS,
    SHORTEST_LEASE_MS,
    ActorPlacement,
    Command,
    Place,
    Refusal,
    Refused,
    Register,
    Registered,
    Release,
    Reply,
    Tick,
    decode_reply,
    encode_command,
)
from orbit_lite.directory.machine import DirectoryMachine
from orbit_lite.directory.watch import Watch
from orbit_lite.errors import (
    AddressableNotFound,
    ClusterError,
    ConfigurationError,
    DrainingError,
    InternalError,
    NetworkError,
    NodeNotFound,
    OrbitError,
    OverloadedError,
    ParseError,
    Status,
    StorageError,
    TimeoutError,
)
from orbit_lite.model import AddressableReference, LiteKind, NodeId, NodeInfo, NodeStatus

__all__ = ["NodeSuperseded", "PlacementUnavailable", "ReplicatedDirectory", "ReplicatedLog"]

_log = logging.getLogger("orbit_lite.directory")

#: A holder's lease is shorter by this share of it: so much slower may its clock be than the leader's.
_CLOCK_DRIFT = 0.1
#: A registration is renewed after this share of its lease: two renewals may fail.
_RENEWAL = 1 / 3
#: Seconds before a question is repeated of which nobody knows what became.
_PAUSE = 0.05
#: Places that are tried for an actor, where a candidate turns out to be full or gone.
_ATTEMPTS = 3


class NodeSuperseded(ClusterError):
    """Another process was started later under this node's id: this one hosts nothing any more."""

    code = Status.ABORTED
    orb_code = "ORB-1306"


class PlacementUnavailable(ClusterError):
    """The cluster could not agree on a home for an actor, as while no majority of it is within reach. Nothing ran."""

    code = Status.UNAVAILABLE
    orb_code = "ORB-1307"
    retryable = True


class ReplicatedLog(Protocol):
    """What the directory needs of RaftConsensus."""

    async def propose(self, data: bytes, *, timeout: float | None = ..., kind: LiteKind = ...) -> bytes: ...

    async def read(self, timeout: float | None = ...) -> None: ...

    def is_leader(self) -> bool: ...

    def get_current_term(self) -> int: ...


class ReplicatedDirectory:
    """NodeResolver and Hosts over the replicated directory.

    log: the consensus in which `machine` applies the commands of kind DIRECTORY. info: what this node is; None for one
    that only asks. incarnation: of this start of the node, larger than all before. lease_duration: seconds for which
    the node is believed without word from it. placement: which of its hosts an actor is given to, and actors that are
    pinned to a node. seeds: addresses of nodes that do not register, as those of Orbit-RS. request_timeout: seconds for
    one question to the cluster. on_lease_lost: called when this node must stop what it does in its actors' names, with
    the seconds that are left until others may act in them: `grace`, or less when it is called late.

    `start` registers the node and keeps it registered; while it leads the cluster it also moves the cluster's clock on.
    `stop` says that it hosts nothing any more.
    """

    def __init__(
        self,
        log: ReplicatedLog,
        machine: DirectoryMachine,
        info: NodeInfo | None = None,
        *,
        incarnation: int = 0,
        lease_duration: float = 15.0,
        tick_interval: float = 1.0,
        placement: Placement | None = None,
        seeds: Mapping[NodeId, str] | None = None,
        request_timeout: float = 10.0,
        grace: float = 0.0,
        on_lease_lost: Callable[[float], None] | None = None,
    ) -> None:
        least, most = SHORTEST_LEASE_MS / 1000, LONGEST_LEASE_MS / 1000
        if not least <= lease_duration <= most:
            raise ConfigurationError(f"lease_duration={lease_duration}: must be from {least:g} to {most:g} seconds")
        if not 0 < tick_interval <= LONGEST_TICK_MS / 1000:
            raise ConfigurationError(
                f"tick_interval={tick_interval}: must be above 0, up to {LONGEST_TICK_MS / 1000:g} s"
            )
        if not 0 <= grace < lease_duration * (1 - _CLOCK_DRIFT):
            raise ConfigurationError(f"grace={grace}: must be less than the lease of {lease_duration:g} seconds")
        self.machine = machine
        self.on_lease_lost = on_lease_lost
        #: Why this node is registered no more and never again; None while it is or may be.
        self.failure: NodeSuperseded | None = None
        self._log = log
        self._info = info
        self._incarnation = incarnation
        self._revision = 0
        self._was_registered = False
        self._lease_duration = lease_duration
        self._tick_interval = tick_interval
        self._placement = placement or Placement()
        self._seeds = dict(seeds or {})
        self._request_timeout = request_timeout
        self._grace = grace
        self._lease_ends: float | None = None  # loop time, `grace` before others may act; None = there is none
        self._lease_timer: asyncio.TimerHandle | None = None
        self._renew = asyncio.Event()
        self._registering = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        # Questions for the same actor at the same time share one command; nothing is remembered.
        self._placing = CachingNodeResolver(_Placing(self), ttl=0, negative_ttl=0)

    # ------------------------------------------------------------ life

    async def start(self, info: NodeInfo | None = None, *, incarnation: int | None = None) -> None:
        """Begin to register this node, and to measure time while it leads. Returns at once; see `has_lease`.

        info, incarnation: where they were not known when the directory was made.
        """
        if self._tasks:
            raise ConfigurationError("the directory was started before")
        self._info = self._info if info is None else info
        self._incarnation = self._incarnation if incarnation is None else incarnation
        self._spawn(self._measure_time(), "directory clock")
        if self._info is not None:
            self._spawn(self._stay_registered(), "directory registration")

    async def stop(self, timeout: float = 2.0) -> None:
        """Say that this node hosts nothing any more, for `timeout` seconds at most, and end. Again has no effect."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._placing.close()
            if tasks:
                await self.leave(timeout)
        finally:
            self._end_lease()

    async def leave(self, timeout: float = 2.0) -> None:
        """Say that this node hosts nothing any more, for `timeout` seconds at most: its actors may live elsewhere."""
        info = self._info
        if info is None or info.status is NodeStatus.STOPPED or self.failure is not None:
            return
        try:
            async with asyncio.timeout(timeout):
                await self.set_self(_with_status(info, NodeStatus.STOPPED))
        except (OrbitError, builtins.TimeoutError) as error:
            _log.warning("%s could not be deregistered; its lease runs out by itself: %s", info.id, error)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_report)
        self._tasks.append(task)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # ------------------------------------------------------------ this node

    async def set_self(self, info: NodeInfo) -> None:
        """Register what this node is from now on, and return when the cluster knows it; in good time also a renewal.

        Raises NodeSuperseded, OverloadedError for a node too many, and what `RaftConsensus.propose` raises; the
        registration is then tried again in the background.
        """
        self._take(info)
        try:
            await self._register()
        finally:
            self._renew.set()

    def announce(self, info: NodeInfo) -> None:
        """As `set_self`, without waiting for the cluster."""
        self._take(info)
        self._renew.set()

    def _take(self, info: NodeInfo) -> None:
        if self._info is not None and info.id != self._info.id:
            raise ConfigurationError(f"node {self._info.id} cannot speak for {info.id}")
        if info != self._info:
            self._revision += 1
            self._info = info

    async def _register(self) -> None:
        """Say once what this node is."""
        async with self._registering:
            info = self._info
            if info is None:
                raise ConfigurationError("this directory was made without a node to register")
            if self.failure is not None:
                raise self.failure
            asked = asyncio.get_running_loop().time()
            register = Register(info, self._incarnation, self._revision, int(self._lease_duration * 1000))
            reply = await self._ask(register, timeout=min(self._request_timeout, self._lease_duration * _RENEWAL))
            match reply:
                case Registered() if info.status is NodeStatus.STOPPED:
                    self._end_lease()
                case Registered():
                    self._was_registered = True
                    self._grant(asked)
                case Refused(Refusal.SUPERSEDED, message) if not self._was_registered:
                    self._follow_up(info.id)
                    raise ClusterError(f"{info.id} is registered as a later start than this: {message}", retryable=True)
                case Refused(Refusal.SUPERSEDED, message):
                    self.failure = NodeSuperseded(message)
                    self._lose_lease()
                    raise self.failure
                case Refused(Refusal.FULL, message):
                    raise OverloadedError(f"{info.id} cannot be registered: {message}")
                case _:
                    raise ClusterError(f"{info.id} cannot be registered: {reply}")

    def _follow_up(self, node_id: NodeId) -> None:
        """Incarnations are drawn from clocks, which may have been set back; but this start is the later one."""
        if (record := self.machine.nodes.get(node_id)) is not None:
            self._incarnation = max(self._incarnation, record.incarnation + 1)

    async def _stay_registered(self) -> None:
        """Register again and again. Ends only when another process has taken the node's id."""
        while True:
            self._renew.clear()
            wait = self._lease_duration * _RENEWAL
            try:
                await self._register()
            except NodeSuperseded as error:
                _log.error("%s", error, extra={"code": error.orb_code})
                return
            except OrbitError as error:
                _log.warning("the registration was not renewed: %s", error)
                wait /= 10
            with contextlib.suppress(builtins.TimeoutError):
                async with asyncio.timeout(wait):
                    await self._renew.wait()

    def _grant(self, asked: float) -> None:
        """The cluster believes this node for a lease that began when it was asked for, or later."""
        loop = asyncio.get_running_loop()
        self._end_timer()
        end = asked + self._lease_duration * (1 - _CLOCK_DRIFT) - self._grace
        if end > loop.time():
            self._lease_ends = end
            self._lease_timer = loop.call_at(end, self._lose_lease)

    def _end_timer(self) -> None:
        timer, self._lease_timer = self._lease_timer, None
        if timer is not None:
            timer.cancel()

    def _end_lease(self) -> None:
        self._end_timer()
        self._lease_ends = None

    def _lose_lease(self) -> None:
        if (end := self._lease_ends) is None or self._info is None:
            return
        self._end_lease()
        left = 0.0 if self.failure else max(0.0, end + self._grace - asyncio.get_running_loop().time())
        _log.error("the lease of %s is over: its actors may live elsewhere in %.1f s", self._info.id, left)
        if self.on_lease_lost is not None:
            try:
                self.on_lease_lost(left)
            except Exception:  # noqa: BLE001  (the user's own: said aloud, and the registration goes on)
                _log.exception("on_lease_lost failed")

    @property
    def has_lease(self) -> bool:
        """Whether the cluster surely believes this node at this moment."""
        end = self._lease_ends
        return end is not None and self.failure is None and asyncio.get_running_loop().time() < end

    def epoch_of(self, reference: AddressableReference) -> int | None:
        """The epoch under which this node may act in the actor's name now; None: it may not."""
        placement = self.machine.actors.get(reference)
        info = self._info
        if placement is None or info is None or placement.node_id != info.id or not self.has_lease:
            return None
        record = self.machine.nodes.get(info.id)
        return placement.epoch if record is not None and record.incarnation == self._incarnation else None

    async def release(self, reference: AddressableReference, epoch: int) -> None:
        """The actor does not live here any more. Raises what `RaftConsensus.propose` raises."""
        if self._info is not None:
            await self._ask(Release(reference, self._info.id, epoch))

    # ------------------------------------------------------------ who is where

    def hosts_of(self, addressable_type: str) -> tuple[NodeId, ...]:
        """The ACTIVE nodes that host the type, sorted, as far as this node knows."""
        return self.machine.hosts_of(addressable_type)

    async def resolve_node(self, node_id: NodeId) -> str:
        """The node's endpoint, registered or else that of the seed. Raises NodeNotFound, NotLeader."""
        url = self._url(node_id)
        if url is None:
            await self._log.read(self._request_timeout)
            url = self._url(node_id)
        if url is None:
            raise NodeNotFound(str(node_id))
        return url

    def _url(self, node_id: NodeId) -> str | None:
        record = self.machine.nodes.get(node_id)
        return record.info.url if record is not None else self._seeds.get(node_id)

    async def resolve_addressable(self, addressable: AddressableReference) -> NodeId:
        """The node where the actor lives; one that lives nowhere is given a home.

        Raises AddressableNotFound when no node hosts its type, OverloadedError when none has room, DrainingError when
        this directory is stopped meanwhile, PlacementUnavailable when the cluster does not answer.
        """
        placement = self.machine.actors.get(addressable)
        if placement is not None:
            return placement.node_id
        try:
            return await self._placing.resolve_addressable(addressable)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise DrainingError(f"{addressable}: the directory was stopped before a home was found") from None

    async def _place(self, reference: AddressableReference) -> NodeId:
        try:
            return await self._find_home(reference)
        except (AddressableNotFound, OverloadedError, ParseError):
            raise
        except (ClusterError, NetworkError, TimeoutError, StorageError, InternalError) as error:
            raise PlacementUnavailable(f"{reference} has no home that the cluster agreed on: {error}") from error

    async def _find_home(self, reference: AddressableReference) -> NodeId:
        refused: Refused | None = None
        full: set[NodeId] = set()
        for attempt in range(_ATTEMPTS):
            hosts = [node_id for node_id in self.hosts_of(reference.addressable_type) if node_id not in full]
            home = self._placement.place(reference, hosts)
            if home is None and not attempt:
                await self._log.read(self._request_timeout)
                hosts = list(self.hosts_of(reference.addressable_type))
                home = self._placement.place(reference, hosts)
            if home is None or home in full:
                break
            if home not in hosts:
                return home  # pinned to a node that does not register
            reply = await self._ask(Place(reference, home))
            if isinstance(reply, ActorPlacement):
                return reply.node_id
            if isinstance(reply, Refused):
                refused = reply
                full.add(home)
        if refused is not None:
            raise OverloadedError(f"{reference} has no home: {refused.message}")
        raise AddressableNotFound(str(reference))

    def watch(self, *, max_waiting: int = 1_024) -> Watch:
        """Follow the directory, see `Watch`; what is told has been applied on this node."""
        return Watch(self.machine, max_waiting=max_waiting)

    async def refresh(self) -> None:
        """Return once this node knows all that the cluster had decided before. Raises NotLeader."""
        await self._log.read(self._request_timeout)

    # ------------------------------------------------------------ the log

    async def _ask(self, command: Command, timeout: float | None = None) -> Reply:
        """Let the cluster decide. Every command but `Tick` may come twice and has the same effect."""
        limit = self._request_timeout if timeout is None else timeout
        data = encode_command(command)
        deadline = asyncio.get_running_loop().time() + limit
        while True:
            try:
                reply = decode_reply(await self._log.propose(data, timeout=limit, kind=LiteKind.DIRECTORY))
            except OrbitError as error:
                limit = deadline - asyncio.get_running_loop().time()
                if isinstance(command, Tick) or not error.retryable or limit <= _PAUSE:
                    raise
                await asyncio.sleep(_PAUSE)
                continue
            if isinstance(reply, Refused) and reply.reason is Refusal.MALFORMED:
                raise ParseError(f"the directory does not take {command}: {reply.message}")
            return reply

    async def _measure_time(self) -> None:
        """While this node leads, tell the cluster how time passes."""
        loop = asyncio.get_running_loop()
        measured: tuple[int, float] | None = None  # the term, and when its last tick was
        while True:
            await asyncio.sleep(self._tick_interval)
            if not self._log.is_leader():
                continue
            term, now = self._log.get_current_term(), loop.time()
            began = measured[1] if measured is not None and measured[0] == term else now
            measured = term, now
            try:
                await self._ask(Tick(term, int((now - began) * 1000)), timeout=self._request_timeout)
            except OrbitError as error:
                _log.debug("the cluster's clock stood still for a tick: %s", error)

    def __repr__(self) -> str:
        name = self._info.id if self._info is not None else "an asker"
        return f"<ReplicatedDirectory of {name}, {'with' if self._lease_ends else 'without'} lease, {self.machine!r}>"


class _Placing:
    """NodeResolver: the part of the look-up of an actor that takes a command."""

    def __init__(self, directory: ReplicatedDirectory) -> None:
        self._directory = directory

    async def resolve_node(self, node_id: NodeId) -> str:
        return await self._directory.resolve_node(node_id)

    async def resolve_addressable(self, addressable: AddressableReference) -> NodeId:
        return await self._directory._place(addressable)


def _with_status(info: NodeInfo, status: NodeStatus) -> NodeInfo:
    return NodeInfo(info.id, info.url, info.port, info.capabilities, status)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s failed", task.get_name(), exc_info=error)
