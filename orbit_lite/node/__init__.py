"""The one place where parts are put together: a node's settings, its life, and its way out."""

from orbit_lite.node.config import LoadedConfig, NodeConfig, Reload, load_config, reloadable

__all__ = [
    "LoadedConfig",
    "NodeConfig",
    "Reload",
    "load_config",
    "reloadable",
]
