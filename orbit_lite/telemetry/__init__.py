"""What happened, for machines and people. Imports nothing of the library but its errors."""

from __future__ import annotations

import logging

from orbit_lite.telemetry.logs import JsonFormatter, RepeatFilter, TextFormatter, change_level, configure_logging
from orbit_lite.telemetry.metrics import OTHER_METHOD, CallStats, Histogram, MethodStats

__all__ = [
    "OTHER_METHOD",
    "CallStats",
    "Histogram",
    "JsonFormatter",
    "MethodStats",
    "RepeatFilter",
    "TextFormatter",
    "change_level",
    "configure_logging",
]

# Who uses the library decides where its logs go; without this, Python would write warnings to stderr by itself.
logging.getLogger("orbit_lite").addHandler(logging.NullHandler())
