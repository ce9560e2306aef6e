"""What a leader does (Raft §5.3, §5.4.2, §6, §8; thesis 3.10, 4, 6)."""

from __future__ import annotations

from collections.abc import Sequence

from orbit_lite.errors import ParseError
from orbit_lite.model import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    LiteCommand,
    LiteKind,
    LogEntry,
    NodeId,
    RaftCommand,
)
from orbit_lite.raft import membership, quorum, replication
from orbit_lite.raft.errors import ChangeRefused, NotLeader, ProposalDropped, TransferFailed
from orbit_lite.raft.log import wire_bytes
from orbit_lite.raft.messages import (
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    Member,
    Outgoing,
    Response,
    TimeoutNowRequest,
)
from orbit_lite.raft.progress import Progress, ProgressState
from orbit_lite.raft.reads import PendingRead
from orbit_lite.raft.state import Leadership, RaftState, Transfer

__all__ = [
    "advance_commit",
    "begin_rounds_and_replicate",
    "change",
    "hears_quorum",
    "lead",
    "leadership_of",
    "propose",
    "read",
    "responded",
    "snapshot_taken",
    "suspended",
    "tick",
    "transfer",
    "unreachable",
    "wants_to_send",
]

_NOOP = LiteCommand(LiteKind.NOOP, "", 0, b"")

#: Bytes for all of a command but its data; RaftConfig leaves 64 KiB of an AppendEntries for what is no data.
_NAMES_LIMIT = 32 * 1024

#: Followers that are sent nothing else learn of a commit after this share of the heartbeat interval: soon enough for
#: who waits there for its own proposal, and late enough to tell them of many commits at once.
_COMMIT_NOTICE = 1 / 15


def leadership_of(raft: RaftState) -> Leadership:
    """Raises NotLeader."""
    if raft.leadership is None:
        raise NotLeader(f"{raft.node_id} is not the leader", leader=raft.leader)
    return raft.leadership


# ---------------------------------------------------------------- a leadership begins, goes on, and ends


def lead(raft: RaftState) -> None:
    """The election is won: begin with an entry of the own term, without which nothing older may be committed (§8)."""
    raft.become_leader()
    leadership = leadership_of(raft)
    _follow_configuration(raft, leadership, leadership.first_index)
    _begin_round(raft, leadership)
    raft.log.append([LogEntry(raft.term, leadership.first_index, _NOOP)])


def tick(raft: RaftState) -> None:
    """The leader's deadline has come: heartbeats, and whether it may still lead."""
    leadership = leadership_of(raft)
    if raft.now < leadership.heartbeat_due:
        _tell_commit(raft, leadership)
        return
    if leadership.voters and (
        raft.is_disk_stuck()  # others can go on, this node cannot
        or (raft.config.check_quorum and _silence(raft, leadership) >= raft.config.election_timeout_max)
    ):
        raft.become_follower(raft.term, None)
        return
    if leadership.transfer is not None and raft.now >= leadership.transfer.deadline:
        leadership.transfer = None
    _begin_round(raft, leadership)


def suspended(raft: RaftState) -> None:
    """This process stood still: followers get an election timeout to be heard before their silence counts."""
    if raft.leadership is not None:
        raft.leadership.grace = raft.now
        raft.next_deadline = raft.leadership.heartbeat_due = raft.now


def _silence(raft: RaftState, leadership: Leadership) -> float:
    """For how long no majority was heard; seconds."""
    return raft.now - max(leadership.rounds.began, leadership.grace)


def hears_quorum(raft: RaftState) -> bool:
    """Whether this node leads, and a majority said so within the shortest election timeout."""
    leadership = raft.leadership
    return leadership is not None and raft.now - leadership.rounds.began < raft.config.election_timeout_min


def _begin_round(raft: RaftState, leadership: Leadership) -> None:
    leadership.rounds.begin(raft.now)
    for progress in leadership.progress.values():
        replication.heartbeat(raft, progress)
    raft.next_deadline = leadership.heartbeat_due = raft.now + raft.config.heartbeat_interval
    _confirm_round(raft, leadership)


def begin_rounds_and_replicate(raft: RaftState) -> None:
    """Make requests of all that came since the last time, so that many proposals share an AppendEntries."""
    if (leadership := raft.leadership) is None:
        return
    if leadership.reads.wants_round(leadership.rounds):
        _begin_round(raft, leadership)
    if leadership.must_replicate:
        leadership.must_replicate = False
        for progress in leadership.progress.values():
            replication.replicate(raft, progress)


def wants_to_send(raft: RaftState) -> bool:
    """Whether `begin_rounds_and_replicate` may have something to do."""
    leadership = raft.leadership
    return leadership is not None and (leadership.must_replicate or leadership.reads.wants_round(leadership.rounds))


def _follow_configuration(raft: RaftState, leadership: Leadership, next_index: int) -> None:
    """A configuration came into force: feed whom it names, count who votes in it.

    next_index: of an entry that is there or about to be, so that newcomers are sent something at once.
    """
    configuration = raft.configuration
    for member in configuration.members:
        if member.node_id != raft.node_id and member.node_id not in leadership.progress:
            leadership.progress[member.node_id] = Progress(member.node_id, next_index, raft.now)
    leadership.voters = [
        progress for node_id, progress in leadership.progress.items() if node_id in configuration.voters
    ]
    leadership.counts_itself = raft.node_id in configuration.voters
    leadership.must_replicate = True


# ---------------------------------------------------------------- proposals


def propose(raft: RaftState, commands: Sequence[RaftCommand], timestamp_ms: int) -> tuple[int, int]:
    """Append commands. Raises NotLeader, ProposalDropped; ParseError for a command that is too large."""
    leadership = leadership_of(raft)
    if leadership.transfer is not None:
        raise NotLeader(f"{raft.node_id} hands over to {leadership.transfer.target}", leader=leadership.transfer.target)
    _check_room(raft, commands)
    first = raft.log.last_index + 1
    if commands:
        term = raft.term
        raft.log.append([LogEntry(term, first + at, command, timestamp_ms) for at, command in enumerate(commands)])
        leadership.must_replicate = True
    return raft.term, first


def _check_room(raft: RaftState, commands: Sequence[RaftCommand]) -> None:
    config, log = raft.config, raft.log
    size = 0
    for command in commands:
        size += (bytes_on_wire := wire_bytes(command))
        if type(command) is LiteCommand and len(command.data) > config.max_entry_bytes:
            raise ParseError(f"command of {len(command.data)} bytes: at most max_entry_bytes={config.max_entry_bytes}")
        if bytes_on_wire > config.max_entry_bytes * 4 // 3 + _NAMES_LIMIT:
            raise ParseError(f"command of {bytes_on_wire} bytes: the names in it take more than {_NAMES_LIMIT}")
    uncommitted = log.last_index - raft.commit
    if uncommitted + len(commands) > config.max_uncommitted_entries:
        raise ProposalDropped(
            f"{uncommitted} entries are uncommitted: at most max_uncommitted_entries={config.max_uncommitted_entries}"
        )
    waiting = log.wire_bytes_behind(raft.commit)
    if waiting and waiting + size > config.max_uncommitted_bytes:
        raise ProposalDropped(
            f"{waiting} bytes are uncommitted: at most max_uncommitted_bytes={config.max_uncommitted_bytes}"
        )


def change(raft: RaftState, node_id: NodeId, member: Member | None, timestamp_ms: int) -> tuple[int, int]:
    """Append a configuration that differs in one node (thesis 4.1). Raises NotLeader, ChangeRefused."""
    leadership = leadership_of(raft)
    if leadership.transfer is not None:
        raise ChangeRefused(f"{raft.node_id} hands over to {leadership.transfer.target}")
    if raft.log.configuration_index > raft.commit:
        raise ChangeRefused(f"the change in entry {raft.log.configuration_index} is not committed yet")
    if leadership.first_index > raft.commit:
        raise ChangeRefused(f"{raft.node_id} has not committed an entry of term {raft.term} yet")
    configuration = membership.changed(raft.configuration, node_id, member)
    if member is not None and member.voter and node_id not in raft.configuration.voters:
        _check_caught_up(raft, node_id, leadership.progress.get(node_id))
    index = raft.log.last_index + 1
    raft.log.append([LogEntry(raft.term, index, membership.configuration_command(configuration), timestamp_ms)])
    _follow_configuration(raft, leadership, index)
    return raft.term, index


def _check_caught_up(raft: RaftState, node_id: NodeId, progress: Progress | None) -> None:
    """Voters begin as learners (thesis 4.2.1).

    One that is far behind would hold up the commit of all that comes, and one that knows nothing yet does not vote:
    should the leader fail right after the change, nobody might be left to elect another.
    """
    if progress is None:
        raise ChangeRefused(f"{node_id} is new here: add it as a learner first, and let it catch up")
    if progress.state is not ProgressState.REPLICATE or progress.match_index < raft.commit:
        raise ChangeRefused(f"{node_id} has entries up to {progress.match_index} of {raft.commit}: let it catch up")
    if (silence := raft.now - progress.last_contact) > raft.config.election_timeout_min:
        raise ChangeRefused(f"{node_id} was not heard for {silence:.1f} s")


def advance_commit(raft: RaftState) -> None:
    """Commit what a majority holds durably, if it is of this term; that commits all before it (§5.3, §5.4.2)."""
    leadership = leadership_of(raft)
    matches = [progress.match_index for progress in leadership.voters]
    if leadership.counts_itself:
        matches.append(raft.log.durable)
    index = quorum.reached_by_majority(matches)
    if index <= raft.commit or raft.log.term(index) != raft.term:
        return
    before, raft.commit = raft.commit, index
    if leadership.progress:
        raft.next_deadline = min(raft.next_deadline, raft.now + raft.config.heartbeat_interval * _COMMIT_NOTICE)
    _answer_reads(raft, leadership)
    if before < raft.log.configuration_index <= index:
        _complete_change(raft, leadership)


def _complete_change(raft: RaftState, leadership: Leadership) -> None:
    """The configuration in force is committed: let those go that it does not name, oneself included."""
    configuration = raft.configuration
    for progress in list(leadership.progress.values()):
        if configuration.member(progress.node_id) is None:
            replication.farewell(raft, progress)
            del leadership.progress[progress.node_id]
    if not leadership.counts_itself:
        heir = max(leadership.voters, key=lambda progress: progress.match_index)
        raft.become_follower(raft.term, None)
        if heir.match_index == raft.log.last_index:  # spares the others the wait for an election timeout
            raft.send(heir.node_id, TimeoutNowRequest(raft.term, raft.node_id))


def _tell_commit(raft: RaftState, leadership: Leadership) -> None:
    for progress in leadership.progress.values():
        if not progress.inflight_appends and progress.commit_sent < min(raft.commit, progress.match_index):
            replication.heartbeat(raft, progress)
    raft.next_deadline = leadership.heartbeat_due


# ---------------------------------------------------------------- answers of followers


def responded(raft: RaftState, sent: Outgoing, response: Response) -> None:
    """An answer of the present term to one of our requests."""
    leadership = raft.leadership
    if leadership is None or (progress := leadership.progress.get(sent.to)) is None:
        return
    request = sent.request
    progress.contact(raft.now, patience=raft.config.election_timeout_min)
    if isinstance(request, AppendEntriesRequest) and isinstance(response, AppendEntriesResponse):
        is_news = replication.appended(raft, progress, request, response)
    elif isinstance(request, InstallSnapshotRequest) and isinstance(response, InstallSnapshotResponse):
        is_news = replication.installed(raft, progress, request, response)
    else:
        return
    leadership.must_replicate = True
    if sent.round > progress.round:
        progress.round = sent.round
        _confirm_round(raft, leadership)
    if is_news:
        if leadership.transfer is not None and leadership.transfer.target == sent.to:
            _ask_target(raft, leadership, leadership.transfer, progress)
        if progress.match_index > raft.commit:
            advance_commit(raft)


def _confirm_round(raft: RaftState, leadership: Leadership) -> None:
    rounds = [progress.round for progress in leadership.voters]
    if leadership.counts_itself:
        rounds.append(leadership.rounds.current)
    leadership.rounds.confirm(quorum.reached_by_majority(rounds))
    _answer_reads(raft, leadership)


def unreachable(raft: RaftState, sent: Outgoing) -> None:
    """A request of the present term failed, or its answer is overdue."""
    leadership = raft.leadership
    if leadership is None or (progress := leadership.progress.get(sent.to)) is None:
        return
    match sent.request:
        case AppendEntriesRequest() | InstallSnapshotRequest():
            replication.unreached(raft, progress, sent.request)
        case TimeoutNowRequest():
            if leadership.transfer is not None and leadership.transfer.target == sent.to:
                leadership.transfer = None
        case _:
            pass


def snapshot_taken(raft: RaftState) -> None:
    """A newer snapshot took the place of the one that followers are being sent: they start anew with it."""
    if raft.leadership is None or raft.snapshot is None:
        return
    for progress in raft.leadership.progress.values():
        if progress.state is ProgressState.SNAPSHOT:
            progress.become_snapshot(raft.snapshot)
            raft.leadership.must_replicate = True


# ---------------------------------------------------------------- reads


def read(raft: RaftState, token: object, *, is_remote: bool) -> None:
    """Answer as soon as the leader may be sure that nothing newer was committed elsewhere. Raises NotLeader."""
    leadership = leadership_of(raft)
    index = max(raft.commit, leadership.first_index)  # before its first commit a leader does not know the last one (§8)
    pending = PendingRead(token, is_remote, index, leadership.rounds.current + 1)
    if raft.commit >= index and (not leadership.voters or _has_lease(raft, leadership)):
        raft.answer_read(pending, index)
    else:
        leadership.reads.add(pending)


def _has_lease(raft: RaftState, leadership: Leadership) -> bool:
    """Whether no other leader can have been elected since the latest confirmed round began (thesis 6.4.1)."""
    config, rounds = raft.config, leadership.rounds
    lease = config.election_timeout_min * (1 - config.max_clock_drift)
    return config.lease_reads and leadership.has_lease and rounds.confirmed > 0 and raft.now < rounds.began + lease


def _answer_reads(raft: RaftState, leadership: Leadership) -> None:
    for answered in leadership.reads.take(confirmed_round=leadership.rounds.confirmed, commit=raft.commit):
        raft.answer_read(answered, answered.index)


# ---------------------------------------------------------------- hand over


def transfer(raft: RaftState, target: NodeId) -> None:
    """Let the target catch up, then make it campaign (thesis 3.10). Raises NotLeader, TransferFailed."""
    leadership = leadership_of(raft)
    if target == raft.node_id:
        return
    if target not in raft.configuration.voters:
        raise TransferFailed(f"{target} is no voter of this cluster; {raft.node_id} leads on")
    if leadership.transfer is not None:
        if leadership.transfer.target != target:
            raise TransferFailed(f"{raft.node_id} is handing over to {leadership.transfer.target} already")
        return
    leadership.transfer = Transfer(target, raft.now + raft.config.election_timeout_max)
    _ask_target(raft, leadership, leadership.transfer, leadership.progress[target])


def _ask_target(raft: RaftState, leadership: Leadership, handover: Transfer, progress: Progress) -> None:
    if progress.match_index == raft.log.last_index and not handover.is_asked:
        handover.is_asked = True
        leadership.has_lease = False
        raft.send(handover.target, TimeoutNowRequest(raft.term, raft.node_id))
