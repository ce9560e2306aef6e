"""Who is where: resolvers of nodes and actors."""

from orbit_lite.directory.cache import CachingNodeResolver
from orbit_lite.directory.machine import DirectoryMachine, NodeChange, PlacementChange, Resync
from orbit_lite.directory.membership import Membership, MemberView, Observation
from orbit_lite.directory.replicated import NodeSuperseded, PlacementUnavailable, ReplicatedDirectory
from orbit_lite.directory.static import StaticNodeResolver
from orbit_lite.directory.watch import Watch

__all__ = [
    "CachingNodeResolver",
    "DirectoryMachine",
    "MemberView",
    "Membership",
    "NodeChange",
    "NodeSuperseded",
    "Observation",
    "PlacementChange",
    "PlacementUnavailable",
    "ReplicatedDirectory",
    "Resync",
    "StaticNodeResolver",
    "Watch",
]
