"""How a leader brings a follower's log to its own (Raft §5.3, §7)."""

from __future__ import annotations

from orbit_lite.model import AppendEntriesRequest, AppendEntriesResponse
from orbit_lite.raft.messages import InstallSnapshotRequest, InstallSnapshotResponse
from orbit_lite.raft.progress import Progress, ProgressState
from orbit_lite.raft.state import RaftState

__all__ = ["appended", "farewell", "heartbeat", "installed", "replicate", "unreached"]


def heartbeat(raft: RaftState, progress: Progress) -> None:
    """An AppendEntries without entries. No follower of ours refuses it: what it builds on is known to be there."""
    log, match = raft.log, progress.match_index
    term = log.term(match)
    prev_log_index, prev_log_term = (match, term) if term is not None else (0, 0)
    commit = progress.commit_sent = min(raft.commit, prev_log_index)
    raft.send(
        progress.node_id,
        AppendEntriesRequest(raft.term, raft.node_id, prev_log_index, prev_log_term, (), commit),
    )


def farewell(raft: RaftState, progress: Progress) -> None:
    """Tell a node that its removal is committed, so that it stops campaigning; what is on the way to it may repeat."""
    log, config, match = raft.log, raft.config, progress.match_index
    if (term := log.term(match)) is not None and match < log.last_index:
        entries = log.batch(match + 1, max_bytes=config.max_append_bytes, max_entries=config.max_append_entries)
        raft.send(progress.node_id, AppendEntriesRequest(raft.term, raft.node_id, match, term, entries, raft.commit))
    else:
        heartbeat(raft, progress)


def replicate(raft: RaftState, progress: Progress) -> None:
    """Send what the follower lacks, as far as its window goes."""
    log, config = raft.log, raft.config
    while progress.may_send(max_appends=config.max_inflight_appends, max_bytes=config.max_inflight_bytes):
        if progress.state is ProgressState.SNAPSHOT:
            _send_chunk(raft, progress)
            return
        first = progress.next_index
        if first > log.last_index:
            return
        prev_log_term = log.term(first - 1)
        if prev_log_term is None:
            if raft.snapshot is None:
                return
            progress.become_snapshot(raft.snapshot)
            continue
        entries = log.batch(first, max_bytes=config.max_append_bytes, max_entries=config.max_append_entries)
        last = first + len(entries) - 1
        size = log.wire_bytes_behind(first - 1) - log.wire_bytes_behind(last)
        request = AppendEntriesRequest(raft.term, raft.node_id, first - 1, prev_log_term, entries, raft.commit)
        raft.send(progress.node_id, request)
        progress.commit_sent = min(raft.commit, last)
        progress.sent_entries(last, size, raft.now, _retry_at(raft))


def _retry_at(raft: RaftState) -> float:
    """When an answer to what leaves now is overdue."""
    return raft.now + raft.config.election_timeout_min


def _send_chunk(raft: RaftState, progress: Progress) -> None:
    if progress.snapshot is not None:
        request = InstallSnapshotRequest(raft.term, raft.node_id, progress.snapshot, progress.snapshot_offset)
        raft.send(progress.node_id, request)
        progress.wait(_retry_at(raft))


def appended(
    raft: RaftState, progress: Progress, request: AppendEntriesRequest, response: AppendEntriesResponse
) -> bool:
    """Take an answer of the present term. True when the follower holds more of our log than we knew."""
    log = raft.log
    prev_log_index = request.prev_log_index
    if not response.success:
        hint = response.last_log_index
        if hint >= prev_log_index:
            # Its entry there is of an older term than ours: none of our entries of this term can be in its log.
            hint = log.last_with_term_up_to(request.prev_log_term - 1, prev_log_index - 1)
        progress.reject(prev_log_index, hint)
        return False
    index = prev_log_index + len(request.entries)
    is_news = progress.acknowledge(index)
    if progress.state is ProgressState.SNAPSHOT and progress.match_index >= log.base_index:
        progress.become_replicate()
    return is_news


def installed(
    raft: RaftState, progress: Progress, request: InstallSnapshotRequest, response: InstallSnapshotResponse
) -> bool:
    """Take an answer to a chunk, in the present term. True when the follower now holds more of our log."""
    snapshot = progress.snapshot
    if snapshot is None or request.meta != snapshot:
        return False
    if response.next_offset >= snapshot.size:
        is_news = progress.acknowledge(snapshot.index)
        progress.become_probe(progress.match_index + 1)
        return is_news
    if response.next_offset > progress.snapshot_offset:
        progress.become_snapshot(snapshot)
        progress.snapshot_offset = response.next_offset
    elif request.offset == progress.snapshot_offset:
        # It has less than we thought, or took nothing: go on from there, but not before it shows that it is there.
        progress.snapshot_offset = response.next_offset
        progress.wait(raft.now)
    return False


def unreached(raft: RaftState, progress: Progress, request: AppendEntriesRequest | InstallSnapshotRequest) -> None:
    """A request did not reach the follower, or its answer is overdue."""
    if isinstance(request, AppendEntriesRequest):
        if request.entries:
            progress.failed(request.prev_log_index + len(request.entries), raft.now)
    elif request.meta == progress.snapshot and request.offset == progress.snapshot_offset:
        progress.failed(0, raft.now)
