"""What a subscriber asks for: the filter as it came, checked against what the caller may see."""

from blockyard.event.v1.event_pb2 import EventKind
from blockyard.notification.v1.notification_service_pb2 import EventFilter as FilterMessage
from blockyard.notification.v1.webhook_pb2 import WebhookFilter

from services.common.errors import InvalidArgument, PermissionDenied, Violation
from services.common.identity import Caller, current_caller, is_user_id
from services.common.permissions import Role
from services.notification.filters import EventFilter

MOST = 1_000
"""Ids in the filter of a subscription."""
LONGEST_ID = 100
EVERYBODY = "*"


def filter_of(asked: FilterMessage) -> EventFilter:
    """The caller's filter. Raises InvalidArgument with all that is wrong, and PermissionDenied."""
    violations = doubts(asked, MOST)
    if asked.user_id not in ("", EVERYBODY) and not is_user_id(asked.user_id):
        violations.append(Violation("filter.user_id", 'not the id of a user, nor "*"'))
    if violations:
        raise InvalidArgument("The filter is not valid.", violations=violations)
    caller = current_caller()
    user_id = asked.user_id or caller.user_id
    filter = EventFilter(
        user_id=None if user_id == EVERYBODY else user_id,
        execution_ids=frozenset(asked.execution_ids),
        graph_ids=frozenset(asked.graph_ids),
        kinds=frozenset(asked.kinds),
    )
    check_filter(filter, caller)
    return filter


def check_filter(filter: EventFilter, caller: Caller) -> None:
    """Raises PermissionDenied if a caller may not, or may no longer, be told what this filter lets through."""
    if filter.user_id != caller.user_id and caller.role is not Role.ADMIN:
        raise PermissionDenied("Only administrators may subscribe to the events of others.")


def doubts(asked: FilterMessage | WebhookFilter, most: int) -> list[Violation]:
    """What is wrong with the ids and kinds of a filter, of which each list may have so many."""
    violations: list[Violation] = []
    for name, ids in (("graph_ids", asked.graph_ids), ("execution_ids", asked.execution_ids)):
        violations += too_many(name, len(ids), most)
        violations += [
            Violation(f"filter.{name}[{at}]", f"expected an id of 1 to {LONGEST_ID} characters")
            for at, one in enumerate(ids[:most])
            if not 1 <= len(one) <= LONGEST_ID or not one.isprintable()
        ]
    known = EventKind.values()
    violations += too_many("kinds", len(asked.kinds), most)
    violations += [
        Violation(f"filter.kinds[{at}]", f"{kind} is no kind of event")
        for at, kind in enumerate(asked.kinds[:most])
        if not kind or kind not in known
    ]
    return violations


def too_many(name: str, count: int, most: int) -> list[Violation]:
    """That a list of a filter has more than that, if it has."""
    return [Violation(f"filter.{name}", f"at most {most} are allowed, got {count}")] if count > most else []
