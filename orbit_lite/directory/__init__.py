"""Who is where: resolvers of nodes and actors."""

from orbit_lite.directory.cache import CachingNodeResolver
from orbit_lite.directory.membership import Membership, MemberView, Observation
from orbit_lite.directory.static import StaticNodeResolver

__all__ = [
    "CachingNodeResolver",
    "MemberView",
    "Membership",
    "Observation",
    "StaticNodeResolver",
]
