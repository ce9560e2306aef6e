"""orbit-lite: the network layer of a distributed actor system, wire-compatible with Orbit-RS, in pure Python.

The public names are loaded on first use, so that importing the package costs nothing that is not needed.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_HOMES = {
    "orbit_lite.errors": (
        "AddressableNotFound",
        "AuthenticationError",
        "ClusterError",
        "ConfigurationError",
        "ConnectError",
        "ConnectionLost",
        "ConversionError",
        "DrainingError",
        "Executed",
        "InternalError",
        "InvocationFailed",
        "IoError",
        "LeaseExpired",
        "NetworkError",
        "NodeNotFound",
        "OrbitError",
        "OverloadedError",
        "ParseError",
        "SerializationError",
        "Status",
        "StorageError",
        "TimeoutError",
    ),
    "orbit_lite.model": (
        "AddressableReference",
        "Key",
        "Message",
        "NodeId",
        "NodeInfo",
        "NodeResolver",
        "TransactionId",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF]  # noqa: PLE0604  (names of a table are names)


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
