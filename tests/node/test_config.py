from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from orbit_lite.errors import ConfigurationError
from orbit_lite.model import NodeId
from orbit_lite.node import LoadedConfig, NodeConfig, load_config, reloadable
from orbit_lite.raft import RaftConfig
from orbit_lite.rpc import ServerConfig, TransportConfig

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "orbit-lite.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def load(path: Path | str | None = None, said: Mapping[str, object] | None = None, /, **environ: str) -> LoadedConfig:
    return load_config(path, environ=environ, overrides=said, search=())


# ---------------------------------------------------------------- where values come from


def test_without_anything_there_are_the_defaults() -> None:
    loaded = load()
    assert loaded.config == NodeConfig()
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.path is None
    assert loaded.warnings == ()


def test_an_option_counts_more_than_a_variable_and_that_more_than_the_file(write: Write) -> None:
    path = write("[protocols.grpc]\nport = 1\n[logging]\nlevel = 'error'\nformat = 'text'\n")
    loaded = load(path, {"port": 3}, ORBIT_GRPC_PORT="2", ORBIT_LOG_LEVEL="debug")
    assert (loaded.config.port, loaded.config.log_level, loaded.config.log_format) == (3, "debug", "text")
    assert loaded.origins["protocols.grpc.port"] == "option"
    assert loaded.origins["logging.level"] == "ORBIT_LOG_LEVEL"
    assert loaded.origins["logging.format"] == str(path)
    assert loaded.origins["cluster.id"] == "default"


@pytest.mark.parametrize(("variable", "name"), [("NODE_ID", "a"), ("POD_NAME", "a")])
def test_variables_of_others_count_less_than_the_file(write: Write, variable: str, name: str) -> None:
    assert load(**{variable: name}).config.node_id == NodeId(name)
    loaded = load(write("[server]\nnode_id = 'from-file'\n"), **{variable: name})
    assert loaded.config.node_id == NodeId("from-file")


def test_of_several_variables_the_first_counts() -> None:
    loaded = load(POD_NAME="pod", NODE_ID="node", PORT="8080")
    assert (loaded.config.node_id, loaded.origins["server.node_id"]) == (NodeId("node"), "NODE_ID")
    assert (loaded.config.port, loaded.origins["protocols.grpc.port"]) == (8080, "PORT")


def test_an_empty_variable_is_not_set() -> None:
    assert load(ORBIT_GRPC_PORT="", ORBIT_CONFIG="", POD_NAME="").config == NodeConfig()


def test_variables_of_orbit_rs_mean_the_same() -> None:
    transport = load(ORBIT_MAX_CONNECTIONS="3", ORBIT_KEEPALIVE_TIMEOUT="7").config.transport
    assert (transport.max_connections_per_endpoint, transport.keep_alive_timeout) == (3, 7.0)


def test_the_timings_of_consensus_are_a_profile_and_what_is_set_besides() -> None:
    assert load().config.raft_config() == RaftConfig()
    assert load(ORBIT_RAFT_PROFILE="orbit-rs").config.raft_config() == RaftConfig.orbit_rs()
    timings = load(ORBIT_ELECTION_TIMEOUT_MIN="400ms", ORBIT_RAFT_HEARTBEAT_INTERVAL="0.1").config.raft_config()
    assert timings == RaftConfig(election_timeout_min=0.4, heartbeat_interval=0.1)
    with pytest.raises(ConfigurationError, match=r"^raft.heartbeat_interval = 0.15: must be .*_timeout_min=0.1"):
        load(ORBIT_ELECTION_TIMEOUT_MIN="100ms")


def test_options_may_be_said_by_key_or_attribute_as_text_or_value() -> None:
    either: tuple[Mapping[str, object], ...] = (
        {"port": "7", "transport.connect_timeout": "2s"},
        {"protocols.grpc.port": 7, "transport.connect_timeout": 2.0},
    )
    for overrides in either:
        config = load(None, overrides).config
        assert (config.port, config.transport.connect_timeout) == (7, 2.0)


def test_an_option_that_is_none_was_not_said() -> None:
    assert load(None, {"port": None}, ORBIT_GRPC_PORT="2").config.port == 2


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^option: unknown setting 'prot' \(did you mean port\?\)$"):
        load(None, {"prot": 1})


# ---------------------------------------------------------------- the file

WHOLE_FILE = """
[server]
node_id = "bank:node-1"
bind_address = "0.0.0.0"
advertise = "node-1.example.org"
data_dir = "/var/lib/orbit"

[protocols.grpc]
port = 50052
max_concurrent_streams = 10
max_message_size = "4MiB"
reflection = false

[actor_system]
modules = ["shop.accounts"]
idle_timeout = "off"
mailbox_size = 5

[actor_system.placement]
Clock = "bank:node-1"
"Account:vault" = "bank:node-2"

[cluster]
id = "shop"
seed_nodes = ["bank:node-2@http://node-2:50051"]
announce_interval = "1s"
lease_duration = 4

[transport]
keep_alive_interval = "off"

[retry]
idempotent_methods = ["/a.B/C"]

[pool]
max_age = "2h"

[drain]
timeout = "10s"
allow_remote = true
"""


def test_a_file_sets_what_it_says(write: Write) -> None:
    config = load(write(WHOLE_FILE)).config
    assert config.node_id == NodeId("node-1", "bank")
    assert (config.port, config.reflection, config.data_dir) == (50052, False, Path("/var/lib/orbit"))
    assert config.advertised_url(port=50052, hostname="x") == "http://node-1.example.org:50052"
    assert config.server == ServerConfig(max_concurrent_streams=10, max_message_size=4 << 20)
    assert config.actor_modules == ("shop.accounts",)
    assert (config.actors.idle_timeout, config.actors.mailbox_size) == (None, 5)
    assert config.placement == {"Clock": NodeId("node-1", "bank"), "Account:vault": NodeId("node-2", "bank")}
    assert config.seed_nodes == {NodeId("node-2", "bank"): "http://node-2:50051"}
    assert (config.cluster_id, config.announce_interval, config.lease_duration) == ("shop", 1.0, 4.0)
    assert config.transport == TransportConfig(keep_alive_interval=None)
    assert config.retry.idempotent_methods == {"/a.B/C"}
    assert config.pool.max_age == 7200.0
    assert (config.drain_timeout, config.allow_remote_drain) == (10.0, True)


def test_what_is_printed_can_be_read_as_options_again(write: Write) -> None:
    loaded = load(write(WHOLE_FILE))
    said = {key: value for key, value, _ in loaded.rows() if value is not None}
    assert load(None, said).config == loaded.config


def test_the_rows_name_every_setting_with_value_and_origin(write: Write) -> None:
    path = write("[transport]\nkeep_alive_interval = 'off'\n")
    rows = {key: (value, origin) for key, value, origin in load(path, ORBIT_SEED_NODES="http://h:1").rows()}
    assert rows["transport.keep_alive_interval"] == ("off", str(path))
    assert rows["cluster.seed_nodes"] == (["http://h:1"], "ORBIT_SEED_NODES")
    assert rows["server.node_id"] == (None, "default")
    assert rows["actor_system.idle_timeout"] == ("5m", "default")


def test_a_file_is_found_where_one_is_looked_for(write: Write, tmp_path: Path) -> None:
    path = write("[cluster]\nid = 'found'\n")
    loaded = load_config(environ={}, search=(tmp_path / "absent.toml", path))
    assert (loaded.config.cluster_id, loaded.path) == ("found", path)


def test_a_variable_may_name_the_file_and_the_command_line_another(write: Write, tmp_path: Path) -> None:
    path = write("[cluster]\nid = 'named'\n")
    assert load(ORBIT_CONFIG=str(path)).config.cluster_id == "named"
    assert load(str(path), ORBIT_CONFIG=str(tmp_path / "absent.toml")).config.cluster_id == "named"


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(ConfigurationError, match=f"^{path}: cannot be read: "):
            load(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server", "is not TOML: "),
        ("[server]\nnode_idd = 'x'\n", r"unknown key 'server.node_idd' \(did you mean node_id\?\)"),
        ("[protocol.grpc]\nport = 1\n", r"unknown table 'protocol' \(did you mean protocols\?\)"),
        ("[protocols.grcp]\nport = 1\n", r"unknown table 'protocols.grcp' \(did you mean grpc\?\)"),
        ("[transport]\nport = 1\n", "unknown key 'transport.port'"),
        ("frobnicate = 1\n", "unknown key 'frobnicate'$"),
        ("server = 1\n", r"server = 1: expected a table \[server\]"),
        ("[protocols.grpc]\nport = 'x'\n", "protocols.grpc.port = 'x': expected a whole number"),
        ("[protocols.grpc]\nport = 70000\n", "protocols.grpc.port = 70000: must be a whole number from 0 to 65535"),
        ("[protocols.grpc]\nreflection = 1\n", "protocols.grpc.reflection = 1: expected true or false"),
        ("[protocols.grpc]\nmax_message_size = -1\n", "protocols.grpc.max_message_size = -1: must be a whole number"),
        ("[cluster]\nlease_duration = 6\n", "cluster.lease_duration = 6.0: must be at least 10, twice announce_inter"),
        ("[cluster]\nannounce_interval = nan\n", "cluster.announce_interval = nan: must be seconds from 0.1"),
        ("[raft]\nprofile = 'fast'\n", "raft.profile = 'fast': expected one of default, orbit-rs"),
        ("[raft]\nelection_timeout_max = nan\n", "raft.election_timeout_max = nan: must be seconds from 0.001"),
        (
            "[raft]\nelection_timeout_max = 0.5\n",
            "raft.election_timeout_max = 0.5: must be at least election_timeout",
        ),
        ("[raft]\nheartbeat_interval = '1s'\n", "raft.heartbeat_interval = 1.0: must be above 0 and below election_"),
        ("[cluster]\nid = 'é'\n", "cluster.id = 'é': must be printable ASCII"),
        ("[server]\nbind_address = 'a:1 b'\n", "server.bind_address = 'a:1 b': must be a host name"),
        ("[server]\nadvertise = '0.0.0.0'\n", "server.advertise = '0.0.0.0': others cannot call this address"),
        ("[transport]\nconnect_timeout = true\n", "transport.connect_timeout = true: expected seconds"),
        ("[transport]\nretry_attempts = 1000\n", "transport.retry_attempts = 1000: must be"),
        ("[actor_system]\nidle_timeout = -5\n", "actor_system.idle_timeout = -5.0: must be"),
        ("[actor_system.placement]\n'A:b' = 5\n", "actor_system.placement = .*: expected KEY or NAMESPACE:KEY"),
        ("[logging]\nlevel = 'loud'\n", "logging.level = 'loud': expected one of debug, info, warning"),
        ("[retry]\nretryable_codes = ['OK']\n", "retry.retryable_codes = 'OK': must be statuses of failures"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_file_key_and_value(write: Write, text: str, problem: str) -> None:
    path = write(text)
    with pytest.raises(ConfigurationError, match=f"^{path}: {problem}"):
        load(path)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes("[cluster]\nid = 'é'\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        load(path)


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("ORBIT_GRPC_PORT", "http", "protocols.grpc.port = 'http': expected a whole number"),
        ("ORBIT_GRPC_PORT", "-1", "protocols.grpc.port = -1: must be"),
        ("PORT", "x\ny", r"protocols.grpc.port = 'x\\\\ny': expected"),
        ("ORBIT_SEED_NODES", "a@http://h:1,b@", "cluster.seed_nodes = .*: expected seeds such as"),
        ("ORBIT_RETRY_JITTER", "2", "retry.jitter = 2.0: must be from 0 to 1"),
    ],
)
def test_what_is_wrong_in_a_variable_is_told_with_its_name(variable: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{variable}: {problem}"):
        load(**{variable: value})


def test_a_variable_that_looks_mistyped_is_a_warning() -> None:
    loaded = load(ORBIT_LOG_LEVLE="debug", ORBIT_SOMETHING_ELSE="1", ORBIT_CONFIG="", LOG_LEVEL="x")
    assert loaded.warnings == ("variable ORBIT_LOG_LEVLE has no meaning; ORBIT_LOG_LEVEL has",)


def test_development_mode_logs_more_unless_the_level_is_said() -> None:
    loaded = load(ORBIT_DEV_MODE="true")
    assert (loaded.config.log_level, loaded.origins["logging.level"]) == ("debug", "server.dev_mode")
    assert load(ORBIT_DEV_MODE="true", ORBIT_LOG_LEVEL="error").config.log_level == "error"


# ---------------------------------------------------------------- NodeConfig itself


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", -1),
        ("port", True),
        ("port", "50051"),
        ("bind", ""),
        ("bind", "http://x"),
        ("cluster_id", ""),
        ("announce_interval", 0.0),
        ("lease_duration", None),
        ("drain_timeout", -1.0),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("raft_profile", "fast"),
        ("raft_election_timeout_min", 0.0),
        ("raft_heartbeat_interval", True),
        ("advertise", "::"),
    ],
)
def test_a_wrong_field_is_told_with_its_name(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"^{field}="):
        dataclasses.replace(NodeConfig(), **{field: value})  # type: ignore[arg-type]


def test_by_default_a_node_is_reached_from_its_own_machine_only() -> None:
    assert NodeConfig().advertised_url(port=1234, hostname="machine") == "http://127.0.0.1:1234"


def test_the_example_in_the_documentation_can_be_loaded(write: Write) -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    example = text.partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(example)
    assert load(write(example)).config.cluster_id == "shop"


# ---------------------------------------------------------------- reloading


def test_nothing_changed_is_nothing_to_do() -> None:
    reload = reloadable(NodeConfig(), NodeConfig())
    assert (reload.applicable, reload.restart) == ((), ())


def test_log_level_and_seeds_can_be_applied_and_the_rest_waits_for_a_restart() -> None:
    new = NodeConfig(
        log_level="debug",
        seed_nodes={NodeId("a"): "http://a:1"},
        port=1,
        transport=TransportConfig(connect_timeout=1.0),
    )
    reload = reloadable(NodeConfig(), new)
    assert reload.applicable == ("cluster.seed_nodes", "logging.level")
    assert reload.restart == ("protocols.grpc.port", "transport.connect_timeout")
