"""Who waits for which entry of the log, and what they are told."""

from __future__ import annotations

import asyncio

import pytest

from orbit_lite.errors import Executed, InternalError
from orbit_lite.raft import ProposalLost
from orbit_lite.raft.proposals import Proposals


def lost(result: asyncio.Future[bytes]) -> ProposalLost:
    """The error of a proposal that was decided against, or whose fate is not known."""
    error = result.exception()
    assert isinstance(error, ProposalLost)
    return error


async def test_a_proposal_gets_the_result_of_its_entry() -> None:
    proposals = Proposals()
    result = proposals.wait(1, 7, applied=6)
    proposals.applied(1, 7, b"done")
    assert result.result() == b"done"
    assert len(proposals) == 0


async def test_an_entry_of_another_term_in_its_place_says_that_the_proposal_was_not_made() -> None:
    proposals = Proposals()
    result = proposals.wait(1, 7, applied=6)
    proposals.applied(2, 7, b"of another")
    assert lost(result).executed is Executed.NO


async def test_an_entry_of_a_later_term_before_its_place_says_so_at_once() -> None:
    """The new leader's log is shorter: nobody knows when it will be as long as the old one's."""
    proposals = Proposals()
    early, late = proposals.wait(1, 9, applied=6), proposals.wait(2, 9, applied=6)
    proposals.applied(2, 7, b"")
    assert lost(early).executed is Executed.NO
    assert not late.done()
    proposals.applied(2, 8, b"")
    proposals.applied(2, 9, b"done")
    assert late.result() == b"done"


async def test_an_entry_of_the_same_term_decides_nothing_for_those_behind() -> None:
    proposals = Proposals()
    result = proposals.wait(1, 9, applied=6)
    proposals.applied(1, 7, b"")
    assert not result.done()


async def test_an_error_that_is_the_proposals_own_reaches_its_proposer() -> None:
    proposals = Proposals()
    result = proposals.wait(1, 1, applied=0)
    proposals.applied(1, 1, ProposalLost("its own"))
    assert str(lost(result)) == "its own"


async def test_whoever_learns_the_place_late_still_gets_the_result() -> None:
    proposals = Proposals()
    proposals.applied(1, 1, b"done")
    assert proposals.wait(1, 1, applied=1).result() == b"done"
    assert lost(proposals.wait(2, 1, applied=1)).executed is Executed.NO


async def test_a_result_that_is_no_longer_known_may_have_come_true() -> None:
    proposals = Proposals()
    assert lost(proposals.wait(1, 1, applied=5_000)).executed is Executed.MAYBE


async def test_results_are_not_kept_for_ever() -> None:
    proposals = Proposals()
    for index in range(1, 5_001):
        proposals.applied(1, index, b"")
    assert lost(proposals.wait(1, 1, applied=5_000)).executed is Executed.MAYBE
    assert proposals.wait(1, 5_000, applied=5_000).result() == b""


async def test_what_came_with_a_snapshot_may_have_come_true() -> None:
    proposals = Proposals()
    before, behind = proposals.wait(1, 5, applied=1), proposals.wait(1, 6, applied=1)
    proposals.skipped(5)
    assert lost(before).executed is Executed.MAYBE
    assert not behind.done()
    proposals.applied(1, 6, b"done")
    assert behind.result() == b"done"


async def test_in_the_end_everybody_is_told() -> None:
    proposals = Proposals()
    results = [proposals.wait(1, index, applied=0) for index in (1, 1, 2)]
    assert len(proposals) == 3
    results[0].cancel()
    failure = InternalError("the node has failed")
    proposals.fail_all(failure)
    assert [result.exception() for result in results[1:]] == [failure, failure]
    assert len(proposals) == 0


@pytest.mark.parametrize("others", [0, 2])
async def test_whoever_went_is_forgotten(others: int) -> None:
    proposals = Proposals()
    result = proposals.wait(1, 3, applied=0)
    waiting = [proposals.wait(1, 3, applied=0) for _ in range(others)]
    result.cancel()
    proposals.forget(3, result)
    assert len(proposals) == others
    proposals.applied(1, 3, b"done")
    proposals.forget(3, result)
    assert [other.result() for other in waiting] == [b"done"] * others


async def test_whoever_went_unnoticed_is_no_trouble() -> None:
    proposals = Proposals()
    proposals.wait(1, 1, applied=0).cancel()
    proposals.wait(1, 9, applied=0).cancel()
    proposals.applied(1, 1, b"done")
    proposals.applied(2, 2, b"done")
    assert len(proposals) == 0
