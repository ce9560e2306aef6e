"""Raft stories as text: commands to a small cluster, and below each of them what came out.

A scenario is a text file. A line that begins with "> " is a command (`commands` has them all); the indented lines below
it are what happened; all other lines are prose. Nothing moves unless a command says so, but that disks write at once.

    a -> b: …       a sends to b; "-x" where the link is cut
    a persists …    a's disk has it (term and vote, entries, snapshot); "is writing" where the disk is slow
    a applies …     handed out as committed
    a: leader, …    role, term, vote or commit index changed
    3@2 "x"         the entry at index 3, of term 2, that a user proposed

`elect`, `settle` and `wait` leave out messages and writes, and tell in the end who is what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .commands import Commands

if TYPE_CHECKING:
    from tests.raft.conftest import Packet

    from .world import MakeCluster

__all__ = ["play"]


def play(text: str, make_cluster: MakeCluster, make_packet: type[Packet]) -> str:
    """The scenario with what really happened below each command."""
    world, lines = Commands(make_cluster, make_packet), []
    for line in text.splitlines():
        if line.startswith("> "):
            lines += [line, *world.do(line[2:])]
        elif not line.startswith(" "):
            lines.append(line)
    return "\n".join(lines) + "\n"
