"""What docs/simulation.md shows works as it is written there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCUMENT = (Path(__file__).parents[3] / "docs" / "simulation.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_the_counter_passes_its_simulation() -> None:
    names: dict[str, Any] = {}
    exec(EXAMPLES[0], names)  # noqa: S102  (the document is ours)
    names["test_the_counter_counts"]()


def test_a_run_that_breaks_nothing_needs_no_shrinking() -> None:
    names: dict[str, Any] = {}
    exec(EXAMPLES[1], names)  # noqa: S102
    assert names["shortest"](1).ok
