"""What a task brings, put together for its block."""

from pathlib import Path

import pytest
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.values import BLOB_KEY, NO_JSON

from services.common.blobs import BlobMissing, BlobStore
from services.runner.inputs import resolve
from services.runner.outcomes import judge


async def test_what_another_runner_stored_and_is_no_json_is_a_value_that_cannot_be_had(tmp_path: Path) -> None:
    store = BlobStore(f"file://{tmp_path}")
    stored = await store.put("a/1", b"NaN")
    reference = {BLOB_KEY: {"key": stored.key, "size": stored.size, "sha256": stored.sha256}}
    with pytest.raises(BlobMissing) as refused:
        await resolve({"a": [reference]}, store)
    assert judge(refused.value) == (NodeErrorReason.NODE_ERROR_REASON_VALUE_MISSING, NO_JSON)
