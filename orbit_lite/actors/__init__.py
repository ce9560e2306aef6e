"""Actors: what can be called, where each lives, and how its calls are run one at a time."""

from orbit_lite.actors.arguments import parse_arguments, render_arguments
from orbit_lite.actors.config import ActorConfig
from orbit_lite.actors.driver import ActorSystem
from orbit_lite.actors.placement import Placement
from orbit_lite.actors.ports import ActorCaller, Homes, Hosts
from orbit_lite.actors.reference import ActorContext, ActorRef
from orbit_lite.actors.registry import ActorOptions, ActorRegistry, ActorType, actor, actor_type_of
from orbit_lite.actors.views import ActorsDrained, ActorView

__all__ = [
    "ActorCaller",
    "ActorConfig",
    "ActorContext",
    "ActorOptions",
    "ActorRef",
    "ActorRegistry",
    "ActorSystem",
    "ActorType",
    "ActorView",
    "ActorsDrained",
    "Homes",
    "Hosts",
    "Placement",
    "actor",
    "actor_type_of",
    "parse_arguments",
    "render_arguments",
]
