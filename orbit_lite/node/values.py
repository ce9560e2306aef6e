"""Reading single settings: from text (environment, command line) and from TOML, and writing them back for people.

A kind reads either form, so that `timeout = 30`, `timeout = "30s"` and `ORBIT_…_TIMEOUT=30s` mean the same. What
cannot be read raises ValueError with what was expected, as it stands behind "expected" in a message.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbit_lite.errors import ConfigurationError, OrbitError, ParseError, Status, quote
from orbit_lite.model import Json, NodeId
from orbit_lite.rpc import Endpoint

__all__ = [
    "DURATION",
    "FLAG",
    "NAMES",
    "NAME_SET",
    "NODE_ID",
    "NUMBER",
    "OPTIONAL_DURATION",
    "PATH",
    "PLACEMENT",
    "SEEDS",
    "SIZE",
    "STATUSES",
    "TEXT",
    "WHOLE",
    "Kind",
    "advertised_url",
    "choice",
    "derived_seed_id",
    "optional",
    "parse_seed",
    "suggestion",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """How a setting is written.

    name: for documentation. read: raises ValueError(what was expected). show: the form of a value in a file, which
    `read` takes back. none: the word for None, where None can be written.
    """

    name: str
    read: Callable[[object], Any]
    show: Callable[[Any], Json]
    none: str | None = None


def suggestion(word: str, known: Iterable[str]) -> str:
    """` (did you mean …?)` where one of the known words is close, else nothing."""
    close = difflib.get_close_matches(word[:100], list(known), 1)
    return f" (did you mean {close[0]}?)" if close else ""


# ---------------------------------------------------------------- plain values

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?", re.ASCII)


def _read_text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("text that is not empty")
    return value


def _read_whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    raise ValueError("a whole number")


def _read_number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    raise ValueError("a number")


def _read_flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and (word := value.lower()) in _TRUE | _FALSE:
        return word in _TRUE
    raise ValueError("true or false")


def _read_path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("a path")
    return Path(value)


def choice(options: Mapping[str, str]) -> Kind:
    """One of several words. options: accepted spelling, in lower case → the word that it means."""
    words = ", ".join(dict.fromkeys(options.values()))

    def read(value: object) -> str:
        if isinstance(value, str) and (word := options.get(value.lower())) is not None:
            return word
        raise ValueError(f"one of {words}" + (suggestion(value.lower(), options) if isinstance(value, str) else ""))

    return Kind(words, read, str)


def optional(kind: Kind, *, word: str = "off") -> Kind:
    """The same, and `word` for None."""

    def read(value: object) -> Any:
        if value is None or (isinstance(value, str) and value.lower() == word):
            return None
        try:
            return kind.read(value)
        except ValueError as error:
            raise ValueError(f'{error}, or "{word}"') from error

    return Kind(f'{kind.name}, or "{word}"', read, kind.show, word)


# ---------------------------------------------------------------- durations and sizes

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?(ms|s|m|h|d)?", re.ASCII)
_SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SIZE = re.compile(r"([0-9]{1,15}) ?(B|KiB|MiB|GiB)?", re.ASCII)
_BYTES = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}


def _read_duration(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        number = float(match[1])
        return number / 1000 if match[2] == "ms" else number * _SECONDS[match[2] or "s"]
    raise ValueError('seconds, or a duration such as "250ms", "30s", "5m"')


def _show_duration(value: float) -> str:
    for unit in ("d", "h", "m"):
        if value and value % _SECONDS[unit] == 0:
            return f"{value / _SECONDS[unit]:.0f}{unit}"
    thousands = value * 1000
    return f"{thousands:.0f}ms" if 0 < value < 1 and thousands == int(thousands) else f"{value:.12g}s"


def _read_size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        return int(match[1]) * _BYTES[match[2] or "B"]
    raise ValueError('bytes, or a size such as "64KiB", "16MiB"')


def _show_size(value: int) -> str | int:
    for unit, factor in _BYTES.items():
        if factor > 1 and value and value % factor == 0:
            return f"{value // factor}{unit}"
    return value


# ---------------------------------------------------------------- lists and names


def _words(value: object, expected: str) -> list[str]:
    """An array of text, or text with commas."""
    if isinstance(value, str):
        value = [word.strip() for word in value.split(",") if word.strip()]
    if not isinstance(value, list | tuple | frozenset) or not all(isinstance(word, str) and word for word in value):
        raise ValueError(expected)
    return list(value)


def _read_names(value: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_words(value, "a list of names")))


def _read_statuses(value: object) -> frozenset[Status]:
    if isinstance(value, frozenset):
        return value
    statuses = set()
    for word in _words(value, "a list of gRPC statuses"):
        if word.upper() not in Status.__members__:
            raise ValueError(f"gRPC statuses, not {quote(word)!r}{suggestion(word.upper(), Status.__members__)}")
        statuses.add(Status[word.upper()])
    return frozenset(statuses)


def _read_node_id(value: object) -> NodeId:
    if isinstance(value, NodeId):
        return value
    if not isinstance(value, str):
        raise ValueError("KEY or NAMESPACE:KEY")
    try:
        return NodeId.parse(value)
    except ParseError as error:
        raise ValueError(f"KEY or NAMESPACE:KEY ({error})") from error


def derived_seed_id(url: str) -> NodeId:
    """The id that stands for a seed until it has said its own: Orbit-RS's rule, `node-10.0.0.1-50051`.

    No node has such an id by itself.
    """
    return NodeId("node-" + url.partition("://")[2].replace(":", "-"))


def parse_seed(text: str) -> tuple[NodeId, str]:
    """Read `ID@URL` or `URL`: the node's id (see `derived_seed_id`) and its endpoint. Raises ParseError."""
    id_text, at, url_text = text.rpartition("@")
    endpoint = Endpoint.parse(url_text)
    if endpoint.path is not None:
        raise ParseError(f"seed {quote(text)!r}: a Unix socket is no address for other nodes")
    return NodeId.parse(id_text) if at else derived_seed_id(endpoint.url), endpoint.url


def _read_seeds(value: object) -> dict[NodeId, str]:
    if isinstance(value, dict):
        return value
    seeds: dict[NodeId, str] = {}
    for text in _words(value, 'a list of seeds, each "ID@http://HOST:PORT" or "http://HOST:PORT"'):
        try:
            node_id, url = parse_seed(text)
        except OrbitError as error:
            raise ValueError(f'seeds such as "ID@http://HOST:PORT" ({error})') from error
        if seeds.setdefault(node_id, url) != url:
            raise ValueError(f"one endpoint per node; {node_id} has {seeds[node_id]} and {url}")
    return seeds


def _show_seeds(value: Mapping[NodeId, str]) -> list[Json]:
    return [url if node_id == derived_seed_id(url) else f"{_bare(node_id)}@{url}" for node_id, url in value.items()]


def _read_placement(value: object) -> dict[str, NodeId]:
    if not isinstance(value, dict):
        raise ValueError('a table of "Type:key" or "Type" = "NAMESPACE:KEY"')
    return {str(name): _read_node_id(node) for name, node in value.items()}


def _bare(node_id: NodeId) -> str:
    return f"{node_id.namespace}:{node_id.key}"


TEXT = Kind("text", _read_text, str)
WHOLE = Kind("number", _read_whole, int)
NUMBER = Kind("number", _read_number, float)
FLAG = Kind("true, false", _read_flag, bool)
PATH = Kind("path", _read_path, str)
DURATION = Kind("duration", _read_duration, _show_duration)
OPTIONAL_DURATION = optional(DURATION)
SIZE = Kind("size", _read_size, _show_size)
NAMES = Kind("list", _read_names, list)
NAME_SET = Kind("list", lambda value: frozenset(_read_names(value)), sorted)
STATUSES = Kind("list", _read_statuses, lambda value: [status.name for status in sorted(value)])
NODE_ID = Kind("node id", _read_node_id, _bare)
SEEDS = Kind("list", _read_seeds, _show_seeds)
PLACEMENT = Kind("table", _read_placement, lambda value: {name: _bare(node) for name, node in value.items()})


# ---------------------------------------------------------------- addresses

_WILDCARDS: Collection[str] = ("0.0.0.0", "::", "*")  # noqa: S104  (recognised, not bound)


def is_wildcard(host: str) -> bool:
    """Whether binding to the host means all interfaces: such an address is one to listen on, and none to call."""
    return host in _WILDCARDS or (":" in host and _same_address(host, "::"))


def _same_address(host: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address(other)
    except ValueError:
        return False


def advertised_url(advertise: str | None, *, bind: str, port: int, hostname: str) -> str:
    """The URL under which others reach a node.

    advertise: `HOST`, `HOST:PORT` or a URL; None = the address that it listens on, or the machine's own name
    (`hostname`) where it listens on all. port: where it really listens. Raises ConfigurationError for an address that
    means all interfaces, and for one that is none.
    """
    written = advertise if advertise is not None else hostname if is_wildcard(bind) else bind
    host = written.removeprefix("[").removesuffix("]")
    if _is_ipv6(host):
        text = f"[{host}]:{port}"
    elif ":" not in written:
        text = f"{written}:{port}"
    else:
        text = written
    try:
        endpoint = Endpoint.parse(text)
    except ParseError as error:
        raise ConfigurationError(f"advertise={quote(written)!r}: {error}") from error
    if endpoint.host is None or is_wildcard(endpoint.host):
        raise ConfigurationError(
            f"advertise={quote(written)!r}: others cannot call this address; write the name or address that they use"
        )
    return endpoint.url


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True
