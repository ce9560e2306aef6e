"""The table of all settings: where each stands in the file, in the environment and in NodeConfig.

One row serves loading, `orbit-lite config`, reloading and the documentation's test. The rows of a section that is a
configuration class are made from its fields, so that no field can be forgotten.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass

from orbit_lite.actors import ActorConfig
from orbit_lite.errors import Status
from orbit_lite.node import values
from orbit_lite.node.values import Kind
from orbit_lite.rpc import PoolConfig, RetryConfig, ServerConfig, TransportConfig

__all__ = ["SECTIONS", "SETTINGS", "Setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    key: dotted path in the file. attribute: of NodeConfig, `section.field` for the field of a section. env: variables
    that set it, the first that is set counts. fallback_env: variables of other programs' making, which count less than
    the file. reloadable: a running node can take a new value.
    """

    key: str
    attribute: str
    kind: Kind
    env: tuple[str, ...]
    fallback_env: tuple[str, ...] = ()
    reloadable: bool = False


LOG_LEVELS = {
    "debug": "debug",
    "trace": "debug",  # Orbit-RS has a level below debug
    "info": "info",
    "warning": "warning",
    "warn": "warning",
    "error": "error",
    "critical": "critical",
}
LOG_FORMATS = {name: name for name in ("auto", "text", "json")}
RAFT_PROFILES = {name: name for name in ("default", "orbit-rs")}

#: Attribute of NodeConfig → its class.
SECTIONS: dict[str, type] = {
    "server": ServerConfig,
    "actors": ActorConfig,
    "transport": TransportConfig,
    "retry": RetryConfig,
    "pool": PoolConfig,
}

_KINDS: dict[object, Kind] = {
    bool: values.FLAG,
    int: values.WHOLE,
    float: values.DURATION,
    float | None: values.OPTIONAL_DURATION,
    frozenset[str]: values.NAME_SET,
    frozenset[Status]: values.STATUSES,
}
_KIND_OF_FIELD = {
    "compression": values.optional(values.choice({"gzip": "gzip"})),
    "max_message_size": values.SIZE,
    "retry_backoff_multiplier": values.NUMBER,
    "jitter": values.NUMBER,
    "budget_tokens": values.NUMBER,
    "budget_ratio": values.NUMBER,
}
#: Too detailed for a file: to be set by those who embed a node.
_FOR_PROGRAMS = frozenset({"http2"})
#: Orbit-RS's own variables.
_ORBIT_RS = {
    "transport.max_connections_per_endpoint": "ORBIT_MAX_CONNECTIONS",
    "transport.keep_alive_timeout": "ORBIT_KEEPALIVE_TIMEOUT",
}


def _section(attribute: str, key: str, prefix: str) -> list[Setting]:
    hints = typing.get_type_hints(SECTIONS[attribute])
    settings = []
    for field in dataclasses.fields(SECTIONS[attribute]):
        if field.name in _FOR_PROGRAMS:
            continue
        path = f"{attribute}.{field.name}"
        kind = _KIND_OF_FIELD.get(field.name) or _KINDS[hints[field.name]]
        variables = (f"{prefix}{field.name.upper()}", *filter(None, (_ORBIT_RS.get(path),)))
        settings.append(Setting(f"{key}.{field.name}", path, kind, variables))
    return settings


SETTINGS: tuple[Setting, ...] = (
    Setting("server.node_id", "node_id", values.NODE_ID, ("ORBIT_NODE_ID",), ("NODE_ID", "POD_NAME")),
    Setting("server.bind_address", "bind", values.TEXT, ("ORBIT_BIND",)),
    Setting("server.advertise", "advertise", values.TEXT, ("ORBIT_ADVERTISE",)),
    Setting("server.data_dir", "data_dir", values.PATH, ("ORBIT_DATA_DIR",)),
    Setting("server.dev_mode", "dev_mode", values.FLAG, ("ORBIT_DEV_MODE",)),
    Setting("protocols.grpc.port", "port", values.WHOLE, ("ORBIT_GRPC_PORT",), ("PORT",)),
    Setting("protocols.grpc.reflection", "reflection", values.FLAG, ("ORBIT_GRPC_REFLECTION",)),
    *_section("server", "protocols.grpc", "ORBIT_GRPC_"),
    Setting("actor_system.modules", "actor_modules", values.NAMES, ("ORBIT_ACTOR_MODULES",)),
    *_section("actors", "actor_system", "ORBIT_ACTOR_"),
    Setting("actor_system.placement", "placement", values.PLACEMENT, ()),
    Setting("cluster.id", "cluster_id", values.TEXT, ("ORBIT_CLUSTER_ID",)),
    Setting("cluster.seed_nodes", "seed_nodes", values.SEEDS, ("ORBIT_SEED_NODES",), reloadable=True),
    Setting("cluster.announce_interval", "announce_interval", values.DURATION, ("ORBIT_ANNOUNCE_INTERVAL",)),
    Setting("cluster.lease_duration", "lease_duration", values.DURATION, ("ORBIT_LEASE_DURATION",)),
    Setting("raft.enabled", "raft", values.FLAG, ("ORBIT_RAFT",)),
    Setting("raft.join", "raft_join", values.FLAG, ("ORBIT_RAFT_JOIN",)),
    Setting("raft.profile", "raft_profile", values.choice(RAFT_PROFILES), ("ORBIT_RAFT_PROFILE",)),
    Setting(
        "raft.election_timeout_min",
        "raft_election_timeout_min",
        values.DURATION,
        ("ORBIT_RAFT_ELECTION_TIMEOUT_MIN", "ORBIT_ELECTION_TIMEOUT_MIN"),  # the latter is Orbit-RS's
    ),
    Setting(
        "raft.election_timeout_max",
        "raft_election_timeout_max",
        values.DURATION,
        ("ORBIT_RAFT_ELECTION_TIMEOUT_MAX", "ORBIT_ELECTION_TIMEOUT_MAX"),
    ),
    Setting("raft.heartbeat_interval", "raft_heartbeat_interval", values.DURATION, ("ORBIT_RAFT_HEARTBEAT_INTERVAL",)),
    *_section("transport", "transport", "ORBIT_TRANSPORT_"),
    *_section("retry", "retry", "ORBIT_RETRY_"),
    *_section("pool", "pool", "ORBIT_POOL_"),
    Setting("logging.level", "log_level", values.choice(LOG_LEVELS), ("ORBIT_LOG_LEVEL",), reloadable=True),
    Setting("logging.format", "log_format", values.choice(LOG_FORMATS), ("ORBIT_LOG_FORMAT",)),
    Setting("drain.timeout", "drain_timeout", values.DURATION, ("ORBIT_DRAIN_TIMEOUT",)),
    Setting("drain.allow_remote", "allow_remote_drain", values.FLAG, ("ORBIT_DRAIN_ALLOW_REMOTE",)),
)
