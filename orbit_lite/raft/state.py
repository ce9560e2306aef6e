"""The variables of a node (Raft, figure 2), and how it changes between roles.

The roles' rules are functions over this state, in `follower`, `candidate`, `leader` and `replication`; each file needs
only those that a node passes later on its way to leadership. `core.RaftCore` is this state with its inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from orbit_lite.model import NodeId
from orbit_lite.raft.config import RaftConfig
from orbit_lite.raft.duties import Duties
from orbit_lite.raft.errors import StoreCorrupt
from orbit_lite.raft.log import RaftLog
from orbit_lite.raft.messages import (
    Answer,
    Configuration,
    Outgoing,
    ReadIndexResponse,
    ReadState,
    Request,
    Response,
    Role,
    SnapshotMeta,
    Stored,
)
from orbit_lite.raft.progress import Progress
from orbit_lite.raft.reads import PendingRead, ReadQueue, Rounds

__all__ = ["LARGEST_INDEX", "LARGEST_TERM", "IncomingSnapshot", "Leadership", "RaftState", "Transfer"]

#: Terms are uint64. A node does not follow anyone into a term behind which there is no other.
LARGEST_TERM = (1 << 64) - 2

#: A snapshot does not end so close to the largest uint64 that a log could not go on behind it.
LARGEST_INDEX = 1 << 63


@dataclass(slots=True)
class Transfer:
    """The leader hands over to `target` (thesis 3.10), or gives up at `deadline`."""

    target: NodeId
    deadline: float
    is_asked: bool = False  # TimeoutNow was sent


@dataclass(slots=True)
class Leadership:
    """What only a leader has, for as long as it leads.

    first_index: its first entry; when that is committed, so is all that earlier leaders committed (§8).
    voters: the progress of the other voters. grace: when the quorum's silence began to count anew (a suspended host).
    """

    first_index: int
    rounds: Rounds
    grace: float
    progress: dict[NodeId, Progress] = field(default_factory=dict)
    voters: list[Progress] = field(default_factory=list)
    counts_itself: bool = True  # a leader that removes itself does not (thesis 4.2.2)
    reads: ReadQueue = field(default_factory=ReadQueue)
    transfer: Transfer | None = None
    has_lease: bool = True  # False once TimeoutNow was sent: it lets voters pass over what the lease relies on
    heartbeat_due: float = 0.0
    must_replicate: bool = True  # whether some follower may have to be sent something


@dataclass(slots=True)
class IncomingSnapshot:
    """A snapshot that a leader sends us.

    term: the leader's. received: bytes taken, durable when `write` is. tokens: of requests to answer when it is
    installed.
    """

    meta: SnapshotMeta
    term: int
    received: int = 0
    write: int = 0
    tokens: list[object] = field(default_factory=list)


class RaftState:
    """Everything that a node knows; `RaftCore` documents what is public."""

    __slots__ = (
        "applied",
        "commit",
        "config",
        "duties",
        "fault",
        "incoming",
        "is_transfer_target",
        "leader",
        "leadership",
        "log",
        "next_deadline",
        "node_id",
        "now",
        "random",
        "role",
        "snapshot",
        "sticky_until",
        "supporters",
        "term",
        "vote",
    )

    def __init__(
        self, node_id: NodeId, config: RaftConfig, stored: Stored, *, now: float, random: Callable[[], float]
    ) -> None:
        self.node_id = node_id
        self.config = config
        self.random = random
        self.now = now  # of the input that is being worked on
        self.role = Role.FOLLOWER
        self.leader: NodeId | None = None
        self.fault: str | None = None
        # Persistent (figure 2)
        self.term = stored.hard_state.term
        self.vote = stored.hard_state.vote
        self.log = RaftLog(stored)
        self.snapshot = stored.snapshot
        self.incoming: IncomingSnapshot | None = None
        if stored.incoming is not None and stored.incoming[1] < stored.incoming[0].size:
            self.incoming = IncomingSnapshot(stored.incoming[0], 0, stored.incoming[1])
        # Volatile
        covered = stored.snapshot.index if stored.snapshot is not None else 0
        self.commit = max(stored.hard_state.commit, covered)
        if self.commit > self.log.last_index:
            raise StoreCorrupt(f"{self.commit} entries were committed, and the log ends at {self.log.last_index}")
        if self.log.last_term > self.term:
            raise StoreCorrupt(f"the log ends in term {self.log.last_term}, and the current term is {self.term}")
        self.applied = covered
        self.duties = Duties(stored.hard_state)
        self.duties.restore = stored.snapshot
        self.leadership: Leadership | None = None
        self.supporters: set[NodeId] = set()  # who granted our vote or pre-vote
        self.is_transfer_target = False  # whether the leader asked for this candidacy
        # A leader's lease relies on what this node may have promised right before it was restarted.
        self.sticky_until = now + config.election_timeout_min if config.lease_reads else now
        self.next_deadline = 0.0
        self.wait_for_leader()

    @property
    def configuration(self) -> Configuration:
        """The latest configuration in the log, committed or not: the one in force (thesis 4.1)."""
        return self.log.configuration

    @property
    def is_voter(self) -> bool:
        """Whether this node takes part in elections.

        A voter that a change removes or demotes is needed until the change is committed: its log may be the only one
        that can win (thesis 4.2.2). It does not count itself then.
        """
        log = self.log
        return self.node_id in log.configuration.voters or (
            log.configuration_index > self.commit and self.node_id in log.configuration_at(self.commit).voters
        )

    # ------------------------------------------------------------ duties

    def send(self, to: NodeId, request: Request, *, transfer: bool = False) -> None:
        number = self.leadership.rounds.current if self.leadership is not None else 0
        self.duties.outgoing.append(Outgoing(to, request, number, transfer))

    def answer(self, token: object, response: Response, *, write: int = 0) -> None:
        self.duties.answer(Answer(token, response), write)

    def write_of(self, index: int) -> int:
        """The write that makes the log durable up to index; 0 when it is."""
        if index <= self.log.durable:
            return 0
        return self.duties.writes if index <= self.log.handed else self.duties.next_write

    def answer_read(self, read: PendingRead, index: int | None) -> None:
        if read.is_remote:
            self.answer(read.token, ReadIndexResponse(self.term, index, self.leader))
        else:
            self.duties.reads.append(ReadState(read.token, index))

    def report_fault(self, what: str) -> None:
        """Note that a peer broke a rule on which safety rests. What it asked for is refused."""
        self.fault = what

    # ------------------------------------------------------------ time

    def wait_for_leader(self) -> None:
        """Start the election timer; drawn anew each time, so that split votes do not repeat (§5.2)."""
        config = self.config
        spread = config.election_timeout_max - config.election_timeout_min
        self.next_deadline = self.now + config.election_timeout_min + spread * self.random()

    def is_disk_stuck(self) -> bool:
        """Whether a write has not become durable for an election timeout."""
        return self.duties.is_writing and self.now - self.duties.write_began >= self.config.election_timeout_max

    # ------------------------------------------------------------ roles

    def set_term(self, term: int) -> None:
        self.term = term
        self.vote = None
        self.duties.ballot_changed()
        self.duties.withdraw(term)

    def set_vote(self, candidate: NodeId) -> None:
        self.vote = candidate
        self.duties.ballot_changed()

    def become_follower(self, term: int, leader: NodeId | None) -> None:
        """Of `leader`, or of nobody yet. A later term begins without a vote (§5.1)."""
        leadership, self.leadership = self.leadership, None
        if self.role is not Role.FOLLOWER:
            self.role = Role.FOLLOWER
            self.supporters = set()
            self.is_transfer_target = False
            self.duties.outgoing.clear()  # what the old role wanted
        if term > self.term:
            self.set_term(term)
        self.leader = leader
        if leadership is not None:
            self.wait_for_leader()
            for read in leadership.reads.take_all():
                self.answer_read(read, None)

    def become_pre_candidate(self) -> None:
        """Ask whether an election could be won, in the present term (thesis 9.6)."""
        self.duties.outgoing.clear()  # of the campaign before
        self.role = Role.PRE_CANDIDATE
        self.leader = None
        self.is_transfer_target = False
        self.supporters = {self.node_id}
        self.wait_for_leader()

    def become_candidate(self, *, transfer: bool) -> None:
        """Begin a new term with a vote for oneself (§5.2)."""
        self.duties.outgoing.clear()  # of the campaign before
        self.set_term(self.term + 1)
        self.set_vote(self.node_id)
        self.role = Role.CANDIDATE
        self.leader = None
        self.supporters = {self.node_id}
        self.is_transfer_target = transfer
        self.wait_for_leader()

    def become_leader(self) -> None:
        """Begin to lead the present term. `leader.lead` does what follows from it."""
        self.role = Role.LEADER
        self.leader = self.node_id
        self.supporters = set()
        self.leadership = Leadership(self.log.last_index + 1, Rounds(self.now), self.now)

    def heed_term(self, term: int) -> None:
        """All servers: follow whoever is in a later term (§5.1)."""
        if self.term < term <= LARGEST_TERM:
            self.become_follower(term, None)
