"""What Envoy itself answers, in the form that services' errors have: google.rpc.Status with its details as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SAID = "%LOCAL_REPLY_BODY%"
"""What Envoy, or edge.lua, has to say of this one request."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer with one status of HTTP."""

    status: int
    code: int
    """Of gRPC."""
    reason: str
    message: str
    retry_after: int = 0
    """Seconds."""


REPLIES = (
    Reply(400, 3, "INVALID_REQUEST", SAID),
    Reply(403, 7, "PERMISSION_DENIED", "This is not allowed here."),
    Reply(404, 5, "PATH_NOT_FOUND", "There is nothing at this path. /docs lists those that there are."),
    Reply(405, 12, "INVALID_REQUEST", SAID),
    Reply(408, 4, "INVALID_REQUEST", "The request did not come as a whole within the time that it may take."),
    Reply(413, 11, "INVALID_REQUEST", "The body is larger than the edge takes on this path."),
    Reply(415, 3, "INVALID_REQUEST", SAID),
    Reply(426, 3, "INVALID_REQUEST", "This protocol is not spoken here: use HTTP/1.1 or HTTP/2."),
    Reply(429, 8, "RATE_LIMITED", "Too many requests in too short a time.", 1),
    Reply(431, 3, "INVALID_REQUEST", "The headers are larger than the edge takes."),
    Reply(500, 13, "INTERNAL", "Something unexpected went wrong, or the answer is larger than the edge passes on."),
    Reply(501, 12, "INVALID_REQUEST", "This is not supported."),
    Reply(502, 14, "UNAVAILABLE", "The service behind this path gave no proper answer. Try again.", 1),
    Reply(503, 14, "UNAVAILABLE", "The service behind this path is away, or the edge is full. Try again.", 1),
    Reply(504, 4, "UNAVAILABLE", "The service behind this path did not answer in time. What it was asked may happen."),
)


def mappers() -> list[Mapping[str, Any]]:
    """The mappers of Envoy's `local_reply_config`."""
    return [_mapper(reply) for reply in REPLIES]


def details() -> dict[str, str]:
    """By status, the details of such answers as JSON, for errors that services' own gRPC library makes without any."""
    return {str(reply.status): json.dumps(_details(reply), separators=(",", ":")) for reply in REPLIES}


def _mapper(reply: Reply) -> Mapping[str, Any]:
    made: dict[str, Any] = {
        "filter": {"and_filter": {"filters": [_has_status(reply.status), _is_no_call_of_grpc()]}},
        "body_format_override": {"json_format": _body(reply), "content_type": "application/json"},
    }
    if reply.retry_after:
        # An edge that is full answers before edge.lua, which says the same, is asked.
        header = {"key": "retry-after", "value": str(reply.retry_after)}
        made["headers_to_add"] = [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
    return made


def _body(reply: Reply) -> Mapping[str, Any]:
    return {"code": reply.code, "message": reply.message, "details": _details(reply)}


def _details(reply: Reply) -> Sequence[Mapping[str, str]]:
    made = [{"@type": _type("ErrorInfo"), "reason": reply.reason, "domain": "blockyard"}]
    if reply.retry_after:
        made.append({"@type": _type("RetryInfo"), "retryDelay": f"{reply.retry_after}s"})
    return made


def _type(detail: str) -> str:
    return f"type.googleapis.com/google.rpc.{detail}"


def _has_status(status: int) -> Mapping[str, Any]:
    value = {"default_value": status, "runtime_key": "edge.local_reply_status"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _is_no_call_of_grpc() -> Mapping[str, Any]:
    """The transcoder has made a call of gRPC of one of REST by then, and kept the path that it had."""
    grpc = {
        "name": "content-type",
        "string_match": {"prefix": "application/grpc"},
        "invert_match": True,
        "treat_missing_header_as_empty": True,
    }
    transcoded = {"name": "x-envoy-original-path", "present_match": True}
    return {"or_filter": {"filters": [{"header_filter": {"header": header}} for header in (grpc, transcoded)]}}
