"""The shortest run that still breaks the rule: delta debugging (Zeller and Hildebrandt 2002) over what was drawn.

A run is its list of actions, its clients and its length. Leaving an action out changes what follows, so each attempt is
a new run, and counts if it breaks the same rule; whatever it then did not get to do is left out as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from orbit_lite.testing.simulation.faults import Action
from orbit_lite.testing.simulation.run import Plan, Report

__all__ = ["shrink"]


def shrink(report: Report, run: Callable[[Plan], Report], *, attempts: int = 300) -> Report:
    """The shortest failing report that was found. run: runs the same seed by a plan; attempts: how often at most."""
    best, left = _as_plan(report, report), attempts

    def try_plan(plan: Plan) -> bool:
        nonlocal best, left
        if left <= 0:
            return False
        left -= 1
        found = run(plan)
        if found.rule != report.rule or _size(found) > _size(best):
            return False
        best = _as_plan(found, report)
        return True

    try_plan(best.plan)
    try_plan(replace(best.plan, calm=True))
    while best.plan.clients > 1 and try_plan(replace(best.plan, clients=best.plan.clients - 1)):
        pass
    pieces = 2
    while left > 0 and best.actions:
        for plan in _without_a_piece(best.plan, best.actions, pieces):
            if try_plan(plan):
                pieces = max(2, pieces - 1)
                break
        else:
            if pieces >= len(best.actions):
                break
            pieces = min(len(best.actions), pieces * 2)
    return best


def _size(report: Report) -> tuple[int, int]:
    return len(report.actions), report.steps


def _as_plan(found: Report, first: Report) -> Report:
    """The report with a plan of just what it did. Steps stay where the end of all faults belongs to the failure."""
    steps = min(found.steps, found.plan.steps, first.plan.steps)
    return replace(found, plan=replace(found.plan, actions=found.actions, steps=steps))


def _without_a_piece(plan: Plan, actions: tuple[Action, ...], pieces: int) -> Iterator[Plan]:
    size = len(actions)
    for piece in range(pieces):
        start, end = piece * size // pieces, (piece + 1) * size // pieces
        if start < end:
            yield replace(plan, actions=actions[:start] + actions[end:])
