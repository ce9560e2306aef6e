"""Virtual time, and chance that a seed repeats."""

from __future__ import annotations

from orbit_lite.testing.simulation.world import World


def test_events_happen_in_the_order_of_their_times_and_then_of_their_calls() -> None:
    world, seen = World(1), list[tuple[float, str]]()
    for time, name in ((2.0, "late"), (1.0, "one"), (1.0, "other")):
        world.at(time, lambda name: seen.append((world.now, name)), name)
    while world.advance():
        pass
    assert seen == [(1.0, "one"), (1.0, "other"), (2.0, "late")]


def test_delays_count_from_now() -> None:
    world, seen = World(1), list[float]()
    world.after(1.0, lambda: world.after(0.5, lambda: seen.append(world.now)))
    while world.advance():
        pass
    assert seen == [1.5]


def test_streams_of_a_seed_repeat_and_do_not_touch_each_other() -> None:
    one, two = World(7), World(7)
    one.stream("a").random()
    assert one.stream("b").random() == two.stream("b").random()
    assert World(8).stream("b").random() != two.stream("b").random()
    assert two.stream("a").random() != two.stream("b").random()


def test_the_digest_tells_runs_apart() -> None:
    def digest(*facts: int) -> int:
        world = World(1)
        for fact in facts:
            world.step(1, fact)
        return world.digest

    assert digest(1, 2) == digest(1, 2)
    assert len({digest(1, 2), digest(2, 1), digest(1), digest()}) == 4
