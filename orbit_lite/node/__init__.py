"""The one place where parts are put together: a node's settings, its life, and its way out; and clients of clusters."""

from orbit_lite.node.client import OrbitClient
from orbit_lite.node.config import LoadedConfig, NodeConfig, Reload, load_config, reloadable
from orbit_lite.node.drain import DrainReport, DrainStep, StepResult
from orbit_lite.node.node import NodeState, OrbitNode

__all__ = [
    "DrainReport",
    "DrainStep",
    "LoadedConfig",
    "NodeConfig",
    "NodeState",
    "OrbitClient",
    "OrbitNode",
    "Reload",
    "StepResult",
    "load_config",
    "reloadable",
]
