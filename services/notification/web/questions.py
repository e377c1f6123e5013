"""A filter as it comes in a query or a JSON message, with all that is wrong with it named at once."""

from collections.abc import Mapping, Sequence
from typing import Any

from blockyard.event.v1.event_pb2 import EventKind
from blockyard.notification.v1.notification_service_pb2 import EventFilter as FilterMessage
from starlette.datastructures import QueryParams

from services.common.errors import InvalidArgument, Violation
from services.notification.asking import MOST, too_many

LISTS = ("execution_ids", "graph_ids", "kinds")
KIND_NAMES = sorted(name.removeprefix("EVENT_KIND_") for name, number in EventKind.items() if number)


def of_query(query: QueryParams) -> FilterMessage:
    """execution_id, graph_id and kind, each any number of times, and user_id."""
    known = {"execution_id": "execution_ids", "graph_id": "graph_ids", "kind": "kinds", "user_id": "user_id"}
    if unknown := sorted(set(query) - {*known, "cursor"}):
        described = f"not known; known are {', '.join([*known, 'cursor'])}"
        raise InvalidArgument("The query is not valid.", violations=[Violation(one, described) for one in unknown])
    fields: dict[str, Any] = {known[name]: query.getlist(name) for name in query if name in known}
    if "user_id" in fields:
        fields["user_id"] = fields["user_id"][-1]
    return of_json(fields)


def of_json(fields: Mapping[str, Any]) -> FilterMessage:
    """The lists execution_ids, graph_ids and kinds, and user_id."""
    violations = [
        Violation(f"filter.{name}", "a list of strings is expected")
        for name in LISTS
        if not _is_strings(fields.get(name, []))
    ]
    violations += [
        Violation(f"filter.{name}", f"not known; known are {', '.join([*LISTS, 'user_id'])}")
        for name in fields
        if name not in (*LISTS, "user_id")
    ]
    user_id = fields.get("user_id", "")
    if not isinstance(user_id, str):
        violations.append(Violation("filter.user_id", "a string is expected"))
    kinds: list[EventKind.ValueType] = []
    if not violations:
        named = fields.get("kinds", [])
        violations += too_many("kinds", len(named), MOST)
        # A message has room for twenty thousand: the loop does not stand still for all of them.
        for at, name in enumerate(named[:MOST]):
            short = str(name).upper().removeprefix("EVENT_KIND_")
            if short in KIND_NAMES:
                kinds.append(EventKind.Value(f"EVENT_KIND_{short}"))
            else:
                violations.append(Violation(f"filter.kinds[{at}]", f"{name!r} is none of {', '.join(KIND_NAMES)}"))
    if violations:
        raise InvalidArgument("The filter is not valid.", violations=violations)
    return FilterMessage(
        execution_ids=fields.get("execution_ids", ()),
        graph_ids=fields.get("graph_ids", ()),
        kinds=kinds,
        user_id=user_id,
    )


def _is_strings(value: Any) -> bool:  # Any: what JSON had
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, str) for one in value)
