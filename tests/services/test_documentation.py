"""docs/services.md tells the truth."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from orbit_lite.services import (
    GrpcHealthService,
    HealthState,
    NodeAdminService,
    OrbitConnectionService,
    OrbitHealthService,
    reflection_services,
)

PAGE = (Path(__file__).parents[2] / "docs" / "services.md").read_text(encoding="utf-8")


def test_the_example_runs() -> None:
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    outcome = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr


def test_every_method_is_in_the_table() -> None:
    state = HealthState()
    services: list[Any] = [
        OrbitConnectionService.__new__(OrbitConnectionService),
        OrbitHealthService(state),
        GrpcHealthService(state),
        NodeAdminService.__new__(NodeAdminService),
        *reflection_services([]),
    ]
    for service in services:
        for path in service.__mapping__():
            package, method = path[1:].split("/")
            assert package in PAGE or "v1alpha" in package
            assert re.search(rf"[/`]{method}`", PAGE), path
