"""One actor's mailbox: one call at a time, in the order of arrival, a bounded number waiting.

States and what may happen in them:

    NEW           calls wait; `begin` says that activation has begun
    ACTIVATING    calls wait; `activated` gives the first its turn, `close` hands all of them back
    IDLE          the next call begins at once; `retire` begins the end
    BUSY          one call runs, others wait; `finish` gives the next its turn
    RETIRING      calls wait again, for the actor's next life: `retired` says whether there is to be one
    CLOSED        over

A call that would wait for itself is refused: an actor that calls itself, directly or by way of other actors of the
node, would otherwise stand still until a time limit ends it. Calls know who called them, so this can be seen from the
call alone. Circles that run over other nodes cannot be seen and end by their time limits.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import Generic, TypeVar

from orbit_lite.errors import InternalError, OverloadedError, quote
from orbit_lite.model import AddressableReference

__all__ = ["Call", "Mailbox", "MailboxState"]


class MailboxState(enum.Enum):
    """Where an actor is in its life."""

    NEW = "new"
    ACTIVATING = "activating"
    IDLE = "idle"
    BUSY = "busy"
    RETIRING = "deactivating"
    CLOSED = "closed"


class Call:
    """One call of one actor.

    owner: whose actor it is; the same reference with another owner is another actor. parent: the call, of any actor,
    whose method makes this one. `is_over` is set once the method has returned or will not begin.
    """

    __slots__ = ("is_over", "method", "owner", "parent", "reference")

    def __init__(self, owner: object, reference: AddressableReference, method: str, parent: Call | None = None) -> None:
        while (
            parent is not None and parent.is_over
        ):  # else tasks that outlive their calls would string them up endlessly
            parent = parent.parent
        self.owner = owner
        self.reference = reference
        self.method = method
        self.parent: Call | None = parent
        self.is_over: bool = False

    def circle(self) -> list[Call] | None:
        """The running calls from one of the same actor down to this one: it would wait for itself. None: it would not.

        A method that has returned holds nobody up, though tasks that it left behind still count as called by it.
        """
        chain: list[Call] = [self]
        ancestor = self.parent
        while ancestor is not None:
            if not ancestor.is_over:
                chain.append(ancestor)
                if ancestor.owner is self.owner and ancestor.reference == self.reference:
                    return chain[::-1]
            ancestor = ancestor.parent
        return None

    def __str__(self) -> str:
        return f"{quote(str(self.reference))}.{quote(self.method)}"


_Call = TypeVar("_Call", bound=Call)


class Mailbox(Generic[_Call]):
    """capacity: calls that may wait beside the one that runs."""

    __slots__ = ("_capacity", "_waiting", "current", "state")

    def __init__(self, capacity: int) -> None:
        self.state = MailboxState.NEW
        self.current: _Call | None = None
        self._capacity = capacity
        self._waiting: OrderedDict[_Call, None] = OrderedDict()

    @property
    def depth(self) -> int:
        """Calls that wait."""
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Active, and nothing to do."""
        return self.state is MailboxState.IDLE

    def admit(self, call: _Call) -> bool:
        """True: it is the call's turn, and `finish` must follow. False: it waits.

        Raises OverloadedError when too many wait; nothing has changed then.
        """
        match self.state:
            case MailboxState.IDLE:
                self.state = MailboxState.BUSY
                self.current = call
                return True
            case MailboxState.CLOSED:
                raise self._illegal("admit")
        room = self._capacity if self.state is MailboxState.BUSY else self._capacity + 1  # one of them runs next
        if len(self._waiting) >= room:
            raise OverloadedError(f"mailbox of {quote(str(call.reference))} is full: {len(self._waiting)} calls wait")
        self._waiting[call] = None
        return False

    def withdraw(self, call: _Call) -> bool:
        """The call does not want to wait any longer. False: it was not waiting."""
        return self._waiting.pop(call, self) is None

    def begin(self) -> None:
        """Activation has begun; then `activated` or `close` must follow."""
        if self.state is not MailboxState.NEW:
            raise self._illegal("begin")
        self.state = MailboxState.ACTIVATING

    def activated(self) -> _Call | None:
        """The actor is ready. Returns the call whose turn it is, None when none waits."""
        if self.state is not MailboxState.ACTIVATING:
            raise self._illegal("activated")
        return self._give_turn()

    def finish(self) -> _Call | None:
        """The call that had its turn has ended. Returns the next, None when none waits."""
        if self.state is not MailboxState.BUSY:
            raise self._illegal("finish")
        return self._give_turn()

    def retire(self) -> bool:
        """Begin to deactivate, if the actor is idle; then `retired` must follow."""
        if self.state is not MailboxState.IDLE:
            return False
        self.state = MailboxState.RETIRING
        return True

    def retired(self) -> bool:
        """The actor is deactivated. True: calls came meanwhile, so it must be activated again (NEW). False: closed."""
        if self.state is not MailboxState.RETIRING:
            raise self._illegal("retired")
        self.state = MailboxState.NEW if self._waiting else MailboxState.CLOSED
        return self.state is MailboxState.NEW

    def close(self) -> list[_Call]:
        """Activation failed. Returns the calls that waited for it, in their order."""
        if self.state is not MailboxState.ACTIVATING:
            raise self._illegal("close")
        self.state = MailboxState.CLOSED
        calls = list(self._waiting)
        self._waiting.clear()
        return calls

    def _give_turn(self) -> _Call | None:
        if self._waiting:
            self.current, _ = self._waiting.popitem(last=False)
            self.state = MailboxState.BUSY
        else:
            self.current = None
            self.state = MailboxState.IDLE
        return self.current

    def _illegal(self, what: str) -> InternalError:
        return InternalError(f"mailbox: {what} while {self.state.value}, {self.depth} waiting")

    def __repr__(self) -> str:
        return f"<Mailbox {self.state.value}, {self.depth} waiting>"
