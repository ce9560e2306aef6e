"""A failure as the user meets it: one line, a hint where there is something to do, an exit status."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace

import click

from orbit_lite.errors import (
    AddressableNotFound,
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    DrainingError,
    InternalError,
    LeaseExpired,
    NodeNotFound,
    OrbitError,
    OverloadedError,
    Status,
    TimeoutError,
)

__all__ = ["FAILED", "INTERRUPTED", "TERMINATED", "USED_WRONGLY", "Problem"]

FAILED = 1
USED_WRONGLY = 2
INTERRUPTED = 130  # as shells report a process that ended by SIGINT,
TERMINATED = 143  # and by SIGTERM

#: The first that fits.
_HINTS: tuple[tuple[type[OrbitError], str], ...] = (
    (ConnectError, "does a node listen there? `orbit-lite serve` starts one, --endpoint names another"),
    (ConnectionLost, "the node may have executed the call; `orbit-lite health` tells whether it is back"),
    (TimeoutError, "the node may have executed the call; --timeout allows it more time"),
    (AddressableNotFound, "`orbit-lite nodes` lists the actor types that each node hosts"),
    (NodeNotFound, "`orbit-lite nodes` lists the members that this node knows"),
    (DrainingError, "the node is shutting down; --endpoint names another"),
    (OverloadedError, "nothing was executed; try again later"),
    (
        AuthenticationError,
        "unless configured otherwise, this may be asked for from the node's own host only",
    ),
    (ConfigurationError, "`orbit-lite config` prints every setting and where it comes from"),
    (InternalError, "this is a defect of orbit-lite; please report it with the command that led to it"),
)
#: Of errors whose classes take long to import.
_HINTS_BY_CODE = {
    "ORB-3001": "ask the leader that it names; `orbit-lite nodes` lists where each node is",
    "ORB-3006": "--cluster-id (cluster.id) names the cluster that the node is of",
    "ORB-3007": "`orbit-lite raft remove` it, asked of the leader; then it may be added again",
    "ORB-3010": "stop the node first; it is the one that has the store open",
}
_HINTS_BY_STATUS = {
    Status.UNIMPLEMENTED: "`orbit-lite call HOST:PORT list` lists what the server offers",
    Status.UNAVAILABLE: "the server cannot take the call now; try again",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong. code and orb_code are empty for wrong use of the program."""

    message: str
    hint: str = ""
    orb_code: str = ""
    code: str = ""
    executed: str = ""
    exit_status: int = FAILED

    @classmethod
    def of(cls, error: OrbitError, *, hint: str | None = None) -> Problem:
        """The problem behind an error of the library. hint: instead of the one that its kind has."""
        if hint is None:
            by_kind = next((text for kind, text in _HINTS if isinstance(error, kind)), "")
            hint = by_kind or _HINTS_BY_CODE.get(error.orb_code) or _HINTS_BY_STATUS.get(error.code, "")
        message = str(error)
        if isinstance(error, AddressableNotFound | NodeNotFound | LeaseExpired):  # their messages are names only
            message = error.prefix + message
        message = " ".join(message.split("\n"))  # SQLite's findings have lines
        return cls(message, hint, error.orb_code, error.code.name, error.executed.value)

    @classmethod
    def of_usage(cls, error: click.ClickException) -> Problem:
        """The problem behind a wrong option or argument."""
        context = getattr(error, "ctx", None)
        hint = f"`{context.command_path} --help` explains its use" if context is not None else ""
        status = USED_WRONGLY if isinstance(error, click.UsageError) else FAILED
        problem = cls(error.format_message().replace("\n", " "), hint, exit_status=status)
        if context is not None and context.command.name == "health":  # grpc_health_probe's status for bad arguments
            return replace(problem, exit_status=1)
        return problem

    def show(self, *, as_json: bool) -> int:
        """Write it to stderr; returns the exit status."""
        if as_json:
            fields = {
                "message": self.message,
                "code": self.code,
                "orb_code": self.orb_code,
                "executed": self.executed,
                "hint": self.hint,
            }
            document = {"error": {name: value for name, value in fields.items() if value}}
            print(json.dumps(document, ensure_ascii=False), file=sys.stderr)
            return self.exit_status
        print(f"error: {self.message}" + (f" ({self.orb_code})" if self.orb_code else ""), file=sys.stderr)
        if self.hint:
            print(f"hint: {self.hint}", file=sys.stderr)
        return self.exit_status
