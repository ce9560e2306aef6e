"""Majorities of a configuration's voters (Raft §5.2, §5.3)."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["is_majority", "reached_by_majority"]


def is_majority(voters: Collection[object], ayes: Collection[object]) -> bool:
    """Whether more than half of the voters are among those who said aye. Who is no voter does not count."""
    return 2 * sum(voter in ayes for voter in voters) > len(voters)


def reached_by_majority(numbers: list[int]) -> int:
    """The largest number that more than half have reached; numbers: one for each voter, at least one, in any order.

    With match indices this is the index up to which a majority holds the leader's log.
    """
    numbers.sort()
    return numbers[(len(numbers) - 1) // 2]
