"""How a scenario shows what nodes send, write and are."""

from __future__ import annotations

from collections.abc import Iterable

from orbit_lite.model import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    LiteCommand,
    LiteKind,
    LogEntry,
    VoteRequest,
    VoteResponse,
)
from orbit_lite.raft import (
    InstallSnapshotRequest,
    InstallSnapshotResponse,
    Outgoing,
    PreVoteRequest,
    PreVoteResponse,
    RaftCore,
    ReadIndexRequest,
    ReadIndexResponse,
    Ready,
    Request,
    Response,
    Role,
    TimeoutNowRequest,
)
from orbit_lite.raft.membership import configuration_of

__all__ = ["entries_text", "log_text", "request_text", "response_text", "state_text", "write_text"]

#: Characters of a user's data that are shown.
_SHOWN = 10


def entry_text(entry: LogEntry) -> str:
    command, text = entry.command, f"{entry.index}@{entry.term}"
    assert isinstance(command, LiteCommand)
    if (configuration := configuration_of(entry)) is not None:
        members = (f"{member.node_id.key}{'' if member.voter else ' (learner)'}" for member in configuration.members)
        return f"{text} [{' '.join(members)}]"
    data = command.data.decode()
    shown = data if len(data) <= _SHOWN else f"{data[:_SHOWN]}… {len(data)} bytes"
    return f"{text} noop" if command.kind is LiteKind.NOOP else f'{text} "{shown}"'


def entries_text(entries: Iterable[LogEntry]) -> str:
    return ", ".join(map(entry_text, entries))


def request_text(sent: Outgoing) -> str:
    match sent.request:
        case AppendEntriesRequest(term, _, index, prev_term, entries, commit):
            what = entries_text(entries) or "nothing"
            return f"AppendEntries of term {term} behind {index}@{prev_term}: {what}; commit {commit}"
        case VoteRequest(term, _, index, last_term):
            return f"RequestVote for term {term}, log to {index}@{last_term}{', leader agrees' * sent.transfer}"
        case PreVoteRequest(term, _, index, last_term):
            return f"PreVote for term {term}, log to {index}@{last_term}"
        case InstallSnapshotRequest(term, _, meta, offset):
            return f"InstallSnapshot of term {term}: {meta.index}@{meta.term}, bytes from {offset} of {meta.size}"
        case TimeoutNowRequest(term):
            return f"TimeoutNow of term {term}"
        case ReadIndexRequest(term):
            return f"ReadIndex in term {term}"


def response_text(request: Request, response: Response) -> str:
    match response:
        case AppendEntriesResponse(term, success, _, last):
            prev = getattr(request, "prev_log_index", 0) + len(getattr(request, "entries", ()))
            return f"has all to {prev}, in term {term}" if success else f"refuses, in term {term}; hint {last}"
        case VoteResponse(term, granted) | PreVoteResponse(term, granted):
            kind = "vote" if isinstance(response, VoteResponse) else "pre-vote"
            return f"{kind} {'granted' if granted else 'refused'}, term {term}"
        case InstallSnapshotResponse(term, _, offset):
            return f"has {offset} bytes of the snapshot, in term {term}"
        case ReadIndexResponse(term, index, _):
            return f"read index {index}, term {term}"
        case _:
            return f"heeds TimeoutNow, term {response.term}"


def log_text(core: RaftCore) -> str:
    first, last = core.first_index, core.last_index
    snapshot = f"a snapshot to {core.snapshot.index}@{core.snapshot.term}, " if core.snapshot is not None else ""
    terms = " ".join(str(core.term_at(index)) for index in range(first, last + 1))
    return f"{snapshot}{f'terms of {first}..{last}: {terms}' if terms else 'no entries'}; commit {core.commit}"


def write_text(ready: Ready) -> str:
    hard, parts = ready.hard_state, []
    if hard is not None:
        vote = hard.vote.key if hard.vote is not None else "none"
        parts.append(f"term {hard.term}, vote {vote}, commit {hard.commit}")
    if ready.entries:
        parts.append(entries_text(ready.entries))
    if ready.chunk is not None:
        parts.append(f"bytes {ready.chunk.offset}..{ready.chunk.offset + len(ready.chunk.data)} of a snapshot")
    if ready.install is not None:
        parts.append(f"snapshot {ready.install.index}@{ready.install.term} in place of the log")
    return "; ".join(parts)


def state_text(core: RaftCore) -> tuple[str, str, str]:
    """What is told when it changes."""
    of = f" of {core.leader.key}" if core.leader is not None and core.role is Role.FOLLOWER else ""
    role = f"{core.role.value}{of}, term {core.term}, vote {core.vote.key if core.vote is not None else 'none'}"
    return role, f"commit {core.commit}", f"fault: {core.fault}"
