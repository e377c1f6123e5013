"""Errors over HTTP: google.rpc.Status as JSON, as the edge gives those of gRPC."""

import math
from typing import Any

from google.protobuf import json_format
from google.rpc import code_pb2, status_pb2
from starlette.requests import Request
from starlette.responses import JSONResponse

from services.common import error_status
from services.common.errors import BlockyardError
from services.common.http_statuses import http_status


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
    return JSONResponse(_json(status), _http_status(status), headers)


def close_code(error: BlockyardError) -> int:
    """How a WebSocket is closed for an error: the status of HTTP in the range that is free for applications."""
    return 4000 + _http_status(error_status.from_exception(error))


def _http_status(status: status_pb2.Status) -> int:
    return http_status(code_pb2.Code.Name(status.code), error_status.reason_of(status))


def _json(status: status_pb2.Status) -> dict[str, Any]:
    return dict(json_format.MessageToDict(status))
