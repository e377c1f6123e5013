"""Errors over HTTP: google.rpc.Status as JSON, as the edge gives those of gRPC."""

import math
from typing import Any

import grpc
from google.protobuf import json_format
from google.rpc import status_pb2
from starlette.requests import Request
from starlette.responses import JSONResponse

from services.common import error_status
from services.common.errors import BlockyardError

HTTP_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""As google.api.http has it."""
_BY_NUMBER = {code.value[0]: status for code, status in HTTP_STATUSES.items()}


def error_json(error: Exception) -> dict[str, Any]:
    """The status of any exception; one that nobody expected is logged, and told by its reference alone."""
    return _json(error_status.from_exception(error))


async def error_response(request: Request, error: Exception) -> JSONResponse:
    """The answer for an exception before the answer has begun, as Starlette asks for it."""
    return error_answer(error)


def error_answer(error: Exception) -> JSONResponse:
    """The answer for an exception."""
    status = error_status.from_exception(error)
    headers = {}
    if isinstance(error, BlockyardError) and error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    return JSONResponse(_json(status), _BY_NUMBER.get(status.code, 500), headers)


def _json(status: status_pb2.Status) -> dict[str, Any]:
    return dict(json_format.MessageToDict(status))
