"""What every node does at the request of others (Raft §5.1-5.4, §7; thesis 3.10, 4.2.3, 9.6).

The term rule comes first: a request of an earlier term is refused with the present one, a later term makes a follower.
A request that makes no sense is refused before anything of it is believed.
"""

from __future__ import annotations

from orbit_lite.errors import ParseError
from orbit_lite.model import AppendEntriesRequest, AppendEntriesResponse, NodeId, VoteRequest, VoteResponse
from orbit_lite.raft import candidate, leader
from orbit_lite.raft.membership import configuration_of
from orbit_lite.raft.messages import (
    Configuration,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    PreVoteRequest,
    PreVoteResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    Role,
    SnapshotChunk,
    SnapshotMeta,
    TimeoutNowRequest,
    TimeoutNowResponse,
)
from orbit_lite.raft.state import LARGEST_INDEX, LARGEST_TERM, IncomingSnapshot, RaftState

__all__ = [
    "append_entries",
    "install_snapshot",
    "pre_vote",
    "read_index",
    "snapshot_written",
    "timeout_now",
    "vote",
]

# ---------------------------------------------------------------- votes


def vote(raft: RaftState, request: VoteRequest, token: object, *, transfer: bool) -> None:
    """RequestVote (§5.2, §5.4.1)."""
    if transfer or not _is_sticky(raft):
        raft.heed_term(request.term)
    is_granted = (
        request.term == raft.term and raft.vote in {None, request.candidate_id} and _may_vote_for(raft, request)
    )
    if is_granted:
        if raft.vote is None:
            raft.set_vote(request.candidate_id)
        raft.wait_for_leader()
    raft.answer(token, VoteResponse(raft.term, is_granted, raft.node_id))


def pre_vote(raft: RaftState, request: PreVoteRequest, token: object) -> None:
    """PreVote (thesis 9.6): what `vote` would say, but nothing changes."""
    is_free = raft.term < request.term <= LARGEST_TERM or (
        request.term == raft.term and raft.vote in {None, request.candidate_id}
    )
    is_granted = is_free and not _hears_leader(raft) and _may_vote_for(raft, request)
    term = request.term if is_granted else raft.term
    raft.answer(token, PreVoteResponse(term, is_granted, raft.node_id))


def _may_vote_for(raft: RaftState, request: VoteRequest | PreVoteRequest) -> bool:
    """Whether the candidate's log is at least as up to date as ours (§5.4.1), and we are one who votes.

    A configuration that does not name the candidate is no reason to refuse: it may be newer or older than the
    candidate's (thesis 4.2.2). A node without one is new here, or lost its store with the votes that it gave. A learner
    is not asked, unless by a candidate that knows of its promotion: such a one has entries that the learner lacks.
    """
    if not raft.configuration.voters:
        return False
    log, last_index, last_term = raft.log, request.last_log_index, request.last_log_term
    is_learner = raft.node_id in raft.configuration.learners and not raft.is_voter
    if is_learner and (last_index, last_term) == (log.last_index, log.last_term):
        return False
    return log.is_up_to_date(last_index, last_term)


def _is_sticky(raft: RaftState) -> bool:
    """Whether a candidate is to be ignored because there is a leader (thesis 4.2.3).

    Only where leaders step down when they hear no majority: else one that is heard but hears nobody would stay.
    """
    return raft.config.check_quorum and _hears_leader(raft)


def _hears_leader(raft: RaftState) -> bool:
    return raft.now < raft.sticky_until or leader.hears_quorum(raft)


# ---------------------------------------------------------------- a leader's requests


def _follow(raft: RaftState, term: int, node_id: NodeId) -> bool:
    """A leader speaks: follow it, if it is that of the present term."""
    raft.heed_term(term)
    if term != raft.term:
        return False
    if raft.role is Role.LEADER or (raft.leader is not None and raft.leader != node_id):
        raft.report_fault(f"{node_id} leads term {term}, and so does {raft.leader}")
        return False
    if raft.role is not Role.FOLLOWER or raft.leader is None:
        if node_id == raft.node_id:
            return False
        raft.become_follower(term, node_id)
        if raft.vote is None:
            # As good as a vote, since the term has its leader. It also binds a node that forgot whom it voted for.
            raft.set_vote(node_id)
    raft.sticky_until = raft.now + raft.config.election_timeout_min
    raft.wait_for_leader()
    return True


def append_entries(raft: RaftState, request: AppendEntriesRequest, token: object) -> None:
    """AppendEntries (§5.3)."""
    if not _is_sane(raft, request) or not _follow(raft, request.term, request.leader_id):
        raft.answer(token, AppendEntriesResponse(raft.term, False, raft.node_id, raft.log.last_index))
        return
    is_taken = _take_entries(raft, request)
    if not is_taken:
        hint = _hint(raft, request)
        raft.answer(token, AppendEntriesResponse(raft.term, False, raft.node_id, hint))
        return
    index = request.prev_log_index + len(request.entries)
    raft.commit = max(raft.commit, min(request.leader_commit, index))
    response = AppendEntriesResponse(raft.term, True, raft.node_id, raft.log.last_index)
    raft.answer(token, response, write=raft.write_of(index))


def _is_sane(raft: RaftState, request: AppendEntriesRequest) -> bool:
    """Whether a leader can have sent this: entries that join, terms that do not fall, only configurations of ours."""
    index, term = request.prev_log_index, request.prev_log_term
    for entry in request.entries:
        index += 1
        if entry.index != index or entry.term < term or entry.term == 0:
            return False
        term = entry.term
        try:
            configuration = configuration_of(entry)
        except ParseError:
            return False
        if configuration is not None and not _is_ours(raft, configuration):
            return False
    return 0 < request.term >= term


def _is_ours(raft: RaftState, configuration: Configuration) -> bool:
    known = raft.configuration
    return bool(configuration.voters) and (not known.members or known.cluster_id == configuration.cluster_id)


def _take_entries(raft: RaftState, request: AppendEntriesRequest) -> bool:
    """Append what is new, after cutting off what contradicts it; False when the logs do not meet where they should.

    What is here and agrees stays, also behind the request's end: a late or repeated request must not shorten the log.
    """
    log, entries = raft.log, request.entries
    prev_log_index = request.prev_log_index
    if prev_log_index > log.last_index or (raft.duties.install is not None and entries):
        return False
    # Before the base everything is committed and applied, so it agrees with every leader.
    if prev_log_index >= log.base_index and log.term(prev_log_index) != request.prev_log_term:
        if prev_log_index <= raft.commit:
            _report_contradiction(raft, request, prev_log_index)
        return False
    for position, entry in enumerate(entries):
        if entry.index > log.last_index:
            log.append(entries[position:])
            break
        if entry.index > log.base_index and log.term(entry.index) != entry.term:
            if entry.index <= raft.commit:
                _report_contradiction(raft, request, entry.index)
                return False
            log.append(entries[position:])
            break
    return True


def _report_contradiction(raft: RaftState, request: AppendEntriesRequest, index: int) -> None:
    raft.report_fault(f"{request.leader_id}, leader of term {request.term}, contradicts the committed entry {index}")


def _hint(raft: RaftState, request: AppendEntriesRequest) -> int:
    """The largest index up to prev_log_index at which the logs may agree: one request for each term in conflict (§5.3).

    prev_log_index itself says that our entry there is of an older term: the leader skips its own entries of that term.
    """
    if raft.duties.install is not None:
        return min(raft.commit, request.prev_log_index)
    return raft.log.last_with_term_up_to(request.prev_log_term, request.prev_log_index)


# ---------------------------------------------------------------- snapshots


def install_snapshot(raft: RaftState, request: InstallSnapshotRequest, token: object) -> None:
    """InstallSnapshot (§7): take a chunk if it is the next one; the answer says where to go on."""
    meta = request.meta
    if not _is_sane_snapshot(raft, request) or not _follow(raft, request.term, request.leader_id):
        _answer_chunk(raft, token, 0)
    elif _has_log_of(raft, meta):
        raft.commit = max(raft.commit, meta.index)
        _answer_chunk(raft, token, meta.size, write=raft.write_of(meta.index))
    elif raft.duties.install is not None:
        if raft.incoming is not None and raft.incoming.meta == meta:
            raft.incoming.tokens.append(token)  # until it is known whether all of it is intact
        else:
            _answer_chunk(raft, token, 0)
    else:
        _take_chunk(raft, request, token)


def _answer_chunk(raft: RaftState, token: object, next_offset: int, *, write: int = 0) -> None:
    raft.answer(token, InstallSnapshotResponse(raft.term, raft.node_id, next_offset), write=write)


def _is_sane_snapshot(raft: RaftState, request: InstallSnapshotRequest) -> bool:
    meta = request.meta
    return (
        0 < meta.term <= request.term
        and 0 < meta.index < LARGEST_INDEX
        and 0 <= request.offset < request.offset + len(request.data) <= meta.size
        and _is_ours(raft, meta.configuration)
    )


def _has_log_of(raft: RaftState, meta: SnapshotMeta) -> bool:
    """Whether the log holds all that the snapshot covers, so that it need not be installed."""
    return meta.index <= raft.commit or raft.log.term(meta.index) == meta.term


def _take_chunk(raft: RaftState, request: InstallSnapshotRequest, token: object) -> None:
    meta, duties, incoming = request.meta, raft.duties, raft.incoming
    if incoming is None or incoming.meta != meta:
        is_older = incoming is not None and incoming.term == request.term and incoming.meta.index >= meta.index
        is_promised = incoming is not None and incoming.write > duties.written  # and answers to that are under way
        if is_older or is_promised or request.offset > 0:
            _answer_chunk(raft, token, 0)
            return
        incoming = raft.incoming = IncomingSnapshot(meta, request.term)
    incoming.term = request.term
    if request.offset == incoming.received and duties.chunk is None:
        duties.chunk = SnapshotChunk(meta, request.offset, request.data)
        incoming.received += len(request.data)
        incoming.write = duties.next_write
        if incoming.received == meta.size:
            duties.install = meta
            incoming.tokens.append(token)
            return
    _answer_chunk(raft, token, incoming.received, write=incoming.write)


def snapshot_written(raft: RaftState, meta: SnapshotMeta, *, is_intact: bool) -> None:
    """The store has put the snapshot in the place of the log, or has found it damaged and thrown it away."""
    incoming, raft.incoming = raft.incoming, None
    if is_intact:
        raft.log.restart(meta)  # whose configuration is now in force, whatever the log said (§7)
        raft.commit = raft.applied = meta.index
        raft.snapshot = raft.duties.restore = meta
    for token in incoming.tokens if incoming is not None else ():
        _answer_chunk(raft, token, meta.size if is_intact else 0)


# ---------------------------------------------------------------- hand-over, reads


def timeout_now(raft: RaftState, request: TimeoutNowRequest, token: object) -> None:
    """TimeoutNow (thesis 3.10): campaign at once and without a pre-vote, which the leader's followers would refuse."""
    raft.heed_term(request.term)
    raft.answer(token, TimeoutNowResponse(raft.term, raft.node_id))
    is_leaders = request.term == raft.term and raft.role is not Role.LEADER and raft.leader in {None, request.leader_id}
    if is_leaders and candidate.may_campaign(raft):
        candidate.elect(raft, transfer=True)


def read_index(raft: RaftState, request: ReadIndexRequest, token: object) -> None:
    """ReadIndex (thesis 6.4): a follower wants to answer a read."""
    raft.heed_term(request.term)
    if raft.role is Role.LEADER:
        leader.read(raft, token, is_remote=True)
    else:
        raft.answer(token, ReadIndexResponse(raft.term, None, raft.leader))
