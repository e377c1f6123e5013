"""The document of OpenAPI as one page of HTML that stands for itself: no script, nothing loaded, every name escaped."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

FOLDER = Path(__file__).parent
STYLE = (FOLDER / "page.css").read_text(encoding="utf-8")

Json = Mapping[str, Any]
"""A part of the document."""

_LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} entries",
    "maxProperties": "at most {} entries",
    "pattern": "as {}",
}
_UNREMARKABLE = {("minLength", 1), ("maxLength", 20_000), ("minimum", -(2**31)), ("maximum", 2**31 - 1)}
"""Limits that nobody wonders about: said of all texts at the top, or by the type itself."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A method at an address, as the page shows it."""

    verb: str
    path: str
    content: Json

    @property
    def id(self) -> str:
        """What the page names it by."""
        return str(self.content["operationId"])

    @property
    def body(self) -> Json | None:
        """What is sent, by its media type."""
        content = self.content.get("requestBody", {}).get("content", {})
        return next(iter(content.values()), None)

    @property
    def answers(self) -> Iterator[tuple[str, str, Json]]:
        """Status, media type and schema of what is answered when all is well."""
        for status, response in self.content["responses"].items():
            for media_type, content in response.get("content", {}).items():
                yield status, media_type, content

    @property
    def errors(self) -> list[str]:
        """The statuses of errors."""
        return [status for status, response in self.content["responses"].items() if "$ref" in response]

    @property
    def command(self) -> str:
        """A call with curl."""
        parts = []
        if self.verb != ("post" if self.body else "get"):
            parts.append(f"-X {self.verb.upper()}")
        if "security" not in self.content:
            parts.append('-H "Authorization: Bearer $TOKEN"')
        parts.append(f'"$BLOCKYARD{self.path}"')
        if self.body is not None:
            parts.append('-H "Content-Type: application/json"')
            parts.append("-d " + shlex.quote(json.dumps(self.body.get("example", {}), ensure_ascii=False)))
        return "curl " + " \\\n  ".join(parts)


def rendered(document: Json) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": prose, "type": type_of, "limits": limits_of, "pretty": pretty, "apart": apart}
    operations = list(_operations(document))
    groups = [(tag, [one for one in operations if tag["name"] in one.content["tags"]]) for tag in _tags(document)]
    return environment.get_template("page.html").render(
        document=document,
        groups=groups,
        schemas=document["components"]["schemas"],
        responses=document["components"]["responses"],
        style=Markup(STYLE),  # ours; written as it is, since its hash stands in the policy
    )


def _tags(document: Json) -> list[Json]:
    tags: list[Json] = document["tags"]
    return sorted(tags, key=lambda tag: str(tag["name"]))


def _operations(document: Json) -> Iterator[Operation]:
    for path, verbs in document["paths"].items():
        for verb, content in verbs.items():
            yield Operation(verb, path, content)


def prose(text: str) -> Markup:
    """Paragraphs, lists, `code` and **strong** words of descriptions."""
    return Markup("\n").join(_block(block) for block in re.split(r"\n\s*\n", text.strip()))


def _block(block: str) -> Markup:
    lines = block.splitlines()
    if all(line.startswith("- ") for line in lines):
        items = Markup("").join(Markup("<li>{}</li>").format(_inline(line.removeprefix("- "))) for line in lines)
        return Markup("<ul>{}</ul>").format(items)
    return Markup("<p>{}</p>").format(_inline(" ".join(lines)))


def _inline(text: str) -> Markup:
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", marked))  # escaped before


def type_of(schema: Json) -> Markup:
    """What a value is, in a few words, with links to schemas."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return Markup('<a href="#schema-{}">{}</a>').format(name, name)
    if "anyOf" in schema:
        return Markup(" or ").join(type_of(one) for one in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        return Markup(" or ").join(Markup("<code>{}</code>").format(json.dumps(value)) for value in values)
    kind = schema.get("type", "any JSON value")
    if kind == "array":
        return Markup("list of {}").format(type_of(schema["items"]))
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return Markup("map of {}").format(type_of(schema["additionalProperties"]))
    words = " or ".join(kind) if isinstance(kind, list) else kind
    form = schema.get("format") or schema.get("contentEncoding")
    return Markup("{} ({})").format(words, form) if form else escape(words)


def limits_of(schema: Json) -> str:
    """What else is asked of a value."""
    told = [
        text.format(f"{value:,}" if isinstance(value, int) else value)
        for name, text in _LIMITS.items()
        if (value := schema.get(name)) is not None
        and (name, value) not in _UNREMARKABLE
        # The form of the type says it.
        and not (name == "pattern" and (schema.get("format") or schema.get("contentEncoding")))
    ]
    return ", ".join(told)


def apart(schema: Json) -> list[str]:
    """The fields of which at most one may be there."""
    pairs = schema.get("not", {}).get("anyOf", [])
    return list(dict.fromkeys(name for pair in pairs for name in pair["required"]))


def pretty(value: Any) -> str:
    """JSON to be read."""
    return json.dumps(value, indent=2, ensure_ascii=False)
