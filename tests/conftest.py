"""Settings of the whole test run: how hard Hypothesis tries, and the seed that repeats a failure."""

from __future__ import annotations

import os
import secrets
import time

import pytest
from hypothesis import HealthCheck, settings

# Examples take as long as the machine is busy, so no deadline and no complaint about slow generation:
# the time limit of a test is pytest's.
_COMMON = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", _COMMON, max_examples=50)
settings.register_profile("ci", _COMMON, max_examples=100)
settings.register_profile("thorough", _COMMON, max_examples=5_000)
settings.register_profile("fuzz", _COMMON, max_examples=100 * 50)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "default"))

_FUZZ_UNTIL = time.monotonic() + float(os.environ.get("FUZZ_SECONDS", "inf"))


def pytest_runtest_setup() -> None:
    if time.monotonic() > _FUZZ_UNTIL:
        pytest.skip("the time for fuzzing is over")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """One seed for the run, drawn here so that it can be shown; workers are handed the controller's."""
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(secrets.randbelow(2**32))


def pytest_report_header(config: pytest.Config) -> str:
    return f"hypothesis: --hypothesis-seed={config.option.hypothesis_seed} repeats this run's draws"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"repeat the draws with --hypothesis-seed={config.option.hypothesis_seed}")
