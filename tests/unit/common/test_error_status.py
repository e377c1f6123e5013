"""What one service says passes through another."""

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from grpc_status import rpc_status

from services.common import error_status
from services.common.errors import BlockyardError, Internal, InvalidArgument, NotFound, PermissionDenied, Unavailable


def from_another_service(error: BlockyardError) -> AioRpcError:
    parts = rpc_status.to_status(error_status.status_of(error))
    return AioRpcError(parts.code, Metadata(), Metadata(*parts.trailing_metadata), parts.details)


@pytest.mark.parametrize("error", [NotFound("no such graph"), InvalidArgument("bad")])
def test_what_concerns_the_request_is_passed_on(error: BlockyardError) -> None:
    assert error_status.from_exception(from_another_service(error)) == error_status.status_of(error)


def test_a_service_that_is_away_is_unavailable() -> None:
    status = error_status.from_exception(from_another_service(Unavailable()))

    assert (status.code, error_status.reason_of(status)) == (grpc.StatusCode.UNAVAILABLE.value[0], "UNAVAILABLE")


@pytest.mark.parametrize("error", [PermissionDenied(), Internal("secret")])
def test_trouble_between_services_is_internal(error: BlockyardError) -> None:
    status = error_status.from_exception(from_another_service(error))

    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "secret" not in str(status)
