"""`/unsubscribe`: where the links in mails lead.

A GET only asks, since programs that look for bad links follow every one; a POST ends the mails. Mail programs send it
by themselves, for the button that they show (RFC 8058): the token in the address is all that they need.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute, Route

from services.notification.mail.choices import Choices
from services.notification.mail.kinds import MailKind
from services.notification.mail.letters import TEMPLATES, TITLES, WORDS
from services.notification.mail.unsubscribing import UnsubscribeTokenInvalid

PATH = "/unsubscribe"
STYLE = "body{max-width:36em;margin:4em auto;padding:0 1em;font-family:sans-serif}button{font:inherit;padding:.4em 1em}"
"""All that the page needs, which its policy allows by the hash."""


def routes(choices: Choices) -> list[BaseRoute]:
    """The route, for the service's application. It needs no token but the one in the address."""

    async def unsubscribe(request: Request) -> HTMLResponse:
        token, everything = request.query_params.get("token", ""), request.query_params.get("all") == "1"
        try:
            ending = choices.asked(token)
            if request.method == "POST":
                return _page(done=_names(await choices.unsubscribe(token, everything)))
        except UnsubscribeTokenInvalid as error:
            return _page(400, error=error.message)
        asked = WORDS[ending.kind] if ending.kind is not None else TITLES[ending.round] if ending.round else ""
        return _page(asked=asked, token=token)

    return [Route(PATH, unsubscribe, methods=["GET", "POST"])]


def _names(kinds: Sequence[MailKind]) -> str:
    return ", ".join(WORDS[kind] for kind in kinds)


def _page(status: int = 200, **words: str) -> HTMLResponse:
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    headers = {
        "content-security-policy": (
            f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; "
            "frame-ancestors 'none'"
        ),
        "cache-control": "no-store",
        # The token stands in the address: it goes nowhere else.
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    empty = {"asked": "", "token": "", "done": None, "error": ""}
    html = _templates().get_template("unsubscribe.html").render({**empty, "style": STYLE, **words})
    return HTMLResponse(html, status, headers)


@cache
def _templates() -> Environment:
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
