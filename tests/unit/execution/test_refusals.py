"""Whether a start that failed is tried again, and what its owner reads."""

import asyncpg
import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from services.common.blobs import BlobStoreAway
from services.common.error_status import from_exception
from services.common.errors import BlockyardError, StorageFull, Unavailable, Violation
from services.execution.errors import (
    BlockUnavailable,
    GraphNotFound,
    GraphNotRunnable,
    InputsInvalid,
    InsufficientCredits,
    TooManyExecutions,
)
from services.execution.refusals import LONGEST_REASON, is_lasting, reason_text


def answer(code: grpc.StatusCode, details: str = "", cause: BlockyardError | None = None) -> AioRpcError:
    """What another service answers, with the details of an error of its own."""
    packed = from_exception(cause).SerializeToString() if cause else None
    trailing = Metadata(("grpc-status-details-bin", packed)) if packed else Metadata()
    return AioRpcError(code, Metadata(), trailing, details)


@pytest.mark.parametrize(
    "error",
    [
        GraphNotFound(),
        GraphNotRunnable(),
        InputsInvalid(),
        InsufficientCredits(),
        answer(grpc.StatusCode.NOT_FOUND),
        answer(grpc.StatusCode.FAILED_PRECONDITION),
        answer(grpc.StatusCode.PERMISSION_DENIED),
        answer(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max"),
        asyncpg.DataError("invalid byte sequence"),
        ValueError("a bug"),
    ],
)
def test_what_would_be_refused_again_lasts(error: Exception) -> None:
    assert is_lasting(error)


@pytest.mark.parametrize(
    "error",
    [
        Unavailable(),
        BlockUnavailable(),
        StorageFull(),
        TooManyExecutions(),
        BlobStoreAway("away"),
        TimeoutError(),
        OSError(),
        asyncpg.SerializationError("another"),
        answer(grpc.StatusCode.UNAVAILABLE),
        answer(grpc.StatusCode.DEADLINE_EXCEEDED),
        answer(grpc.StatusCode.UNAUTHENTICATED),
        answer(grpc.StatusCode.RESOURCE_EXHAUSTED, StorageFull().message, StorageFull()),
    ],
)
def test_what_passes_by_itself_does_not_last(error: Exception) -> None:
    assert not is_lasting(error)


def test_a_reason_can_be_stored_and_shown_whatever_it_quotes() -> None:
    error = InputsInvalid("It does not fit.", violations=[Violation("inputs.a\0b", "no\n\ud800string")])
    assert reason_text(error) == "It does not fit. inputs.a b: no  string"
    assert reason_text(answer(grpc.StatusCode.NOT_FOUND, "no \x1b[31mred")) == "no  [31mred"
    assert len(reason_text(InputsInvalid("x" * 5_000))) == LONGEST_REASON


def test_what_nobody_expected_is_not_told() -> None:
    assert "operator" in reason_text(ValueError("secret"))
    assert "away" in reason_text(OSError("host"))
    assert reason_text(answer(grpc.StatusCode.INTERNAL)) == "INTERNAL"
