"""NodeConfig: everything that can be set on a node; and where the values come from.

A value is looked for on the command line, then in the environment, then in the file, then among variables that other
programs set (`NODE_ID`, `POD_NAME`, `PORT`); else it has its default. Which of them it was is kept beside the value.
"""

from __future__ import annotations

import difflib
import operator
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orbit_lite.actors import ActorConfig
from orbit_lite.errors import ConfigurationError, quote
from orbit_lite.model import Json, NodeId
from orbit_lite.node.settings import LOG_FORMATS, LOG_LEVELS, RAFT_PROFILES, SECTIONS, SETTINGS, Setting
from orbit_lite.node.values import advertised_url, suggestion
from orbit_lite.raft import RaftConfig
from orbit_lite.rpc import PoolConfig, RetryConfig, ServerConfig, TransportConfig

__all__ = ["SEARCH_PATH", "LoadedConfig", "NodeConfig", "Reload", "load_config", "raft_directory", "reloadable"]

#: Where a configuration file is looked for when none is named; the first that exists is read.
SEARCH_PATH: tuple[Path, ...] = (Path("config/orbit-lite.toml"), Path("/etc/orbit/orbit-lite.toml"))


_RAFT_TIMINGS = ("election_timeout_min", "election_timeout_max", "heartbeat_interval")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """Settings of a node. Durations are seconds. Raises ConfigurationError for a value out of range."""

    node_id: NodeId | None = None
    """Who this node is; None = a random key in the namespace "default", new at every start."""

    bind: str = "127.0.0.1"
    """Host or address to listen on. There is no authentication, so all interfaces (0.0.0.0) must be asked for."""

    port: int = 50051
    """Port to listen on; 0 = any free one."""

    advertise: str | None = None
    """`HOST`, `HOST:PORT` or URL under which others reach this node; None = `bind`, or the machine's name if that
    means all interfaces."""

    cluster_id: str = "default"
    """Nodes of another cluster are refused."""

    seed_nodes: Mapping[NodeId, str] = field(default_factory=dict)
    """Nodes to announce ourselves to first, with their endpoints; any one that lives is enough."""

    announce_interval: float = 5.0
    """Time between two announcements to one node."""

    lease_duration: float = 15.0
    """How long others believe an announcement. At least twice `announce_interval`, so that a lost one does no harm."""

    actor_modules: tuple[str, ...] = ()
    """Python modules whose actor classes this node hosts."""

    placement: Mapping[str, NodeId] = field(default_factory=dict)
    """`Type:key` or `Type` → the node where such actors live; the same on all nodes."""

    actors: ActorConfig = field(default_factory=ActorConfig)
    transport: TransportConfig = field(default_factory=TransportConfig)
    retry: RetryConfig = field(default_factory=RetryConfig)
    pool: PoolConfig = field(default_factory=PoolConfig)
    server: ServerConfig = field(default_factory=ServerConfig)

    reflection: bool = True
    """Serve grpc.reflection, which tells anyone what this node serves."""

    log_level: str = "info"
    """debug, info, warning, error or critical."""

    log_format: str = "auto"
    """text, json, or auto: text on a terminal and JSON elsewhere."""

    drain_timeout: float = 30.0
    """Time that a node which is asked to stop gives to work in flight."""

    allow_remote_drain: bool = False
    """Let other machines ask this node to drain and stop."""

    dev_mode: bool = False
    """For work at one's desk: the log level is debug unless it is said."""

    data_dir: Path | None = None
    """Where durable state is kept; None = there is none."""

    raft: bool = False
    """Take part in consensus: this node and its seed nodes found a cluster that replicates its directory."""

    raft_join: bool = False
    """Found nothing, but wait to be added by `orbit-lite raft add`."""

    raft_profile: str = "default"
    """Timings of consensus: default (elections after 1 to 2 s, a heartbeat every 150 ms) or orbit-rs (150 to 300 ms,
    50 ms). The same on all nodes."""

    raft_election_timeout_min: float | None = None
    """Time without a sign of the leader after which a node campaigns, at the earliest; None = the profile's."""

    raft_election_timeout_max: float | None = None
    """The same, at the latest: each wait is drawn anew between both. None = the profile's."""

    raft_heartbeat_interval: float | None = None
    """Time between two signs of the leader, below the election timeout; None = the profile's."""

    def __post_init__(self) -> None:
        _check("port", self.port, int, 0, 65535)
        if not self.bind or any(char.isspace() or char in "/@" for char in self.bind):
            raise ConfigurationError(f"bind={quote(self.bind)!r}: must be a host name or address, without a port")
        if not self.cluster_id or not self.cluster_id.isascii() or not self.cluster_id.isprintable():
            raise ConfigurationError(f"cluster_id={quote(self.cluster_id)!r}: must be printable ASCII")
        _check("announce_interval", self.announce_interval, float, 0.1, 3600.0)
        _check("lease_duration", self.lease_duration, float, 0.2, 86_400.0)
        _check("drain_timeout", self.drain_timeout, float, 0.0, 86_400.0)
        least = 2 * self.announce_interval
        if self.lease_duration < least:
            raise ConfigurationError(
                f"lease_duration={self.lease_duration!r}: must be at least {least:g}, twice announce_interval"
            )
        for name, words in (
            ("log_level", LOG_LEVELS),
            ("log_format", LOG_FORMATS),
            ("raft_profile", RAFT_PROFILES),
        ):
            if getattr(self, name) not in words.values():
                raise ConfigurationError(
                    f"{name}={getattr(self, name)!r}: must be one of {', '.join(dict.fromkeys(words.values()))}"
                )
        if self.raft and (self.data_dir is None or self.node_id is None):
            raise ConfigurationError("raft=True: needs data_dir, for its log, and node_id, which must not change")
        if self.raft_join and not self.raft:
            raise ConfigurationError("raft_join=True: needs raft=True")
        self.raft_config()
        if self.advertise is not None:
            self.advertised_url(port=self.port or 1, hostname="localhost")

    def raft_config(self) -> RaftConfig:
        """The profile's timings, with those that are set instead."""
        profile = RaftConfig.orbit_rs() if self.raft_profile == "orbit-rs" else RaftConfig()
        timings = {name: getattr(self, f"raft_{name}") for name in _RAFT_TIMINGS}
        said = {name: value for name, value in timings.items() if value is not None}
        for name, value in said.items():
            _check(f"raft_{name}", value, float, 0.001, 3600.0)
        try:
            return replace(profile, **said)
        except ConfigurationError as error:
            raise ConfigurationError(f"raft_{error.message}") from error

    def advertised_url(self, *, port: int, hostname: str) -> str:
        """The URL under which others reach the node. port: where it really listens; hostname: the machine's own
        name."""
        return advertised_url(self.advertise, bind=self.bind, port=port, hostname=hostname)


def raft_directory(data_dir: Path) -> Path:
    """Where a node with this `data_dir` keeps the log of consensus."""
    return data_dir / "raft"


def _check(name: str, value: object, kind: type[int] | type[float], low: float, high: float) -> None:
    kinds = int if kind is int else int | float
    if not isinstance(value, kinds) or isinstance(value, bool) or not low <= value <= high:
        what = "a whole number" if kind is int else "seconds"
        raise ConfigurationError(f"{name}={value!r}: must be {what} from {low:g} to {high:g}")


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration and where it comes from.

    origins: key of each setting → `default`, the file, the variable or `option`. path: the file that was read.
    warnings: what looks like a mistake and is none for sure, each one sentence.
    """

    config: NodeConfig
    origins: Mapping[str, str]
    path: Path | None = None
    warnings: tuple[str, ...] = ()

    def rows(self) -> Iterator[tuple[str, Json, str]]:
        """Key, value as it may be written in a file (None: not set), and origin of every setting."""
        for setting in SETTINGS:
            value = _get(self.config, setting)
            shown = setting.kind.none if value is None else setting.kind.show(value)
            yield setting.key, shown, self.origins[setting.key]


def load_config(
    path: Path | str | None = None,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    search: Sequence[Path] = SEARCH_PATH,
) -> LoadedConfig:
    """Put a node's configuration together.

    path: the file to read; None = `ORBIT_CONFIG`, else the first of `search` that exists. overrides: what the command
    line says, by key (`protocols.grpc.port`) or attribute (`port`), as text or as value; None = not said. Raises
    ConfigurationError, which names file, variable or option, key, value, and what is expected.
    """
    if path is None:
        path = environ.get("ORBIT_CONFIG") or next((candidate for candidate in search if candidate.is_file()), None)
    file = None if path is None else Path(path)
    said = _options(overrides or {})
    written = {} if file is None else _flatten(_read_file(file), file)
    found: dict[str, tuple[object, str]] = {}
    for setting in SETTINGS:
        source = _find(setting, said, environ, written, file)
        if source is None:
            continue
        raw, origin = source
        try:
            found[setting.key] = setting.kind.read(raw), origin
        except ValueError as error:
            raise ConfigurationError(f"{origin}: {setting.key} = {_shown(raw)}: expected {error}") from error
    if found.get("server.dev_mode", (False,))[0] and "logging.level" not in found:
        found["logging.level"] = "debug", "server.dev_mode"
    origins = {setting.key: found[setting.key][1] if setting.key in found else "default" for setting in SETTINGS}
    return LoadedConfig(_build(found), origins, file, tuple(_doubtful_variables(environ)))


def _find(
    setting: Setting,
    said: Mapping[str, object],
    environ: Mapping[str, str],
    written: Mapping[str, object],
    file: Path | None,
) -> tuple[object, str] | None:
    if setting.key in said:
        return said[setting.key], "option"
    for variable in setting.env:
        if environ.get(variable):
            return environ[variable], variable
    if setting.key in written:
        return written[setting.key], str(file)
    for variable in setting.fallback_env:
        if environ.get(variable):
            return environ[variable], variable
    return None


def _options(overrides: Mapping[str, object]) -> dict[str, object]:
    names = {name: setting.key for setting in SETTINGS for name in (setting.attribute, setting.key)}
    for name in overrides:
        if name not in names:
            raise ConfigurationError(f"option: unknown setting {name!r}{suggestion(name, names)}")
    return {names[name]: value for name, value in overrides.items() if value is not None}


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: is not UTF-8: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file}: is not TOML: {error}") from error


_KEYS = frozenset(setting.key for setting in SETTINGS)
_TABLES = frozenset(key[:position] for key in _KEYS for position, char in enumerate(key) if char == ".")


def _flatten(table: Mapping[str, object], file: Path, prefix: str = "") -> dict[str, object]:
    """Dotted key → value. Raises ConfigurationError for what is no setting."""
    flat: dict[str, object] = {}
    for name, value in table.items():
        key = prefix + name
        if key in _KEYS:
            flat[key] = value
        elif key not in _TABLES:
            near = (known[len(prefix) :].partition(".")[0] for known in _KEYS if known.startswith(prefix))
            kind = "table" if isinstance(value, dict) else "key"
            hint = suggestion(name, sorted(set(near))) or suggestion(key, _KEYS)
            raise ConfigurationError(f"{file}: unknown {kind} {quote(key)!r}{hint}")
        elif isinstance(value, dict):
            flat.update(_flatten(value, file, key + "."))
        else:
            raise ConfigurationError(f"{file}: {key} = {_shown(value)}: expected a table [{key}]")
    return flat


def _build(found: Mapping[str, tuple[object, str]]) -> NodeConfig:
    """Make the configuration; what a class refuses is told with the key and origin of the field that it names."""
    parts: dict[str, dict[str, object]] = {name: {} for name in ("", *SECTIONS)}
    sources: dict[tuple[str, str], str] = {}
    for setting in SETTINGS:
        section, _, name = setting.attribute.rpartition(".")
        if setting.key in found:
            parts[section][name], origin = found[setting.key]
            sources[section, name] = f"{origin}: {setting.key}"

    def make(section: str, cls: type, **others: object) -> Any:
        try:
            return cls(**parts[section], **others)
        except ConfigurationError as error:
            name, _, rest = error.message.partition("=")
            place = sources.get((section, name)) or _key(f"{section}.{name}".lstrip("."))
            raise ConfigurationError(f"{place} = {rest}") from error

    sections = {name: make(name, cls) for name, cls in SECTIONS.items()}
    config: NodeConfig = make("", NodeConfig, **sections)
    return config


def _key(attribute: str) -> str:
    return next((setting.key for setting in SETTINGS if setting.attribute == attribute), attribute)


#: Variables of our prefix that are no settings of a node.
_OTHER_VARIABLES = frozenset({"ORBIT_CONFIG", "ORBIT_ENDPOINT", "ORBIT_TRACE"})


def _doubtful_variables(environ: Mapping[str, str]) -> Iterator[str]:
    known = _OTHER_VARIABLES | {variable for setting in SETTINGS for variable in setting.env}
    for variable in sorted(environ):
        if variable.startswith("ORBIT_") and variable not in known:
            close = difflib.get_close_matches(variable, known, 1, cutoff=0.85)
            if close:
                yield f"variable {quote(variable)} has no meaning; {close[0]} has"


def _shown(value: object) -> str:
    """A value in a message: as TOML and people write it."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(quote(value)) if isinstance(value, str) else quote(repr(value))


def _get(config: NodeConfig, setting: Setting) -> Any:
    return operator.attrgetter(setting.attribute)(config)


@dataclass(frozen=True, slots=True)
class Reload:
    """Keys of changed settings. applicable: a running node can take the new value. restart: it keeps the old one."""

    applicable: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()


def reloadable(old: NodeConfig, new: NodeConfig) -> Reload:
    """What of a newly read configuration a running node can apply."""
    changed = [setting for setting in SETTINGS if _get(old, setting) != _get(new, setting)]
    return Reload(
        tuple(setting.key for setting in changed if setting.reloadable),
        tuple(setting.key for setting in changed if not setting.reloadable),
    )
