"""The blob store in a folder and in memory: what was written is what is read, or the reader is told."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from services.common.blobs import (
    PART_BYTES,
    BlobCorrupt,
    BlobMissing,
    BlobReference,
    BlobStore,
    BlobStoreAway,
    blob_key,
)
from services.common.errors import StartRefused
from tests.stack.object_store import BUCKET_URL, object_store


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return BlobStore(f"{tmp_path.as_uri()}/blobs of a test" if request.param == "file" else "memory:///")


async def test_a_value_comes_back_as_it_was(store: BlobStore) -> None:
    for data in (b"", b"x", bytes(range(256)) * 4096):
        reference = await store.put(blob_key("execution", "task-1", "run", str(len(data))), data)
        assert reference.size == len(data)
        assert await store.get(reference) == data


async def test_writing_again_changes_nothing(store: BlobStore) -> None:
    assert await store.put("a/b/c/d", b"same") == await store.put("a/b/c/d", b"same")


async def test_what_is_there_is_known(store: BlobStore) -> None:
    assert not await store.has("a/key")
    await store.put("a/key", b"value")
    assert await store.has("a/key")


@pytest.mark.parametrize("url", ["", "no-url", "ftp://anna:pass-word@host/x", "s3://", "file:///dev/null/x"])
def test_what_is_no_store_is_refused_in_a_line_without_its_password(url: str) -> None:
    with pytest.raises(StartRefused, match="is no place for blobs: ") as refused:
        BlobStore(url)
    assert "\n" not in str(refused.value)
    assert "pass-word" not in str(refused.value)


def test_a_missing_value_is_named(store: BlobStore) -> None:
    with pytest.raises(BlobMissing, match="a/b/c/d"):
        asyncio.run(store.get(BlobReference("a/b/c/d", 1, "0" * 64)))


async def test_another_value_than_the_one_written_is_refused(store: BlobStore) -> None:
    reference = await store.put("a/b/c/d", b"first")
    with pytest.raises(BlobCorrupt, match="5 bytes in place of 6"):
        await store.get(replace(reference, size=6))
    await store.put("a/b/c/d", b"other")
    with pytest.raises(BlobCorrupt, match="another hash"):
        await store.get(reference)


async def test_deleting_takes_what_is_below_the_prefix_and_nothing_else(store: BlobStore) -> None:
    kept = [await store.put(key, b"x") for key in ("one1/a", "two/one/a", "on/a")]
    for number in range(5):
        await store.put(f"one/task/run/{number}", b"x")
    assert await store.delete_prefix("one") == 5
    assert await store.delete_prefix("one") == 0
    assert [await store.get(reference) for reference in kept] == [b"x"] * 3


@pytest.mark.parametrize("prefix", ["", "/", "//"])
def test_no_prefix_deletes_nothing(store: BlobStore, prefix: str) -> None:
    with pytest.raises(ValueError, match="every blob"):
        asyncio.run(store.delete_prefix(prefix))


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


async def test_deleting_takes_what_a_killed_process_had_begun_to_write(tmp_path: Path) -> None:
    store = BlobStore(tmp_path.as_uri())
    for execution in ("one", "two"):
        await store.put(f"{execution}/files/1/report", b"a report")
        # So the store calls a file that is not written to its end; its lists leave it out.
        (tmp_path / execution / "files" / "1" / "report#1").write_bytes(b"a rep")
    assert await store.sizes("one") == [("one/files/1/report", 8)]
    assert await store.delete_prefix("one") == 1
    assert below(tmp_path) == ["two", "two/files", "two/files/1", "two/files/1/report", "two/files/1/report#1"]


def test_a_folder_that_cannot_be_written_is_an_error_to_try_again(tmp_path: Path) -> None:
    store = BlobStore((tmp_path / "blobs").as_uri())
    (tmp_path / "blobs" / "taken").write_text("a file where a folder is wanted")
    with pytest.raises(BlobStoreAway, match="taken/x"):
        asyncio.run(store.put("taken/x", b"x"))


@pytest.mark.parametrize("key", ["../outside", "a/../../outside"])
def test_a_key_never_leaves_the_store(tmp_path: Path, key: str) -> None:
    store = BlobStore((tmp_path / "blobs").as_uri())
    (tmp_path / "outside").write_bytes(b"secret")
    with pytest.raises(BlobMissing):
        asyncio.run(store.get(BlobReference(key, 6, "0" * 64)))


async def test_a_store_without_its_bucket_counts_as_away_when_it_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async with object_store() as there:
        for name, value in there.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(BlobStoreAway, match="could not be written"):
            await BlobStore(BUCKET_URL.replace("bucket", "another")).put("a/b/c/d", b"value")


async def test_a_store_that_does_not_answer_in_time_counts_as_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async with object_store() as there:
        for name, value in there.environment.items():
            monkeypatch.setenv(name, value)
        store = BlobStore(BUCKET_URL, wait_seconds=0.5)
        reference = await store.put("a/b/c/d", b"value")
        assert await store.get(reference) == b"value"
        there.answers.clear()
        with pytest.raises(BlobStoreAway, match="could not be written: no answer within"):
            await store.put("a/b/c/d", b"value")
        with pytest.raises(BlobStoreAway, match="could not be read: no answer within"):
            await store.get(reference)
        with pytest.raises(BlobStoreAway, match="below a could not be deleted: no answer within"):
            await store.delete_prefix("a")


async def test_a_file_is_written_whole_and_read_in_parts(store: BlobStore, tmp_path: Path) -> None:
    content = bytes(range(256)) * (7 * PART_BYTES // 2 // 256)
    with (tmp_path / "large").open("w+b") as file:
        file.write(content)
        file.seek(0)
        await store.put_file("files/large", file, len(content))
    tail = await store.tail("files/large", 1000)
    assert (tail.data, tail.size) == (content[-1000:], len(content))
    assert (await store.tail("files/large", 1 << 30)).data == content
    parts = [
        await store.read("files/large", at, min(1 << 20, len(content) - at), tail.version)
        for at in range(0, len(content), 1 << 20)
    ]
    assert b"".join(parts) == content
    with pytest.raises(BlobCorrupt, match="10 bytes at"):
        await store.read("files/large", len(content) - 10, 20, tail.version)


async def test_a_part_of_what_was_written_again_is_refused(store: BlobStore) -> None:
    await store.put("a/b", b"first")
    tail = await store.tail("a/b", 10)
    await store.put("a/b", b"other")
    with pytest.raises(BlobCorrupt, match="a/b was written again"):
        await store.read("a/b", 0, 5, tail.version)


async def test_a_value_is_created_once(store: BlobStore) -> None:
    done = await asyncio.gather(*(store.create("a/mark", bytes([number])) for number in range(8)))
    assert sorted(done) == [False] * 7 + [True]
    assert (await store.tail("a/mark", 10)).data == bytes([done.index(True)])


async def test_sizes_are_those_below_a_folder(store: BlobStore) -> None:
    for key, size in (("one/a", 3), ("one/b/c", 4), ("one1/a", 5), ("two/one/a", 6)):
        await store.put(key, b"x" * size)
    assert sorted(await store.sizes("one")) == [("one/a", 3), ("one/b/c", 4)]
    assert await store.sizes("nothing") == []
    assert await store.delete("one/a")
    assert not await store.delete("one/a")
    assert await store.sizes("one") == [("one/b/c", 4)]


async def test_what_is_not_there_is_missing(store: BlobStore) -> None:
    for ask in (store.tail("a/b", 10), store.read("a/b", 0, 10, "")):
        with pytest.raises(BlobMissing, match="a/b is not there"):
            await ask


async def test_a_file_in_a_store_that_does_not_answer_is_an_error_to_try_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with object_store() as there:
        for name, value in there.environment.items():
            monkeypatch.setenv(name, value)
        store = BlobStore(BUCKET_URL, wait_seconds=0.3)
        there.answers.clear()
        for ask in (
            store.tail("a", 1),
            store.read("a", 0, 1, ""),
            store.sizes("a"),
            store.delete("a"),
            store.create("a", b""),
        ):
            with pytest.raises(BlobStoreAway, match=r"no answer within 0\.3 seconds"):
                await ask
