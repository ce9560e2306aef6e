"""Who is in the cluster, as far as a store says, and how its content becomes the beginning of another cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orbit_lite.errors import ConfigurationError
from orbit_lite.model import LiteCommand, LiteKind, LogEntry
from orbit_lite.raft import Configuration, HardState, SnapshotMeta, Stored
from orbit_lite.raft.membership import configuration_command, configuration_of

__all__ = ["begun_anew", "last_term", "latest_configuration"]


def last_term(snapshot: SnapshotMeta | None, entries: Iterable[LogEntry]) -> int:
    """Of the last entry; 0 when there was none."""
    last = 0 if snapshot is None else snapshot.term
    for entry in entries:
        last = max(last, entry.term)
    return last


def latest_configuration(snapshot: SnapshotMeta | None, entries: Iterable[LogEntry]) -> Configuration | None:
    """The one in force behind the entries; None when none is known."""
    latest = None if snapshot is None else snapshot.configuration
    for entry in entries:
        latest = configuration_of(entry) or latest
    return latest


def begun_anew(stored: Stored, configuration: Configuration) -> Stored:
    """The same state as the beginning of a cluster with this membership.

    Memberships become entries without effect, and a last entry puts the new one in force, one term above all that was
    known; everything counts as committed. Votes and what was being received are left out. Raises ConfigurationError
    when the configuration has no voter.
    """
    if not configuration.voters:
        raise ConfigurationError(f"configuration of {configuration.cluster_id!r}: it has no voter")
    snapshot = stored.snapshot
    last = stored.entries[-1].index if stored.entries else 0 if snapshot is None else snapshot.index
    term = max(stored.hard_state.term, last_term(snapshot, stored.entries)) + 1
    enforced = LogEntry(term, last + 1, configuration_command(configuration))
    return Stored(
        HardState(term, None, enforced.index),
        None if snapshot is None else replace(snapshot, configuration=configuration),
        (*map(_without_membership, stored.entries), enforced),
    )


def _without_membership(entry: LogEntry) -> LogEntry:
    is_membership = isinstance(entry.command, LiteCommand) and entry.command.kind is LiteKind.CONFIG
    return replace(entry, command=LiteCommand(LiteKind.NOOP, "", 0, b"")) if is_membership else entry
