"""What a subscriber asks for: the filter as it came, checked against what the caller may see."""

from collections.abc import Sequence

from blockyard.event.v1.event_pb2 import EventKind
from blockyard.notification.v1.notification_service_pb2 import EventFilter as FilterMessage

from services.common.errors import InvalidArgument, PermissionDenied, Violation
from services.common.identity import Caller, current_caller, is_user_id
from services.common.permissions import Role
from services.notification.filters import EventFilter

MOST = 1_000
"""Ids in a filter."""
EVERYBODY = "*"


def filter_of(asked: FilterMessage) -> EventFilter:
    """The caller's filter. Raises InvalidArgument with all that is wrong, and PermissionDenied."""
    violations = [
        *_too_many("filter.execution_ids", asked.execution_ids),
        *_too_many("filter.graph_ids", asked.graph_ids),
        *(
            Violation(f"filter.kinds[{at}]", f"{kind} is no kind of event")
            for at, kind in enumerate(asked.kinds)
            if not kind or kind not in EventKind.values()
        ),
    ]
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


def _too_many(field: str, ids: Sequence[str]) -> list[Violation]:
    return [Violation(field, f"at most {MOST} are allowed, got {len(ids)}")] if len(ids) > MOST else []
