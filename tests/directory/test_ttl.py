from __future__ import annotations

from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import integers, sampled_from

from orbit_lite.directory.ttl import TtlCache


def test_a_value_lives_until_its_time() -> None:
    cache: TtlCache[str, int] = TtlCache(10)
    cache.put("a", 1, expires=10.0)
    assert cache.get("a", now=9.999) == 1
    assert cache.get("a", now=10.0) is None
    assert len(cache) == 0


def test_a_new_value_replaces_the_old_one_with_its_time() -> None:
    cache: TtlCache[str, int] = TtlCache(10)
    cache.put("a", 1, expires=5.0)
    cache.put("a", 2, expires=10.0)
    assert cache.get("a", now=7.0) == 2


def test_the_value_not_used_for_longest_makes_room() -> None:
    cache: TtlCache[str, int] = TtlCache(2)
    cache.put("a", 1, expires=10.0)
    cache.put("b", 2, expires=10.0)
    cache.get("a", now=0.0)
    cache.put("c", 3, expires=10.0)
    assert [cache.get(key, now=0.0) for key in "abc"] == [1, None, 3]


def test_values_can_be_dropped_by_key_by_what_they_are_and_all() -> None:
    cache: TtlCache[str, int] = TtlCache(10)
    for number, key in enumerate("abcd"):
        cache.put(key, number % 2, expires=10.0)
    cache.drop("a")
    cache.drop("unknown")
    cache.drop_where(lambda value: value == 1)
    assert [cache.get(key, now=0.0) for key in "abcd"] == [None, None, 0, None]
    cache.clear()
    assert len(cache) == 0


class Machine(RuleBasedStateMachine):
    """Against a plain list of (key, value, expires), the least recently used first."""

    CAPACITY = 3

    def __init__(self) -> None:
        super().__init__()
        self.cache: TtlCache[str, int] = TtlCache(self.CAPACITY)
        self.model: list[tuple[str, int, int]] = []
        self.now = 0

    @rule(key=sampled_from("abcde"), value=integers(), ttl=integers(0, 5))
    def put(self, key: str, value: int, ttl: int) -> None:
        self.cache.put(key, value, expires=self.now + ttl)
        self.model = [entry for entry in self.model if entry[0] != key]
        self.model = [*self.model, (key, value, self.now + ttl)][-self.CAPACITY :]

    @rule(key=sampled_from("abcde"))
    def get(self, key: str) -> None:
        expected = None
        for entry in list(self.model):
            if entry[0] == key:
                self.model.remove(entry)
                if self.now < entry[2]:
                    expected = entry[1]
                    self.model.append(entry)
        assert self.cache.get(key, now=self.now) == expected

    @rule(seconds=integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def is_bounded(self) -> None:
        assert len(self.cache) == len(self.model) <= self.CAPACITY


TestMachine = Machine.TestCase
