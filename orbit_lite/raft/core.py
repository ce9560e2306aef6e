"""The Raft core: told what happens, it says what to do (Ongaro and Ousterhout, extended version; thesis 2014).

It waits for nothing, reads no clock, draws no random number and opens no file, so that a seed repeats a run exactly.
Its driver goes round like this:

    core.receive(request, token=…, now=…)       # or another input
    while core.has_ready():
        ready = core.ready()
        send(ready.at_once)
        if ready.must_persist:
            intact = store.save(…)              # may take its time: meanwhile other inputs and Readys come
        core.persisted(ready, now, snapshot_intact=intact)
        send(ready.requests, ready.answers); restore, apply, answer reads
    wait for input until core.next_deadline, then core.handle_timer(now)

No input raises because of what a peer said. Where a peer breaks a rule on which safety rests, its request is refused
and `status().fault` says so.

Where to read on: `state` has the variables, `follower`, `candidate` and `leader` the rules of the roles, `replication`
and `progress` how followers are fed, `log`, `membership`, `quorum` and `reads` what their names say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orbit_lite.errors import InternalError
from orbit_lite.model import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    LogEntry,
    NodeId,
    RaftCommand,
    VoteRequest,
    VoteResponse,
)
from orbit_lite.raft import candidate, follower, leader
from orbit_lite.raft.config import RaftConfig
from orbit_lite.raft.messages import (
    Configuration,
    HardState,
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    Member,
    Outgoing,
    PreVoteRequest,
    PreVoteResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    Ready,
    Request,
    Response,
    Role,
    SnapshotMeta,
    Stored,
    TimeoutNowRequest,
    TimeoutNowResponse,
)
from orbit_lite.raft.progress import ProgressState
from orbit_lite.raft.state import RaftState
from orbit_lite.raft.status import FollowerStatus, RaftStatus

__all__ = ["RaftCore"]

#: Entries that one Ready hands out to be applied, so that a node with much to catch up stays responsive.
_MAX_COMMITTED = 1024


class RaftCore(RaftState):
    """One node of a cluster.

    Read-only for others: node_id, config, role, term, vote, leader, commit, applied (handed out as committed),
    last_index, first_index (of the log in memory), configuration (the latest in the log), snapshot, and next_deadline:
    when `handle_timer` must be called next, in the time of `now`.
    """

    __slots__ = ()

    def __init__(
        self, node_id: NodeId, config: RaftConfig, stored: Stored, *, now: float, random: Callable[[], float]
    ) -> None:
        """Begin with what the store holds; the first Ready sets the state machine to its snapshot, if there is one.

        now: seconds from any origin, never going back. random: draws from [0, 1). Raises StoreCorrupt.
        """
        super().__init__(node_id, config, stored, now=now, random=random)

    # ------------------------------------------------------------ state

    @property
    def last_index(self) -> int:
        return self.log.last_index

    @property
    def first_index(self) -> int:
        return self.log.first_index

    def term_at(self, index: int) -> int | None:
        """The term of an entry; None when the log in memory does not hold it."""
        return self.log.term(index)

    def configuration_at(self, index: int) -> Configuration:
        """The configuration in force at an index from the latest snapshot's to last_index: what a snapshot must say."""
        return self.log.configuration_at(index)

    @property
    def is_sending_snapshot(self) -> bool:
        """Whether a follower that is there is being brought up by a snapshot, which a newer one would make useless."""
        leadership = self.leadership
        heard = self.now - self.config.election_timeout_max
        return leadership is not None and any(
            progress.state is ProgressState.SNAPSHOT and progress.last_contact >= heard
            for progress in leadership.progress.values()
        )

    def status(self) -> RaftStatus:
        leadership = self.leadership
        return RaftStatus(
            node_id=self.node_id,
            role=self.role,
            term=self.term,
            vote=self.vote,
            leader=self.leader,
            commit=self.commit,
            applied=self.applied,
            durable=self.log.durable,
            first_index=self.log.first_index,
            last_index=self.log.last_index,
            last_term=self.log.last_term,
            snapshot=self.snapshot,
            configuration=self.configuration,
            configuration_index=self.log.configuration_index,
            transfer=leadership.transfer.target if leadership is not None and leadership.transfer is not None else None,
            followers=tuple(
                FollowerStatus(
                    node_id=progress.node_id,
                    is_voter=progress.node_id in self.configuration.voters,
                    state=progress.state,
                    match_index=progress.match_index,
                    next_index=progress.next_index,
                    silence=self.now - progress.last_contact,
                    inflight_appends=progress.inflight_appends,
                    inflight_bytes=progress.inflight_bytes,
                    snapshot_offset=progress.snapshot_offset,
                )
                for progress in (leadership.progress.values() if leadership is not None else ())
            ),
            fault=self.fault,
        )

    # ------------------------------------------------------------ inputs

    def _set_clock(self, now: float) -> None:
        """Every input brings the time. Where it jumped, this process stood still and knows of nobody's silence."""
        self.now = now
        if now - self.next_deadline > self.config.election_timeout_min:
            if self.role is Role.LEADER:
                leader.suspended(self)
            else:
                self.wait_for_leader()

    def handle_timer(self, now: float) -> None:
        """next_deadline has come; earlier calls have no effect."""
        self._set_clock(now)
        if now < self.next_deadline:
            return
        if self.role is Role.LEADER:
            leader.tick(self)
        else:
            candidate.campaign(self)

    def receive(self, request: Request, *, token: object, now: float, transfer: bool = False) -> None:
        """A peer's request. Its answer comes with the token in a Ready, now or later, exactly once.

        transfer: what came beside a VoteRequest, see `Outgoing`.
        """
        self._set_clock(now)
        match request:
            case AppendEntriesRequest():
                follower.append_entries(self, request, token)
            case VoteRequest():
                follower.vote(self, request, token, transfer=transfer)
            case PreVoteRequest():
                follower.pre_vote(self, request, token)
            case InstallSnapshotRequest():
                follower.install_snapshot(self, request, token)
            case TimeoutNowRequest():
                follower.timeout_now(self, request, token)
            case ReadIndexRequest():
                follower.read_index(self, request, token)

    def receive_response(self, sent: Outgoing, response: Response, now: float) -> None:
        """The answer to a request that came out of a Ready; answers may be late, repeated and in any order."""
        self._set_clock(now)
        match response:
            case AppendEntriesResponse(follower_id=speaker) | InstallSnapshotResponse(follower_id=speaker):
                pass
            case VoteResponse(voter_id=speaker) | PreVoteResponse(voter_id=speaker):
                pass
            case TimeoutNowResponse(follower_id=speaker):
                pass
            case ReadIndexResponse():
                speaker = sent.to
        if speaker != sent.to:
            return  # another node answers at this address: it speaks for itself only
        if isinstance(response, PreVoteResponse):
            if not response.vote_granted:
                self.heed_term(response.term)  # that of a grant is the one asked about
            candidate.pre_vote_answered(self, sent, response)
            return
        self.heed_term(response.term)
        if isinstance(response, VoteResponse):
            candidate.vote_answered(self, sent, response)
        elif response.term == sent.request.term == self.term:
            leader.responded(self, sent, response)

    def unreachable(self, sent: Outgoing, now: float, *, unimplemented: bool = False) -> None:
        """A request failed, or its answer is overdue. unimplemented: the peer does not know this RPC.

        Candidates ask again after an election timeout; a peer that knows no pre-vote just does not count.
        """
        self._set_clock(now)
        if sent.request.term == self.term:
            leader.unreachable(self, sent)

    def propose(self, commands: Sequence[RaftCommand], now: float, *, timestamp_ms: int = 0) -> tuple[int, int]:
        """Append to the log; (term, index of the first). They are decided when an entry of that index is committed.

        Raises NotLeader, ProposalDropped, or ParseError for a command that is too large; nothing is appended then.
        """
        self._set_clock(now)
        return leader.propose(self, commands, timestamp_ms)

    def change(self, member: Member | None, node_id: NodeId, now: float, *, timestamp_ms: int = 0) -> tuple[int, int]:
        """Add, promote, demote or move the node, or remove it (None); (term, index) as for `propose`.

        Raises NotLeader, or ChangeRefused: another change is not committed yet, or no entry of this term is; not just
        one node would change; no voter would be left; or the new voter is no learner that has caught up.
        """
        self._set_clock(now)
        return leader.change(self, node_id, member, timestamp_ms)

    def read(self, token: object, now: float) -> None:
        """Ask how far a linearizable read must have applied; a ReadState with the token follows. Raises NotLeader."""
        self._set_clock(now)
        leader.read(self, token, is_remote=False)

    def transfer(self, target: NodeId, now: float) -> None:
        """Hand the leadership over; proposals are refused until it is done or an election timeout is over.

        Raises NotLeader, TransferFailed.
        """
        self._set_clock(now)
        leader.transfer(self, target)

    # ------------------------------------------------------------ outputs

    def has_ready(self) -> bool:
        """Whether `ready` has anything to say."""
        duties = self.duties
        return bool(
            leader.wants_to_send(self)
            or (duties.outgoing and duties.is_ballot_durable)
            or (not duties.is_writing and self._must_write())
            or duties.reads
            or duties.restore
            or self.applied < self._applicable()
            or duties.has_answers()
        )

    def _must_write(self) -> bool:
        duties = self.duties
        return duties.must_write_ballot or self.log.handed < self.log.last_index or duties.chunk is not None

    def _applicable(self) -> int:
        return min(self.commit, self.log.durable)

    def ready(self) -> Ready:
        """What is to be done now. What must be persisted comes only when the write before it is."""
        leader.begin_rounds_and_replicate(self)
        duties, log = self.duties, self.log
        at_once: tuple[Outgoing, ...] = ()
        if duties.is_ballot_durable:
            at_once, duties.outgoing = tuple(duties.outgoing), []
        if self.applied < (applicable := self._applicable()):
            applicable = min(applicable, self.applied + _MAX_COMMITTED)
            committed = log.slice(self.applied + 1, applicable)
            self.applied = applicable
        else:
            committed = ()
        restore, duties.restore = duties.restore, None
        reads, duties.reads = tuple(duties.reads), []
        if duties.is_writing or not self._must_write():
            answers = duties.take_answers(with_write=False)
            return Ready(at_once=at_once, answers=answers, restore=restore, committed=committed, reads=reads)
        answers = duties.take_answers(with_write=True)
        requests, duties.outgoing = tuple(duties.outgoing), []
        hard_state = self._hard_state()
        entries: tuple[LogEntry, ...] = ()
        if log.handed < log.last_index:
            entries = log.slice(log.handed + 1, log.last_index)
            log.handed = log.last_index
        chunk, duties.chunk = duties.chunk, None
        duties.begin_write(self.now)
        return Ready(at_once, hard_state, entries, chunk, duties.install, requests, answers, restore, committed, reads)

    def _hard_state(self) -> HardState | None:
        """What to store of figure 2. The commit index only goes along with other things: it is not worth a write."""
        duties, stored = self.duties, self.duties.stored
        if not duties.must_write_ballot and self.commit == stored.commit:
            return None
        duties.stored = HardState(self.term, self.vote, self.commit)
        return duties.stored

    def persisted(self, ready: Ready, now: float, *, snapshot_intact: bool = True) -> None:
        """What the Ready holds is durable; a Ready that holds nothing to persist may be given, too.

        snapshot_intact: what LogStore.save said of `ready.install`.
        """
        self._set_clock(now)
        if not ready.must_persist:
            return
        duties = self.duties
        if not duties.is_writing:
            raise InternalError(f"persisted: no write is under way, {duties.written} are done")
        duties.written = duties.writes
        self.log.durable = self.log.handed
        if ready.install is not None:
            duties.install = None
            follower.snapshot_written(self, ready.install, is_intact=snapshot_intact)
        if self.role is Role.LEADER:
            leader.advance_commit(self)

    # ------------------------------------------------------------ snapshots of the own state machine

    def first_index_after(self, meta: SnapshotMeta) -> int:
        """Where the log begins once the snapshot is written: some entries stay for followers a little behind."""
        return max(self.first_index, meta.index + 1 - self.config.snapshot_trailing_entries)

    def compacted(self, meta: SnapshotMeta) -> None:
        """A snapshot of the own state machine is in the store, and the log before `first_index_after` is not."""
        if self.snapshot is not None and meta.index <= self.snapshot.index:
            return
        self.log.compact(self.first_index_after(meta))
        self.snapshot = meta
        leader.snapshot_taken(self)
