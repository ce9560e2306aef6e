from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orbit_lite.raft.quorum import is_majority, reached_by_majority


@given(st.lists(st.integers(0, 20), min_size=1, max_size=9))
def test_the_number_reached_is_the_largest_that_more_than_half_have(numbers: list[int]) -> None:
    slow = max(n for n in range(21) if 2 * sum(number >= n for number in numbers) > len(numbers))
    assert reached_by_majority(list(numbers)) == slow


@given(st.sets(st.integers(0, 8), min_size=1), st.sets(st.integers(0, 12)))
def test_only_voters_count_for_a_majority(voters: set[int], ayes: set[int]) -> None:
    assert is_majority(voters, ayes) == (len(voters & ayes) >= len(voters) // 2 + 1)


@given(st.sets(st.integers(0, 8), min_size=1), st.data())
def test_majorities_of_two_configurations_that_differ_in_one_node_overlap(
    voters: set[int], draw: st.DataObject
) -> None:
    after = voters | {99} if draw.draw(st.booleans()) or len(voters) == 1 else voters - {min(voters)}
    one = draw.draw(st.sets(st.sampled_from(sorted(voters)), min_size=len(voters) // 2 + 1))
    other = draw.draw(st.sets(st.sampled_from(sorted(after)), min_size=len(after) // 2 + 1))
    assert one & other
