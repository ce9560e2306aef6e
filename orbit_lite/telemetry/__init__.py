"""What happened, for machines and people. Imports nothing of the library but its errors."""

from __future__ import annotations

from orbit_lite.telemetry.metrics import OTHER_METHOD, CallStats, Histogram, MethodStats

__all__ = ["OTHER_METHOD", "CallStats", "Histogram", "MethodStats"]
