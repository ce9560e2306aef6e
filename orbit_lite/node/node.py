"""OrbitNode: the one place where the parts become a running member of a cluster.

It owns every socket, task and service, starts them in the order of their dependence, and ends them in the order of
`drain.STEPS`. What the parts decide, they decide elsewhere; here is only who is given to whom.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import enum
import errno
import importlib
import logging
import secrets
import socket
import string
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from orbit_lite.actors import ActorRef, ActorRegistry, ActorSystem, Placement, actor_type_of
from orbit_lite.directory import Membership, ReplicatedDirectory
from orbit_lite.errors import ClusterError, ConfigurationError, IoError, OrbitError, quote
from orbit_lite.model import Key, NodeCapabilities, NodeId, NodeInfo, NodeStatus
from orbit_lite.node.administration import Administration
from orbit_lite.node.announce import Announcer
from orbit_lite.node.config import NodeConfig, Reload, reloadable
from orbit_lite.node.consensus import NodeConsensus
from orbit_lite.node.counting import CountedInvocations, method_reports
from orbit_lite.node.drain import STEPS, DrainReport, DrainStep, StepResult, share
from orbit_lite.node.homes import HomeWatch
from orbit_lite.node.signals import Signals
from orbit_lite.raft import RaftConsensus, StateMachine
from orbit_lite.rpc import CallContext, ConnectionPool, Server
from orbit_lite.services import (
    Announcement,
    GrpcHealthService,
    GrpcTransactionMessageSender,
    HealthState,
    MethodReport,
    NodeAdminService,
    OrbitConnectionService,
    OrbitHealthService,
    OrbitTransactionService,
    PeerStreams,
    ServingStatus,
    reflection_services,
)
from orbit_lite.telemetry.logs import change_level

__all__ = ["NodeState", "OrbitNode"]

_log = logging.getLogger(__name__)

_ActorClass = TypeVar("_ActorClass", bound=type)

_KEY_ALPHABET = string.ascii_letters + string.digits
_KEY_LENGTH = 16  # as Orbit-RS draws them

#: Metadata in which nodes say which cluster they are of.
CLUSTER_METADATA = "orbit-cluster"

#: Seconds that a stopping node spends on telling its peers.
_FAREWELL = 0.5


class NodeState(enum.Enum):
    """Life of a node, in this order, never back."""

    NEW = "new"
    STARTING = "starting"
    ACTIVE = "active"
    DRAINING = "draining"
    STOPPED = "stopped"


_STATUS = {
    NodeState.NEW: NodeStatus.STOPPED,
    NodeState.STARTING: NodeStatus.STOPPED,
    NodeState.ACTIVE: NodeStatus.ACTIVE,
    NodeState.DRAINING: NodeStatus.DRAINING,
    NodeState.STOPPED: NodeStatus.STOPPED,
}


class OrbitNode:
    """A member of a cluster: hosts actors, serves peers and clients, takes part in transactions.

    config: everything that can be set; keyword arguments replace single fields of it, as in `OrbitNode(port=0)`.
    Register actor classes, then `await start()` (or `async with`), and use `actor(type, key)` to reach any actor of the
    cluster. `serve_forever` is for a program that is nothing but a node.
    """

    def __init__(
        self, config: NodeConfig | None = None, *, state_machine: StateMachine | None = None, **overrides: Any
    ) -> None:
        """state_machine: what the cluster replicates beside its directory, with `raft=True`; see `consensus`."""
        try:
            self.config = dataclasses.replace(config or NodeConfig(), **overrides)
        except TypeError as error:
            raise ConfigurationError(f"OrbitNode: {error}") from error
        config = self.config
        self.node_id = config.node_id or NodeId("".join(secrets.choice(_KEY_ALPHABET) for _ in range(_KEY_LENGTH)))
        self.state = NodeState.NEW
        self.incarnation = time.time_ns() // 1_000_000
        self.started_at = time.monotonic()
        self.registry = ActorRegistry()
        self.health = HealthState()
        self.transactions = OrbitTransactionService(self.node_id, key_kinds=self.registry.key_kind)
        placement = Placement(config.placement)
        self.membership = Membership(
            self.node_id, lease_duration=config.lease_duration, placement=placement, seeds=config.seed_nodes
        )
        self.pool = ConnectionPool(
            config.transport,
            retry=config.retry,
            pool=config.pool,
            metadata={CLUSTER_METADATA: config.cluster_id},
        )
        self._consensus = NodeConsensus(self.node_id, config, state_machine) if config.raft else None
        who_is_where = self.membership if self._consensus is None else self._consensus.directory
        self.peers = PeerStreams(self.node_id, who_is_where, self.pool)
        self.actors = ActorSystem(
            self.node_id,
            registry=self.registry,
            invoker=self.peers,
            hosts=who_is_where,
            placement=placement,
            homes=self.directory,
            config=config.actors,
        )
        self.sender = GrpcTransactionMessageSender(self.node_id, who_is_where, config.transport, pool=self.pool)
        self.server: Server | None = None
        self._homes = None if self.directory is None else HomeWatch(self.directory, self.actors, self.peers)
        self._invocations = CountedInvocations(self.actors)
        self._connections = OrbitConnectionService(self.node_id, self._invocations, relay=self.peers)
        self._announcer = Announcer(self.announcement, self.membership, self.pool, interval=config.announce_interval)
        self._url = ""
        self._port = 0
        self._draining: asyncio.Task[DrainReport] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._stop_requested = asyncio.Event()

    # ------------------------------------------------------------ what it hosts and how it is reached

    def register(self, cls: _ActorClass) -> _ActorClass:
        """Host an actor class that `@actor` decorates; usable as a decorator itself. Peers learn of it at once."""
        self.registry.register(cls)
        if self.state is NodeState.ACTIVE:
            self._tell_membership()
        return cls

    def actor(self, addressable_type: str, key: Key | str | int | None = None) -> ActorRef:
        """A reference to any actor of the cluster, see `Key.of` for plain keys."""
        return self.actors.ref(addressable_type, key)

    @property
    def url(self) -> str:
        """Where others reach the node, `http://host:port`; empty before `start`."""
        return self._url

    @property
    def port(self) -> int:
        """The port that is bound, 0 before `start`."""
        return self._port

    @property
    def info(self) -> NodeInfo:
        """What the node says of itself now."""
        capabilities = NodeCapabilities(self.registry.types, self.config.actors.max_addressables)
        return NodeInfo(self.node_id, self._url, self._port, capabilities, _STATUS[self.state])

    @property
    def consensus(self) -> RaftConsensus:
        """The replicated log. Raises ConfigurationError for a node without `raft=True`."""
        if self._consensus is None:
            raise ConfigurationError("this node takes no part in consensus: it needs raft=True")
        return self._consensus.consensus

    @property
    def directory(self) -> ReplicatedDirectory | None:
        """Where actors live, for a node that takes part in consensus; else every node finds that out for itself."""
        return None if self._consensus is None else self._consensus.directory

    @property
    def in_flight(self) -> int:
        """Invocations and unary calls that run now."""
        return self.actors.in_flight + self._connections.in_flight

    def announcement(self) -> Announcement:
        """What peers are told."""
        return Announcement(self.info, self.config.cluster_id, self.incarnation)

    def peer_joined(self, info: NodeInfo) -> None:
        """A node announced itself to us: from now on we announce ourselves to it, too."""
        _log.info("node %s joined at %s", info.id, quote(info.url), extra={"node": str(info.id)})
        self._announcer.add(info.url)

    def method_reports(self) -> tuple[MethodReport, ...]:
        """What was served so far, by method."""
        return method_reports(self.server, self._invocations)

    # ------------------------------------------------------------ start

    async def start(self) -> None:
        """Bind the port, serve, announce to peers. Returns when the node answers.

        Raises IoError when the address cannot be bound, ConfigurationError for actor modules that cannot be loaded.
        """
        if self.state is not NodeState.NEW:
            raise ConfigurationError(f"node {self.node_id} is {self.state.value}: a node starts once, make a new one")
        self.state = NodeState.STARTING
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise
        _log.info("node %s serves at %s", self.node_id, self._url, extra={"node": str(self.node_id)})

    async def _start(self) -> None:
        for module in self.config.actor_modules:
            self._load(module)
        services = self._services()
        self.server = Server(services, config=self.config.server, guard=self._refuse_strangers)
        listener = _bind(self.config.bind, self.config.port)
        try:
            self._port = listener.getsockname()[1]
            self._url = self.config.advertised_url(port=self._port, hostname=socket.gethostname())
            await self.actors.start()
            await self.server.start(sock=listener)
        except BaseException:
            listener.close()
            raise
        self.pool.start_background_tasks()
        self.state = NodeState.ACTIVE
        if self._consensus is not None:
            await self._consensus.start(self.info, self.incarnation)
        if self._homes is not None:
            self._homes.start()
        self._tell_membership()
        self._announcer.start(self.config.seed_nodes.values())
        for service in ("", *_service_names(services)):
            self.health.set(service, ServingStatus.SERVING)

    def _services(self) -> list[Any]:
        services: list[Any] = [
            self._connections,
            OrbitHealthService(self.health),
            GrpcHealthService(self.health),
            self.transactions,
            NodeAdminService(Administration(self), allow_remote=self.config.allow_remote_drain),
        ]
        if self._consensus is not None:
            services += self._consensus.services()
        if self.config.reflection:
            services += reflection_services(_service_names(services))
        return services

    def _load(self, module: str) -> None:
        """Import a module that the operator named, and register the actor classes in it."""
        try:
            loaded = importlib.import_module(module)
        except ImportError as error:
            raise ConfigurationError(f"actor module {module!r} cannot be imported: {error}") from error
        classes = [value for value in vars(loaded).values() if actor_type_of(value) is not None]
        if not classes:
            raise ConfigurationError(f"actor module {module!r} has no actor: decorate a class with @actor(NAME)")
        for cls in classes:
            self.registry.register(cls)

    def _refuse_strangers(self, call: CallContext) -> None:
        """Nodes say which cluster they are of; clients and Orbit-RS nodes say nothing, and are served."""
        theirs = call.metadata.get(CLUSTER_METADATA)
        if theirs is not None and theirs != self.config.cluster_id:
            raise ClusterError(f"the caller is of cluster {quote(str(theirs))!r}, this is {self.config.cluster_id!r}")

    def _tell_membership(self) -> None:
        self.membership.set_self(self.info, incarnation=self.incarnation)
        if self.directory is not None and self.state is not NodeState.STOPPED:
            self.directory.announce(self.info)  # that it has stopped is said when its actors are gone

    # ------------------------------------------------------------ drain and stop

    async def drain(self, timeout: float | None = None, *, asked_by_call: bool = False) -> DrainReport:
        """Take no new work and finish what runs; see `drain.STEPS`. A second call waits for the first one's end.

        timeout: seconds; None = the configuration's. asked_by_call: the caller is an RPC of this node, which must not
        wait for itself: the listener stays open then, until `stop`.
        """
        if self.state not in (NodeState.ACTIVE, NodeState.DRAINING):
            return DrainReport()
        if self._draining is None:
            limit = self.config.drain_timeout if timeout is None else timeout
            work = self._drain(limit, close_calls=not asked_by_call)
            self._draining = asyncio.get_running_loop().create_task(work, name="drain", context=contextvars.Context())
        return await asyncio.shield(self._draining)

    async def _drain(self, limit: float, *, close_calls: bool) -> DrainReport:
        _log.info("node %s drains, %g s at most", self.node_id, limit, extra={"node": str(self.node_id)})
        self.state = NodeState.DRAINING
        self._tell_membership()
        deadline = time.monotonic() + limit
        work: dict[DrainStep, Callable[[float], Awaitable[tuple[int, int]]]] = {
            DrainStep.HEALTH: self._drain_health,
            DrainStep.ANNOUNCE: self._drain_announce,
            DrainStep.STREAMS: self._drain_streams,
            DrainStep.ACTORS: self._drain_actors,
            DrainStep.CALLS: self._drain_calls,
        }
        finished = cancelled = 0
        results = []
        for step, fraction in STEPS:
            if step is DrainStep.CALLS and not close_calls:
                continue
            began = time.monotonic()
            problem = ""
            try:
                ended, cut = await work[step](share(fraction, now=began, deadline=deadline))
                finished, cancelled = finished + ended, cancelled + cut
            except OrbitError as error:
                problem = str(error)
                _log.warning("drain: step %s failed: %s", step.value, error)
            results.append(StepResult(step, time.monotonic() - began, not problem, problem))
        report = DrainReport(finished, cancelled, tuple(results))
        _log.info("node %s drained: %d calls finished, %d cancelled", self.node_id, finished, cancelled)
        return report

    async def _drain_health(self, limit: float) -> tuple[int, int]:
        self.health.drain()
        self.transactions.is_serving = False
        return 0, 0

    async def _drain_announce(self, limit: float) -> tuple[int, int]:
        await self._announcer.announce_now(limit)
        return 0, 0

    async def _drain_streams(self, limit: float) -> tuple[int, int]:
        running = self._connections.in_flight
        cut = await self._connections.drain(limit)
        return max(0, running - cut), cut

    async def _drain_actors(self, limit: float) -> tuple[int, int]:
        drained = await self.actors.drain(limit)
        if self.directory is not None:
            await self.directory.leave()
        return drained.finished, drained.cancelled

    async def _drain_calls(self, limit: float) -> tuple[int, int]:
        self.health.close()  # ends Watch streams, which would never end by themselves
        if self._consensus is not None:
            await self._consensus.hand_over()  # a leader that cannot be reached would still be believed
        if self.server is None:
            return 0, 0
        drained = await self.server.drain(limit)
        return drained.finished, drained.cancelled

    async def stop(self) -> None:
        """End everything now: what still runs is cancelled. For a graceful end `drain` first. Again has no effect."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._close(), name="stop")
        await asyncio.shield(self._stopping)

    def request_stop(self) -> None:
        """Let `serve_forever` return soon; what asked for it may still be answered."""
        self._stop_requested.set()

    async def _close(self) -> None:
        was_active = self.state in (NodeState.ACTIVE, NodeState.DRAINING)
        self.state = NodeState.STOPPED
        if self._draining is not None:
            self._draining.cancel()
            await asyncio.gather(self._draining, return_exceptions=True)
        async with AsyncExitStack() as steps:  # the last one first, and each whatever becomes of the others
            steps.push_async_callback(self.pool.close)
            steps.push_async_callback(self.sender.close)
            if self.server is not None:
                steps.push_async_callback(self.server.wait_closed)
                steps.callback(self.server.close)
            if self._consensus is not None:
                steps.push_async_callback(self._consensus.stop)
            steps.push_async_callback(self.peers.close)
            if self._homes is not None:
                steps.push_async_callback(self._homes.close)
            steps.push_async_callback(self.actors.close)
            steps.push_async_callback(self._connections.drain, 0.0)
            steps.callback(self.health.close)
            steps.push_async_callback(self._announcer.close)
            if was_active:
                self._tell_membership()
                await self._announcer.announce_now(_FAREWELL)
        self._stop_requested.set()
        _log.info("node %s stopped", self.node_id, extra={"node": str(self.node_id)})

    async def __aenter__(self) -> Self:
        if self.state is NodeState.NEW:
            await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # ------------------------------------------------------------ a program that is nothing but a node

    async def serve_forever(
        self, reload: Callable[[], NodeConfig] | None = None, *, on_ready: Callable[[], None] | None = None
    ) -> None:
        """Serve until SIGTERM or ctrl-C, which drain and stop the node (a second one: at once), or an operator's stop.

        reload: reads the configuration anew on SIGHUP; log level and seed nodes are applied. on_ready: called once the
        node serves and signals are handled, since who hears of it may send one at once. Where the platform or the
        thread has no signal handlers, cancelling this stops the node.
        """
        await self.__aenter__()
        try:
            with Signals(self, reload):
                if on_ready is not None:
                    on_ready()
                await self._stop_requested.wait()
            if self.state is NodeState.DRAINING and self._draining is not None and not self._draining.done():
                _log.warning("node %s stops before it has drained", self.node_id)
            await asyncio.sleep(0)
        finally:
            await self.stop()

    def apply(self, new: NodeConfig) -> Reload:
        """Take over what of a newly read configuration can change while the node runs; says what could not."""
        changes = reloadable(self.config, new)
        change_level(new.log_level)
        self.membership.set_seeds(new.seed_nodes)
        for endpoint in new.seed_nodes.values():
            self._announcer.add(endpoint)
        self.config = dataclasses.replace(self.config, log_level=new.log_level, seed_nodes=new.seed_nodes)
        _log.info(
            "configuration read anew: applied %s; needs a restart: %s",
            ", ".join(changes.applicable) or "nothing",
            ", ".join(changes.restart) or "nothing",
        )
        return changes

    def __repr__(self) -> str:
        return f"<OrbitNode {self.node_id} {self.state.value} at {self._url or 'no address'}, {self.actors!r}>"


def _bind(host: str, port: int) -> socket.socket:
    """A bound socket, so that the port is known before anything is served on it. Raises IoError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address, family=family, backlog=1024)
    except OSError as error:
        hint = "; another process has it, choose a port with --grpc-port" if error.errno == errno.EADDRINUSE else ""
        raise IoError(f"cannot listen on {host}:{port}: {error.strerror or error}{hint}") from error


def _service_names(services: Iterable[Any]) -> list[str]:
    """Full names of the services behind handlers, in order."""
    paths = (path for service in services for path in service.__mapping__())
    return list(dict.fromkeys(path.split("/")[1] for path in paths))
