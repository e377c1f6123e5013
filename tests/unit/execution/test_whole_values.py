"""References to the blob store are resolved wherever they stand, and no further than a message goes."""

from pathlib import Path

import orjson
import pytest
from blockyard.values import encode_reference

from services.common.blobs import BlobStore
from services.execution.errors import ValueMissing, ValueTooLarge
from services.execution.large_values import LARGEST, LargeValues


async def kept(store: BlobStore, key: str, data: bytes) -> bytes:
    """The reference to data that is in the store."""
    reference = await store.put(key, data)
    return encode_reference(reference.key, reference.size, reference.sha256)


async def test_references_inside_a_stored_value_are_resolved(tmp_path: Path) -> None:
    store = BlobStore(f"file://{tmp_path}")
    item = await kept(store, "a/1", orjson.dumps({"text": "blockyard:blob is a key"}))
    items = await kept(store, "a/2", b"[" + item + b',{"inside":' + item + b"},1]")
    whole = await LargeValues(store).whole(items)
    text = {"text": "blockyard:blob is a key"}
    assert orjson.loads(whole) == [text, {"inside": text}, 1]


async def test_values_that_are_too_large_together_are_refused_before_they_are_read(tmp_path: Path) -> None:
    store = BlobStore(f"file://{tmp_path}")
    half = encode_reference("not there", LARGEST // 2, "0" * 64)
    with pytest.raises(ValueMissing):
        await LargeValues(store).whole(half)
    large = encode_reference("not there", LARGEST + 1, "0" * 64)
    with pytest.raises(ValueTooLarge) as refused:
        await LargeValues(store).whole(large)
    assert int(refused.value.metadata["bytes"]) == LARGEST + 1
    first = await kept(store, "a/1", b'"' + b"x" * (LARGEST // 2) + b'"')
    with pytest.raises(ValueTooLarge):
        await LargeValues(store).whole(b"[" + first + b"," + half + b"]")


@pytest.mark.parametrize("value", [b"NaN", b"{", b'{"blockyard:blob":', b'["blockyard:blob"', b'"\xff"'])
async def test_what_is_no_json_stands_for_no_value(tmp_path: Path, value: bytes) -> None:
    store = BlobStore(f"file://{tmp_path}")
    stored = await kept(store, "a/1", value)
    for given in (value, stored, b"[" + stored + b"]"):
        with pytest.raises(ValueMissing):
            await LargeValues(store).whole(given)


@pytest.mark.parametrize("forged", [b'{"blockyard:blob":1}', b'{"blockyard:blob":{}}', b'[{"blockyard:blob":[1]}]'])
async def test_what_is_no_reference_stands_for_no_value(tmp_path: Path, forged: bytes) -> None:
    with pytest.raises(ValueMissing):
        await LargeValues(BlobStore(f"file://{tmp_path}")).whole(forged)
