"""The REST face is what its document says, whatever is asked of it: schemathesis makes up the requests, with values at
and beyond the bounds of every field, with objects that are there and others. More of it: `./task fuzz`.
"""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from blockyard.dev import Stack
from jsonschema import Draft202012Validator

from services.notification.web.documentation import DOCUMENT
from tests.e2e.rest.document import closed
from tests.e2e.rest.run import BODIES, LEFT_OUT, run

EXAMPLES = 3
NEVER_WELL = frozenset(
    {"startAuthorization", "completeAuthorization", "resumeNode", "receiveWebhook", "retryWebhookDelivery"}
)
"""Operations that need somebody else first: a provider, an execution that waits, a sender with the trigger's secret,
a delivery that failed."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return closed(json.loads(DOCUMENT.read_text(encoding="utf-8")))


@pytest.fixture
def client(stack: Stack) -> httpx2.AsyncClient:
    token = stack.user_token("rest-reader")
    return httpx2.AsyncClient(base_url=stack.edge.url, headers={"authorization": f"Bearer {token}"}, timeout=30)


@pytest.mark.timeout(300)
async def test_no_request_is_answered_otherwise_than_the_document_says(
    stack: Stack, tmp_path: Path, document: dict[str, Any]
) -> None:
    outcome = await run(stack, tmp_path, ["--max-examples", str(EXAMPLES)], brief=True)

    print(outcome.summary)
    assert outcome.passed, outcome.output
    operations = {one["operationId"] for verbs in document["paths"].values() for one in verbs.values()}
    assert outcome.answers.keys() == operations - set(LEFT_OUT)
    well = {name for name, answers in outcome.answers.items() if any(status < 300 for status in answers)}
    unknown = outcome.answers.keys() - well - NEVER_WELL
    print("never answered well:", ", ".join(sorted(unknown)) or "none but those that need somebody else")
    # Those of a new service, until run.py makes an object for them.
    assert len(unknown) <= len(operations) / 10, unknown


async def test_the_document_and_its_page_are_served_at_the_edge(stack: Stack) -> None:
    async with httpx2.AsyncClient(base_url=stack.edge.url) as client:
        page, served = await client.get("/docs"), await client.get("/openapi.json")

    assert served.content == DOCUMENT.read_bytes()
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "style-src 'sha256-" in page.headers["content-security-policy"]


async def test_a_stream_without_end_is_lines_of_what_the_document_says(
    client: httpx2.AsyncClient, document: dict[str, Any]
) -> None:
    operation = document["paths"]["/api/events:subscribe"]["get"]
    [(media_type, content)] = operation["responses"]["200"]["content"].items()
    async with client, client.stream("GET", "/api/events:subscribe") as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
        graph = (await client.post("/api/graphs", json=BODIES["CreateGraph"])).json()["graph"]["id"]
        await client.post(f"/api/graphs/{graph}/execute/0", json=BODIES["RunShout"])
        async for line in answer.aiter_lines():
            told = json.loads(line)
            schema = {**content["schema"]["items"], "components": document["components"]}
            Draft202012Validator(schema).validate(told)
            if "EVENT_KIND_EXECUTION_COMPLETED" in line:
                break


@pytest.mark.parametrize(
    ("query", "token", "status"),
    [
        ({"filter.kinds": "NO_SUCH_KIND"}, "", 400),
        ({"cursor": "x"}, "", 400),
        ({"filter.colour": "red"}, "", 400),
        ({"filter.userId": "somebody-else"}, "", 403),
        ({}, "wrong", 401),
    ],
)
async def test_a_stream_without_end_is_refused_as_the_document_says(
    client: httpx2.AsyncClient, document: dict[str, Any], query: dict[str, str], token: str, status: int
) -> None:
    headers = {"authorization": f"Bearer {token}"} if token else {}

    async with client:
        answer = await client.get("/api/events:subscribe", params=query, headers=headers)

    assert answer.status_code == status
    Draft202012Validator({"$ref": "#/components/schemas/Error", "components": document["components"]}).validate(
        answer.json()
    )
