"""Which priorities a key may ask for: `urgent` needs the scope of that name."""

from app.server.access.caller import Caller
from app.server.answers.problems import ScopeMissing
from worker.contract import PRIORITIES, Priority


def list_allowed(caller: Caller) -> tuple[Priority, ...]:
    """The priorities that the caller may ask for, the first first."""
    return tuple(one for one in PRIORITIES if one != "urgent" or "urgent" in caller.scopes)


def require_priority(caller: Caller, priority: Priority) -> Priority:
    """Returns the priority if the caller may ask for it.

    Raises:
        ScopeMissing: they may not.
    """
    if priority not in list_allowed(caller):
        raise ScopeMissing(
            "priority=urgent needs a key with the scope urgent. Nothing was queued; send it "
            "without, or ask the operator for such a key."
        )
    return priority
