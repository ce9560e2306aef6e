"""Orbit's RPCs: what peers may ask of this process, and the clients with which this process asks others."""

from orbit_lite.services.connection import OrbitConnectionService
from orbit_lite.services.health import GrpcHealthService, HealthState, HealthWatch, OrbitHealthService, ServingStatus
from orbit_lite.services.health_client import HealthClient

__all__ = [
    "GrpcHealthService",
    "HealthClient",
    "HealthState",
    "HealthWatch",
    "OrbitConnectionService",
    "OrbitHealthService",
    "ServingStatus",
]
