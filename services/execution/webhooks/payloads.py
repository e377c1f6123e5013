"""What a delivery brings: read from its body, and judged by the filters of its trigger. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from blockyard.values import parse

from services.common import json_limits
from services.execution.errors import WebhookInvalid
from services.execution.webhooks.records import Kind, TriggerContent

FORM = "application/x-www-form-urlencoded"
"""How GitHub sends, unless it is told to send JSON."""
PING = "ping"
_EVENT_FIELDS = ("type", "event")
_ABSENT = object()


def read_payload(kind: Kind, content_type: str, body: bytes, most_bytes: int) -> dict[str, Any]:
    """The JSON object in a body. Raises WebhookInvalid."""
    check_size(body, most_bytes)
    text = _of_form(body) if kind is Kind.GITHUB and content_type.partition(";")[0].strip().lower() == FORM else body
    problem = json_limits.problem(text)
    if problem:
        raise WebhookInvalid(f"The payload {problem}.")
    try:
        payload = parse(text)
    except ValueError as error:
        raise WebhookInvalid(f"The payload is no JSON: {str(error)[:200]}.") from None
    if not isinstance(payload, dict):
        raise WebhookInvalid(f"The payload must be a JSON object, and is {_kind(payload)}.")
    return payload


def check_size(body: bytes, most_bytes: int) -> None:
    """Raises WebhookInvalid for a body that is not to be looked at."""
    if len(body) > most_bytes:
        raise WebhookInvalid(f"The payload has {len(body):,} bytes, at most {most_bytes:,} are taken.")


def event_of(kind: Kind, headers: Mapping[str, str], payload: Mapping[str, Any]) -> str:
    """The name of an event as filters know it; empty if it has none."""
    if kind is Kind.GITHUB:
        name, action = headers.get("x-github-event", ""), payload.get("action")
        return f"{name}.{action}" if isinstance(action, str) and action else name
    named = (payload.get(field) for field in _EVENT_FIELDS)
    return next((one for one in named if isinstance(one, str) and one), "")


def unwanted(kind: Kind, content: TriggerContent, event: str, payload: Mapping[str, Any]) -> str:
    """Why a trigger does not want this; empty if it does."""
    if content.events and not _is_among(kind, event, content.events):
        return f"the event is {event[:100]!r}" if event else "it names no event"
    for one in content.conditions:
        if not _same(_at(payload, one.path), one.equals):
            return f"{'.'.join(one.path)[:200]} is not what the trigger wants"
    return ""


def _is_among(kind: Kind, event: str, wanted: Sequence[str]) -> bool:
    # Without the action all of them are meant. Only GitHub's events have actions.
    return event in wanted or (kind is Kind.GITHUB and event.partition(".")[0] in wanted)


def _at(payload: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = payload
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _ABSENT
    return value


def _same(value: Any, wanted: Any) -> bool:
    """Equal as JSON: in Python True is 1."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(_same, value, wanted))
    if isinstance(value, dict) and isinstance(wanted, dict):
        return value.keys() == wanted.keys() and all(_same(value[name], wanted[name]) for name in wanted)
    return bool(value == wanted)


def _of_form(body: bytes) -> bytes:
    try:
        fields = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=10)
    except ValueError:
        raise WebhookInvalid("The body is no form, though its content type says so.") from None
    given = fields.get("payload", [])
    if len(given) != 1:
        raise WebhookInvalid("The form must have one field with the name payload, as GitHub sends it.")
    return given[0].encode()


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
