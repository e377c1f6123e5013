"""/docs and /openapi.json: what they serve, and that nothing of a contract's text becomes part of the page."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from services.notification.web.documentation import DOCUMENT, routes
from services.notification.web.page import rendered


class Page(HTMLParser):
    """What stands in a page: tags with their attributes, and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(attribute)) is not None]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(DOCUMENT.read_text())
    return content


@pytest.fixture(scope="module")
def page(document: dict[str, Any]) -> Page:
    return Page(rendered(document))


async def get(path: str, **headers: str) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=Starlette(routes=routes()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://edge") as client:
        return await client.get(path, headers=headers)


async def test_the_document_is_served_as_it_is_committed() -> None:
    answer = await get("/openapi.json")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.content == DOCUMENT.read_bytes()


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
async def test_a_browser_that_has_it_gets_it_once(path: str) -> None:
    first = await get(path)

    again = await get(path, **{"if-none-match": f'"other", W/{first.headers["etag"]}'})

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


async def test_the_policy_of_the_page_lets_its_own_style_through_and_nothing_else() -> None:
    answer = await get("/docs")

    [style] = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")
    assert "unsafe" not in policy


def test_the_page_loads_nothing_and_runs_nothing(page: Page) -> None:
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "iframe", "object", "embed", "form"})
    assert page.values("src") == []
    assert {href[0] for href in page.values("href") if href != "data:,"} <= {"#", "/"}
    assert not [name for _, attributes in page.tags for name in attributes if name == "style" or name.startswith("on")]


def test_every_operation_and_schema_is_on_the_page_and_every_link_leads_to_something(
    page: Page, document: dict[str, Any]
) -> None:
    ids = page.values("id")
    operations = [one["operationId"] for verbs in document["paths"].values() for one in verbs.values()]

    assert set(operations) <= set(ids)
    assert {f"schema-{name}" for name in document["components"]["schemas"]} <= set(ids)
    assert {href[1:] for href in page.values("href") if href.startswith("#")} <= set(ids)
    assert len(ids) == len(set(ids))


def test_texts_of_the_contract_do_not_become_part_of_the_page(document: dict[str, Any]) -> None:
    evil = "<script>alert(1)</script> `<b>` **<i>**\n\n- <u>"
    operation = {
        "operationId": "evil",
        "tags": ["Evil"],
        "summary": evil,
        "description": evil,
        "requestBody": {"content": {"application/json": {"schema": {"enum": [evil]}, "example": {"a": evil}}}},
        "responses": {},
    }
    changed = document | {"tags": [{"name": "Evil", "description": evil}], "paths": {f"/{evil}": {"post": operation}}}

    page = Page(rendered(changed))

    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "b", "i", "u"})
    assert "<script>alert(1)</script>" in page.text


def test_a_command_sends_the_example_as_it_is(document: dict[str, Any]) -> None:
    sent = {"note": "it's"}
    operation = {
        "operationId": "say",
        "tags": ["Speech"],
        "summary": "Says",
        "description": "",
        "requestBody": {"content": {"application/json": {"schema": {"type": "object"}, "example": sent}}},
        "responses": {},
    }
    changed = document | {"tags": [{"name": "Speech", "description": ""}], "paths": {"/say": {"post": operation}}}

    page = Page(rendered(changed))

    assert """-d '{"note": "it'"'"'s"}'""" in page.text
