"""The last resort: one node goes on alone, when a majority of its cluster is lost for good.

Raft cannot promise anything here. What this node never received is gone, though it may have been acknowledged to
clients; what it received and never knew to be committed counts from now on, though it may have been replaced elsewhere.
So the report says first what is at stake, and nothing is done unless it is asked for.

What comes out is a new cluster with an id of its own: its past disagrees with that of the old cluster's other nodes,
and the id keeps them out, should they come back after all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orbit_lite.errors import ConfigurationError
from orbit_lite.model import LogEntry, NodeId
from orbit_lite.raft import Configuration, HardState, Member, Stored
from orbit_lite.storage import changes, contents, snapshots
from orbit_lite.storage.database import Database, Transaction, exists, lock_folder, read_only
from orbit_lite.storage.files import Lock
from orbit_lite.storage.membership import begun_anew, last_term, latest_configuration

__all__ = ["RecoveryReport", "recover_unsafe"]


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What a recovery does, or did.

    before: the store's. last_index, last_term: of its log. assumed: indices that were not known to be committed and
    count as committed now. former: the membership before, None when none was known. configuration: the one that an
    entry at `index` puts in force in `term`. left_out: former members that are not in it. is_done: False for a dry run.
    """

    before: HardState
    last_index: int
    last_term: int
    assumed: range
    former: Configuration | None
    configuration: Configuration
    term: int
    index: int
    left_out: tuple[Member, ...]
    is_done: bool

    def risks(self) -> Iterator[str]:
        """What may be lost, a sentence each, for people."""
        yield (
            f"what other nodes acknowledged behind entry {self.last_index} (term {self.last_term}) is lost; "
            "nobody knows whether there was any"
        )
        if len(self.assumed) == 1:
            yield (
                f"entry {self.assumed[0]} counts as committed, though other nodes may have replaced it and told "
                "clients so"
            )
        elif self.assumed:
            yield (
                f"entries {self.assumed[0]} to {self.assumed[-1]} count as committed, though other nodes may have "
                "replaced them and told clients so"
            )
        for member in self.left_out:
            yield f"{member.node_id} is no member any more: it comes back with an empty directory or not at all"
        yield f"every node is to be started with cluster id {self.configuration.cluster_id!r}"


def recover_unsafe(
    directory: str | os.PathLike[str], configuration: Configuration, *, dry_run: bool = True
) -> RecoveryReport:
    """Let the node of this store lead alone, in a new cluster that begins with all that the store holds.

    Choose the store with the highest `last_term`, and among those the highest `last_index`: it holds the most. Keep a
    copy of its directory. configuration: this node as the only voter, under a new cluster id; other nodes are added
    later, to the running cluster. dry_run: only report.

    Raises StoreLocked while a node has the store open, StoreCorrupt, StoreFailed; ConfigurationError when there is no
    store, nothing in it, or the configuration is not as above. Then, and after a crash, the store is as it was.
    """
    folder = Path(directory)
    if len(configuration.voters) != 1:
        raise ConfigurationError(f"configuration of {configuration.cluster_id!r}: it must have one voter, this node")
    with _locked(folder) as lock:
        if dry_run:
            with read_only(folder) as (connection, state):
                report, _ = _plan(contents.load(folder, connection, state), configuration)
            return report
        database = Database.open(folder, lock)
        try:
            stored = contents.load(folder, database.connection, database.state)
            report, begin = _plan(stored, configuration)
            with database.transaction() as transaction:
                _begin(transaction, stored, begin)
        finally:
            database.close_files()
    return replace(report, is_done=True)


@contextmanager
def _locked(folder: Path) -> Iterator[Lock]:
    lock = lock_folder(folder, make=False)
    try:
        if not exists(folder):
            raise ConfigurationError(f"{folder}: there is no store")
        yield lock
    finally:
        lock.release()


def _plan(stored: Stored, configuration: Configuration) -> tuple[RecoveryReport, Stored]:
    former = latest_configuration(stored.snapshot, stored.entries)
    if former is not None and former.cluster_id == configuration.cluster_id:
        raise ConfigurationError(
            f"cluster id {configuration.cluster_id!r}: it must be a new one, which keeps out what is left of the old"
        )
    covered = 0 if stored.snapshot is None else stored.snapshot.index
    last = stored.entries[-1].index if stored.entries else covered
    if not last:
        raise ConfigurationError("there is nothing in the store to recover")
    begin = begun_anew(stored, configuration)
    kept: set[NodeId] = {member.node_id for member in configuration.members}
    report = RecoveryReport(
        before=stored.hard_state,
        last_index=last,
        last_term=last_term(stored.snapshot, stored.entries),
        assumed=range(max(covered, min(stored.hard_state.commit, last)) + 1, last + 1),
        former=former,
        configuration=configuration,
        term=begin.hard_state.term,
        index=begin.hard_state.commit,
        left_out=tuple(member for member in former.members if member.node_id not in kept) if former else (),
        is_done=False,
    )
    return report, begin


def _begin(transaction: Transaction, stored: Stored, begin: Stored) -> None:
    """Let the store hold `begin`, which differs from what it holds in memberships and in the last entry."""
    state = transaction.state
    if state.incoming is not None:
        snapshots.drop(transaction.connection, state.incoming.number)
    held = state.snapshot
    if held is not None and begin.snapshot is not None:
        held = replace(held, meta=begin.snapshot)
    # The peers of the new cluster come with stores of their own.
    transaction.state = replace(state, hard_state=begin.hard_state, snapshot=held, incoming=None, peers={})
    changes.append(transaction, begin.entries[_common(stored.entries, begin.entries) :])


def _common(one: tuple[LogEntry, ...], other: tuple[LogEntry, ...]) -> int:
    """How many entries both begin with."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
