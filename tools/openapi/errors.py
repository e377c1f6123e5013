"""What errors look like over REST, and which of them each operation can give: made from the enum of reasons."""

import re
from collections.abc import Mapping

from google.protobuf.descriptor import EnumDescriptor
from google.rpc import code_pb2

from services.common.http_statuses import http_status
from tools.openapi.limits import Schema

REASONS = "blockyard.common.v1.ErrorReason"

TITLES: Mapping[int, str] = {
    400: "The request is malformed, or not possible in the present state.",
    401: "The caller is not known: the token is missing, wrong or over.",
    402: "The caller has no credits left.",
    403: "The caller may not do this.",
    404: "There is no such thing, or it belongs to somebody else.",
    409: "It is there already, was changed since it was read, or takes nothing now.",
    413: "The body is larger than is taken.",
    415: "The body is not said to be JSON: `Content-Type: application/json`.",
    429: "A limit is reached: too many calls in too short a time, or too much at once.",
    500: "Something unexpected went wrong; the message gives the reference that the log has too.",
    503: "A part that is needed is away. Try again.",
    504: "The answer took too long.",
}

RETRIED = frozenset({429, 503})
"""Answers that may say when to try again."""


def responses_of(*, asks_who: bool, is_signed: bool, finds: bool, costs: bool, has_body: bool) -> dict[str, Schema]:
    """References to the errors of an operation; all others are alike too."""
    # Whatever is looked for in place of an address may be missing, such as the graph of a filter.
    statuses = {400, 409, 429, 500, 503, 504}
    statuses |= {401, 403} if asks_who else set()
    statuses |= {401} if is_signed else set()
    statuses |= {404} if finds else set()
    statuses |= {402} if costs else set()
    statuses |= {413, 415} if has_body else set()
    named = {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)}
    return {**named, "default": {"$ref": "#/components/responses/default"}}


def components(reasons: EnumDescriptor, comments: Mapping[str, str]) -> dict[str, dict[str, Schema]]:
    """The responses and schemas of errors, and the headers that come with them."""
    told = _by_status(reasons, comments)
    responses = {str(status): _response(title, told.get(status, []), status) for status, title in TITLES.items()}
    responses["default"] = _response("Any other error.", [], 0)
    return {
        "responses": responses,
        "headers": {
            "Retry-After": {
                "description": "After how many seconds the call may be tried again.",
                "schema": {"type": "integer", "minimum": 0},
            }
        },
        "schemas": {"Error": _error(), **_details(reasons)},
    }


def _response(title: str, reasons: list[str], status: int) -> Schema:
    lines = [title, "", *(f"- {line}" for line in reasons)] if reasons else [title]
    response: Schema = {
        "description": "\n".join(lines),
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    if status in RETRIED:
        response["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return response


def _by_status(reasons: EnumDescriptor, comments: Mapping[str, str]) -> dict[int, list[str]]:
    """The reasons with their comments, which end with the codes of gRPC that they come with."""
    told: dict[int, list[str]] = {}
    for value in reasons.values:
        comment = comments.get(f"{reasons.full_name}.{value.name}", "")
        ending = re.search(r"(?:^|\s)([A-Z_]+(?: or [A-Z_]+)*)\.$", comment)
        if value.number == 0 or ending is None:
            continue
        name = value.name.removeprefix("ERROR_REASON_")
        codes = ending[1].split(" or ")
        for status in sorted({http_status(code, name) for code in codes}):
            told.setdefault(status, []).append(f"`{name}`: {comment[: ending.start()].strip()}")
    return told


def _error() -> Schema:
    return {
        "type": "object",
        "description": "A google.rpc.Status. Clients decide by the code and by the reason in ErrorInfo; the message is "
        "for people.",
        "required": ["code", "message"],
        "properties": {
            "code": {
                "type": "integer",
                "description": "Code of gRPC: "
                + ", ".join(f"{number} {name}" for name, number in code_pb2.Code.items() if number),
                "minimum": 1,
                "maximum": 16,
            },
            "message": {"type": "string", "description": "What was wrong, and what to do."},
            "details": {
                "type": "array",
                "description": "More, each by its `@type`.",
                "items": {
                    "anyOf": [
                        {"$ref": f"#/components/schemas/{name}"}
                        for name in ("ErrorInfo", "BadRequest", "RetryInfo", "PreconditionFailure", "QuotaFailure")
                    ]
                },
            },
        },
        "example": {
            "code": 5,
            "message": "There is no graph with the id '0197'.",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "GRAPH_NOT_FOUND",
                    "domain": "blockyard",
                }
            ],
        },
    }


def _details(reasons: EnumDescriptor) -> dict[str, Schema]:
    names = [value.name.removeprefix("ERROR_REASON_") for value in reasons.values if value.number]
    return {
        "ErrorInfo": _detail(
            "ErrorInfo",
            "Why the call failed. Reasons are stable: they are added, never renamed.",
            reason={"type": "string", "enum": names},
            domain={"const": "blockyard"},
            metadata={"type": "object", "additionalProperties": {"type": "string"}},
        ),
        "BadRequest": _detail(
            "BadRequest",
            "What is wrong with which field.",
            fieldViolations=_violations(
                field="Path of the field: `nodes[2].inputs.text`.", description="What is wrong."
            ),
        ),
        "RetryInfo": _detail(
            "RetryInfo", "When to try again.", retryDelay={"type": "string", "examples": ["1s"], "pattern": "s$"}
        ),
        "PreconditionFailure": _detail(
            "PreconditionFailure",
            "What keeps the call from being done.",
            violations=_violations(type="The reason.", subject="Path or name of what it is about.", description="Why."),
        ),
        "QuotaFailure": _detail(
            "QuotaFailure",
            "Which limit is reached.",
            violations=_violations(subject="What it is about.", description="Which limit it is."),
        ),
    }


def _detail(name: str, description: str, **properties: Schema) -> Schema:
    type_ = {"@type": {"const": f"type.googleapis.com/google.rpc.{name}"}}
    return {"type": "object", "description": description, "required": ["@type"], "properties": type_ | properties}


def _violations(**texts: str) -> Schema:
    # What is empty is left out by JSON of proto3.
    properties = {name: {"type": "string", "description": text} for name, text in texts.items()}
    properties["reason"] = {"type": "string"}
    return {"type": "array", "items": {"type": "object", "properties": properties}}
