"""`/docs` and `/openapi.json`: the REST face described, for people and for programs.

The page is made of the document by page.py, once. It loads nothing and runs nothing, so its policy forbids all but its
own style, and it looks the same in a network that reaches nothing outside.
"""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from services.notification.web.page import STYLE, rendered

DOCUMENT = Path(__file__).parent / "openapi.json"


@dataclass(frozen=True, slots=True)
class _File:
    """What is served at an address, the same for as long as this release runs."""

    content: bytes
    media_type: str
    policy: str

    @property
    def tag(self) -> str:
        """Changes with the content."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


def routes() -> list[BaseRoute]:
    """The routes of both, for the service's application. They need no token, and are no secret."""
    return [Route("/docs", _docs), Route("/openapi.json", _openapi)]


def policy_of(style: str) -> str:
    """A content security policy under which a page has this style and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    allowed = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:"
    return f"{allowed}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@cache
def _page() -> _File:
    return _File(rendered(orjson.loads(DOCUMENT.read_bytes())).encode(), "text/html; charset=utf-8", policy_of(STYLE))


@cache
def _document() -> _File:
    return _File(DOCUMENT.read_bytes(), "application/json", "default-src 'none'; frame-ancestors 'none'")


async def _docs(request: Request) -> Response:
    return _answer(request, _page())


async def _openapi(request: Request) -> Response:
    return _answer(request, _document())


def _answer(request: Request, file: _File) -> Response:
    headers = {
        "etag": file.tag,
        # Kept by browsers, which ask each time whether it is still the same.
        "cache-control": "no-cache",
        "content-security-policy": file.policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if file.tag in known:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
