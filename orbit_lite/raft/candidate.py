"""How a node becomes the leader (Raft §5.2, §5.4.1; pre-vote: thesis 9.6)."""

from __future__ import annotations

from orbit_lite.model import VoteRequest, VoteResponse
from orbit_lite.raft import leader, quorum
from orbit_lite.raft.messages import Outgoing, PreVoteRequest, PreVoteResponse, Role
from orbit_lite.raft.state import LARGEST_TERM, RaftState

__all__ = ["campaign", "elect", "pre_vote_answered", "vote_answered"]


def campaign(raft: RaftState) -> None:
    """No leader was heard for an election timeout."""
    if not may_campaign(raft):
        raft.become_follower(raft.term, None)
        raft.wait_for_leader()
    elif raft.config.pre_vote:
        raft.become_pre_candidate()
        if not _is_won(raft):
            request = PreVoteRequest(raft.term + 1, raft.node_id, raft.log.last_index, raft.log.last_term)
            _ask_voters(raft, request)
            return
        elect(raft)
    else:
        elect(raft)


def may_campaign(raft: RaftState) -> bool:
    """Only a voter may, and only one whose disk can take the vote for itself; learners and removed nodes wait."""
    return raft.is_voter and raft.duties.install is None and raft.term < LARGEST_TERM and not raft.is_disk_stuck()


def elect(raft: RaftState, *, transfer: bool = False) -> None:
    """Ask for votes in a new term. transfer: because the leader said so, which voters are told (thesis 4.2.3)."""
    raft.become_candidate(transfer=transfer)
    if _is_won(raft):
        leader.lead(raft)
        return
    _ask_voters(raft, VoteRequest(raft.term, raft.node_id, raft.log.last_index, raft.log.last_term))


def _ask_voters(raft: RaftState, request: VoteRequest | PreVoteRequest) -> None:
    for voter in sorted(raft.configuration.voters):
        if voter != raft.node_id:
            raft.send(voter, request, transfer=raft.is_transfer_target)


def _is_won(raft: RaftState) -> bool:
    return quorum.is_majority(raft.configuration.voters, raft.supporters)


def pre_vote_answered(raft: RaftState, sent: Outgoing, response: PreVoteResponse) -> None:
    """Count a voter that would vote for us in the next term."""
    if raft.role is Role.PRE_CANDIDATE and response.vote_granted and sent.request.term == raft.term + 1:
        raft.supporters.add(sent.to)
        if _is_won(raft):
            elect(raft)


def vote_answered(raft: RaftState, sent: Outgoing, response: VoteResponse) -> None:
    """Count a vote; the same voter counts once, however often it answers."""
    if raft.role is Role.CANDIDATE and response.vote_granted and sent.request.term == response.term == raft.term:
        raft.supporters.add(sent.to)
        if _is_won(raft):
            leader.lead(raft)
