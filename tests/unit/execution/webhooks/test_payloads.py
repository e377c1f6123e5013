"""What a delivery brings, and which ones a trigger wants."""

import json
from typing import Any
from urllib.parse import quote_plus

import pytest

from services.execution.errors import WebhookInvalid
from services.execution.webhooks.payloads import FORM, event_of, read_payload, unwanted
from services.execution.webhooks.records import Condition, Kind, TriggerContent

MOST = 1_000
JSON = "application/json"


def content(*events: str, **conditions: Any) -> TriggerContent:
    wanted = tuple(Condition(tuple(path.split("__")), value) for path, value in conditions.items())
    return TriggerContent("", b"", events, wanted, False)


def test_a_json_object_is_a_payload_and_stays_exact() -> None:
    assert read_payload(Kind.GENERIC, "text/plain", b'{"id": 9007199254740993}', MOST) == {"id": 2**53 + 1}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"[1]", "is a list"),
        (b"null", "is null"),
        (b'"text"', "is a text"),
        (b'{"n": NaN}', "no JSON"),
        (b"\xff{}", "no JSON"),
        (b'{"deep": ' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper"),
        (b'{"long": "' + b"x" * MOST + b'"}', "at most 1,000 are taken"),
    ],
)
def test_what_is_no_payload_is_refused_with_the_reason(body: bytes, words: str) -> None:
    with pytest.raises(WebhookInvalid, match=words):
        read_payload(Kind.GENERIC, JSON, body, MOST)


def test_github_may_send_a_form() -> None:
    payload = {"action": "opened", "text": "a & b = ü"}
    body = b"payload=" + quote_plus(json.dumps(payload)).encode()
    assert read_payload(Kind.GITHUB, f"{FORM}; charset=utf-8", body, MOST) == payload
    with pytest.raises(WebhookInvalid):
        read_payload(Kind.GENERIC, FORM, body, MOST)
    for bad in (b"payload", b"other=1", body + b"&" + body, b"payload=%7B", b"\xff=1"):
        with pytest.raises(WebhookInvalid):
            read_payload(Kind.GITHUB, FORM, bad, MOST)


def test_events_have_names() -> None:
    github = {"x-github-event": "pull_request"}
    assert event_of(Kind.GITHUB, github, {"action": "opened"}) == "pull_request.opened"
    assert event_of(Kind.GITHUB, github, {"action": 1}) == "pull_request"
    assert event_of(Kind.GENERIC, github, {"type": "user.created", "event": "x"}) == "user.created"
    assert event_of(Kind.GENERIC, {}, {"type": 7, "event": "made"}) == "made"
    assert event_of(Kind.GENERIC, {}, {}) == ""


@pytest.mark.parametrize(
    ("kind", "event", "wanted", "taken"),
    [
        (Kind.GITHUB, "push", (), True),
        (Kind.GITHUB, "push", ("push",), True),
        (Kind.GITHUB, "pull_request.opened", ("pull_request",), True),
        (Kind.GITHUB, "pull_request.opened", ("issues", "pull_request.opened"), True),
        (Kind.GITHUB, "pull_request.closed", ("pull_request.opened",), False),
        (Kind.GITHUB, "pull_request_review.submitted", ("pull_request",), False),
        (Kind.GITHUB, "", ("push",), False),
        (Kind.GENERIC, "user.created", ("user.created",), True),
        (Kind.GENERIC, "user.created", ("user",), False),
        (Kind.GENERIC, "", ("user",), False),
    ],
)
def test_a_trigger_wants_its_events_alone(kind: Kind, event: str, wanted: tuple[str, ...], taken: bool) -> None:
    assert (unwanted(kind, content(*wanted), event, {}) == "") is taken


@pytest.mark.parametrize(
    ("equals", "taken"),
    [("open", True), ("Open", False), (1, False), (None, False), (["open"], False)],
)
def test_a_condition_compares_what_stands_at_its_place(equals: Any, taken: bool) -> None:
    payload = {"items": [{"state": "closed"}, {"state": "open"}]}
    assert (unwanted(Kind.GENERIC, content(items__1__state=equals), "", payload) == "") is taken


@pytest.mark.parametrize(
    ("value", "equals", "same"),
    [
        (True, 1, False),
        (1, True, False),
        (1, 1.0, True),
        (2**53 + 1, 2.0**53, False),
        (None, None, True),
        ([1, {"a": True}], [1.0, {"a": True}], True),
        ([1, {"a": True}], [1, {"a": 1}], False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
    ],
)
def test_values_are_equal_as_json_has_it(value: Any, equals: Any, same: bool) -> None:
    assert (unwanted(Kind.GENERIC, content(place=equals), "", {"place": value}) == "") is same


def test_what_is_absent_equals_nothing_and_all_conditions_count() -> None:
    payload = {"a": 1, "list": [1]}
    assert unwanted(Kind.GENERIC, content(b=None), "", payload)
    assert unwanted(Kind.GENERIC, content(a__b=None), "", payload)
    assert unwanted(Kind.GENERIC, content(list__1=1), "", payload)
    assert unwanted(Kind.GENERIC, content(**{"list__-1": 1}), "", payload)
    assert unwanted(Kind.GENERIC, content(a=1, list__0=2), "", payload) == "list.0 is not what the trigger wants"
    assert not unwanted(Kind.GENERIC, content(a=1, list__0=1), "", payload)
