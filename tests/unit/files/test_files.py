"""Files that are kept and read: every rule on the way in, on each store that there is."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from blockyard.egress import EgressRefused
from blockyard.files import (
    Clamd,
    FileCorrupt,
    FileError,
    FileInfected,
    FileMissing,
    FileNotReachable,
    FilePlace,
    FileRefused,
    FileTooLarge,
    ScannerAway,
    Source,
    WorkspaceFull,
)
from blockyard.files.references import workspace_of
from blockyard.files.spool import IN_MEMORY_BYTES, Spool
from blockyard.files.stores import FileStore

from services.common.blobs import BlobStore
from services.runner.files import BlobFiles
from tests.stack.object_store import BUCKET_URL, object_store
from tests.unit.egress.network import http_server
from tests.unit.files.clamd_server import EICAR, Manner, clamd_server
from tests.unit.files.stores import EXECUTION, KINDS, access, files_of, store_of
from tests.unit.files.test_content_types import PNG

LARGE = bytes(range(256)) * (3 * IN_MEMORY_BYTES // 256) + b"end"


@pytest.fixture(params=[*KINDS, "s3"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FileStore]:
    if request.param != "s3":
        yield store_of(request.param, tmp_path)
        return
    serving = object_store()
    for name, value in runner.run(serving.__aenter__()).environment.items():
        monkeypatch.setenv(name, value)
    yield BlobFiles(BlobStore(BUCKET_URL))
    runner.run(serving.__aexit__(None, None, None))


async def in_pieces(content: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def uri(content: bytes, kind: str = "application/octet-stream") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


async def kept(store: FileStore, folder: str = "") -> list[str]:
    """Keys of all files."""
    found = [key for top in (EXECUTION, "workspaces") for key, _ in await store.sizes(top)]
    return sorted(key for key in found if key.startswith(folder) and not key.endswith("workspace.json"))


# -- in and out


@pytest.mark.parametrize("content", [b"", b"x", b"\x00\xff" * 500, LARGE], ids=["none", "one", "some", "large"])
async def test_a_file_comes_back_as_it_was_whatever_it_came_from(
    store: FileStore, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "source.bin"
    path.write_bytes(content)
    sources: list[Source] = [content, uri(content), path, in_pieces(content)]
    for source in sources:
        files = files_of(store)
        reference = await files.store(source, "a.bin")
        assert await files.read_bytes(reference) == content
        async with files.open(reference) as file:
            pieces = [piece async for piece in file.chunks()]
            assert (file.name, file.size) == ("a.bin", len(content))
        assert b"".join(pieces) == content
        assert all(len(piece) <= 1 << 20 for piece in pieces)
        info = await files.info(reference)
        assert (info.size, info.sha256) == (len(content), hashlib.sha256(content).hexdigest())


async def test_a_kept_file_can_be_kept_again_under_another_name(store: FileStore) -> None:
    files = files_of(store)
    first = await files.store(PNG, "a.png")
    second = await files.store(first, "b.png", place=FilePlace.WORKSPACE)
    assert second.startswith(f"blockyard-file://workspace/{workspace_of('anna')}/")
    assert (await files.info(second)).content_type == "image/png"
    assert await files.data_uri(second) == uri(PNG, "image/png")


async def test_text_that_is_nothing_else_stands_for_itself(store: FileStore) -> None:
    files = files_of(store)
    reference = await files.store("name,age\nAda,36")
    assert reference.endswith("/file.txt")
    assert await files.read_bytes(reference) == await files.read_bytes("name,age\nAda,36") == b"name,age\nAda,36"


async def test_a_text_never_stands_for_a_path_of_the_runner(store: FileStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    files = files_of(store)
    for text in (str(tmp_path / "secret"), (tmp_path / "secret").as_uri(), "../secret"):
        assert await files.read_bytes(text) == text.encode()


async def test_the_same_name_twice_in_a_run_is_two_files(store: FileStore) -> None:
    files = files_of(store)
    references = [await files.store(text, name) for text, name in (("1", "a-2.csv"), ("2", "a.csv"), ("3", "a.csv"))]
    assert [reference.rpartition("/")[2] for reference in references] == ["a-2.csv", "a.csv", "a-3.csv"]
    assert [await files.read_bytes(reference) for reference in references] == [b"1", b"2", b"3"]


async def test_another_attempt_keeps_the_same_files_under_the_same_references(store: FileStore) -> None:
    attempts = [[await files_of(store).store(LARGE, name) for name in ("a", "b")] for _ in range(3)]
    assert attempts[0] == attempts[1] == attempts[2]
    assert len(await kept(store)) == 2


async def test_a_reader_is_not_disturbed_by_another_attempt_that_keeps_the_same_again(store: FileStore) -> None:
    files = files_of(store)
    reference = await files.store(LARGE, "a")
    async with files.open(reference) as file:
        pieces = aiter(file.chunks())
        content = await anext(pieces)
        await files_of(store).store(LARGE, "a")
        async for piece in pieces:
            content += piece
    assert content == LARGE


async def test_readers_are_not_disturbed_by_attempts_that_keep_the_same_on_and_on(tmp_path: Path) -> None:
    store = store_of("folder", tmp_path)
    files = files_of(store)
    reference = await files.store(LARGE, "a")
    over = asyncio.Event()

    async def write() -> None:
        while not over.is_set():
            await files_of(store).store(LARGE, "a")

    async def read() -> set[bytes]:
        return {hashlib.sha256(await files.read_bytes(reference)).digest() for _ in range(10)}

    writers = [asyncio.create_task(write()) for _ in range(3)]
    try:
        found = await asyncio.gather(*(read() for _ in range(3)))
    finally:
        over.set()
        await asyncio.gather(*writers)
    assert found == [{hashlib.sha256(LARGE).digest()}] * 3


async def test_a_reader_is_told_if_the_file_is_replaced_or_deleted_under_its_hands(store: FileStore) -> None:
    files = files_of(store)
    reference = await files.store(LARGE, "a")
    async with files.open(reference) as file:
        pieces = aiter(file.chunks())
        await anext(pieces)
        await files_of(store).store(LARGE[::-1], "a")
        with pytest.raises(FileCorrupt, match="a: was replaced while it was read"):
            await anext(pieces)
    async with files.open(reference) as file:
        pieces = aiter(file.chunks())
        await anext(pieces)
        assert await files.delete(reference)
        with pytest.raises(FileMissing, match="a: was deleted while it was read"):
            await anext(pieces)
    with pytest.raises(FileMissing, match="a: the file is not there, or not any more"):
        await files.read_bytes(reference)
    assert not await files.delete(reference)


async def test_what_was_changed_in_the_store_is_noticed(tmp_path: Path) -> None:
    store = store_of("folder", tmp_path)
    files = files_of(store)
    reference = await files.store(b"content", "a")
    [key] = await kept(store)
    written = (tmp_path / key).read_bytes()
    for spoilt, message in (
        (b"CONTENT" + written[7:], "has another hash"),
        (written[1:], "has 6 bytes in place of 7"),
        (b"x" * 2000, "is no file of Blockyard"),
        (b"", "is no file of Blockyard"),
    ):
        (tmp_path / key).write_bytes(spoilt)
        with pytest.raises(FileCorrupt, match=message):
            await files.read_bytes(reference)


async def test_a_run_reads_what_other_runs_of_its_execution_kept_and_nobody_else_does(store: FileStore) -> None:
    reference = await files_of(store, access(number=1)).store(b"x", "a")
    assert await files_of(store, access(number=2)).read_bytes(reference) == b"x"
    other = files_of(store, access(execution=EXECUTION.replace("1", "2")))
    for ask in (other.read_bytes, other.info, other.delete, other.store):
        with pytest.raises(FileMissing, match="a: there is no such file in this execution"):
            await ask(reference)
    assert await files_of(store).read_bytes(reference) == b"x"


# -- names and types


async def test_names_are_cleaned_and_never_lead_out_of_their_place(store: FileStore) -> None:
    files = files_of(store)
    for name in ("../../../etc/passwd", "/etc/passwd", "..", "a\x00b", "x" * 400, "\u202egpj.exe", "con"):
        reference = await files.store(b"x", name)
        assert await files.read_bytes(reference) == b"x"
        # Twice, since the second one gets a number.
        assert await files.read_bytes(await files.store(b"y", name)) == b"y"
    assert len(await kept(store, f"{EXECUTION}/files/1/")) == 14


async def test_content_that_is_not_what_was_declared_is_refused_and_nothing_is_kept(store: FileStore) -> None:
    files = files_of(store)
    with pytest.raises(FileRefused, match=r"cat\.png: is declared as image/png, but its content is text/plain"):
        await files.store(b"<html>", "cat.png", "image/png")
    with pytest.raises(FileRefused, match=r"is declared as text/csv, but its content is image/png"):
        await files.store(uri(PNG, "text/csv"))
    assert await kept(store) == []


async def test_type_and_name_come_from_the_content_where_nothing_is_said(store: FileStore) -> None:
    files = files_of(store)
    info = await files.info(await files.store(PNG))
    assert (info.name, info.content_type, info.scan) == ("file.png", "image/png", "not scanned")


# -- sizes


@pytest.mark.parametrize("size", [100, 101])
async def test_the_limit_is_a_limit_for_every_source(store: FileStore, tmp_path: Path, size: int) -> None:
    path = tmp_path / "source"
    path.write_bytes(b"x" * size)
    sources: list[Source] = [b"x" * size, "x" * size, uri(b"x" * size), path, in_pieces(b"x" * size, 7)]
    files = files_of(store, file_bytes=100)
    for source in sources:
        if size == 100:
            assert len(await files.read_bytes(await files.store(source))) == 100
        else:
            with pytest.raises(FileTooLarge, match="is larger than the limit of 100 bytes"):
                await files.store(source)
    if size == 101:
        assert await kept(store) == []
        with pytest.raises(FileTooLarge):
            await files.read_bytes("x" * size)


async def test_what_is_too_large_is_refused_before_all_of_it_is_read(store: FileStore) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1000
            yield bytes(1000)

    with pytest.raises(FileTooLarge):
        await files_of(store, file_bytes=10_000).store(endless())
    assert taken <= 12_000


async def test_a_data_uri_that_must_be_too_large_is_not_even_decoded(store: FileStore) -> None:
    files = files_of(store, file_bytes=100)
    with pytest.raises(FileTooLarge, match="a data URI is larger than the limit of 100 bytes"):
        await files.store("data:;base64," + "!" * 1000)
    with pytest.raises(FileRefused, match="broken base64"):
        await files.store("data:;base64,!!!!")


# -- the web


async def test_a_file_of_the_web_is_kept_with_its_name_and_type(store: FileStore) -> None:
    async def handle(request: web.Request) -> web.Response:
        if request.path == "/named":
            disposition = {"Content-Disposition": "attachment; filename*=UTF-8''..%2Fcaf%C3%A9.png"}
            return web.Response(body=PNG, content_type="image/png", headers=disposition)
        return web.Response(body=PNG, content_type="image/png")

    async with http_server(handle) as port:
        files = files_of(store, port=port)
        for path, name in (("/a%20cat.png?key=1", "a cat.png"), ("/named", "caf\u00e9.png"), ("/", "file.png")):
            info = await files.info(await files.store(f"http://files.example:{port}{path}"))
            assert (info.name, info.content_type, info.size) == (name, "image/png", len(PNG))


async def test_a_file_of_the_web_is_held_to_the_rules(store: FileStore) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/missing":
            return web.Response(status=404)
        if request.path == "/html.png":
            return web.Response(body=b"<html>", content_type="image/png")
        response = web.StreamResponse()
        if request.path == "/announced":
            response.content_length = 1 << 30
        await response.prepare(request)
        for _ in range(1 << 14):
            await response.write(bytes(1 << 16))
        return response

    async with http_server(handle) as port:
        files = files_of(store, port=port, file_bytes=1 << 20)
        for path, kind, message in (
            ("/missing", FileNotReachable, "its server answered with status 404"),
            ("/html.png", FileRefused, "is declared as image/png"),
            ("/announced", FileTooLarge, "larger than the limit of 1048576 bytes"),
            ("/endless", FileTooLarge, "larger than the limit of 1048576 bytes"),
        ):
            for ask in (files.store, files.read_bytes) if path != "/html.png" else (files.store,):
                with pytest.raises(kind, match=message):
                    await ask(f"http://files.example:{port}{path}")
    assert await kept(store) == []


async def test_internal_addresses_are_not_reached(store: FileStore) -> None:
    for url in ("http://169.254.169.254/latest", "HTTP://127.0.0.1:8080/", "https://[::1]/"):
        for ask in (files_of(store).store, files_of(store).read_bytes):
            with pytest.raises(EgressRefused):
                await ask(url)


# -- the scanner


async def test_a_clean_file_says_so_and_an_infected_one_is_not_kept(store: FileStore) -> None:
    async with clamd_server() as server:
        files = files_of(store, scanner=Clamd.at(server.address))
        assert (await files.info(await files.store(b"harmless", "a.txt"))).scan == "clean"
        for content in (EICAR, b"x" * IN_MEMORY_BYTES + EICAR):
            with pytest.raises(FileInfected, match=r"b\.com: refused, .* found Eicar-Test-Signature"):
                await files.store(content, "b.com")
    assert len(await kept(store)) == 1
    assert server.scanned == [8, len(EICAR), IN_MEMORY_BYTES + len(EICAR)]


@pytest.mark.parametrize("manner", [Manner.BREAKS_OFF, Manner.SILENT, Manner.CONFUSED])
async def test_without_a_verdict_nothing_is_kept(store: FileStore, manner: Manner) -> None:
    async with clamd_server(manner) as server:
        with pytest.raises(ScannerAway):
            await files_of(store, scanner=Clamd.at(server.address, 0.2)).store(b"x" * 200_000, "a")
    with pytest.raises(ScannerAway, match="cannot be reached"):
        await files_of(store, scanner=Clamd.at(server.address)).store(b"x", "a")
    assert await kept(store) == []


# -- workspaces


async def test_a_workspace_is_made_on_first_use_and_the_run_is_told(store: FileStore) -> None:
    seen: list[dict[str, Any]] = []
    for user in ("anna", "anna", "ben"):
        stats: dict[str, Any] = {}
        reference = await files_of(store, access(user, alone=True), stats=stats).store(b"x", "a")
        assert reference.startswith(f"blockyard-file://workspace/{workspace_of(user)}/{EXECUTION}-1/")
        seen.append(stats)
    assert seen == [{"workspace_created": True}, {}, {"workspace_created": True}]


async def test_runs_at_once_make_one_workspace(store: FileStore) -> None:
    stats: list[dict[str, Any]] = [{} for _ in range(8)]
    runs = [files_of(store, access(number=at, alone=True), stats=told) for at, told in enumerate(stats)]
    await asyncio.gather(*(files.store(b"x", "a") for files in runs))
    assert sum("workspace_created" in told for told in stats) == 1
    assert len(await kept(store)) == 8


async def test_a_workspace_is_the_users_over_executions_and_nobody_elses(store: FileStore) -> None:
    reference = await files_of(store, access(alone=True)).store(b"x", "a")
    later = access(execution=EXECUTION.replace("1", "2"))
    assert await files_of(store, later).read_bytes(reference) == b"x"
    with pytest.raises(FileMissing, match="a: there is no such file in your workspace"):
        await files_of(store, access("ben", alone=True)).read_bytes(reference)


async def test_a_workspace_is_bounded_and_deleting_makes_room(store: FileStore) -> None:
    def files(number: int, user: str = "anna") -> Any:
        return files_of(store, access(user, number=number, alone=True), workspace_bytes=100_000)

    first = await files(1).store(b"x" * 60_000, "a")
    with pytest.raises(WorkspaceFull, match=r"b: your workspace has no room for 61024 bytes: it holds 61024 of 100000"):
        await files(2).store(b"x" * 60_000, "b")
    assert await files(1).store(b"y" * 70_000, "a") == first, "another attempt replaces its own"
    assert await files(3, "ben").store(b"x" * 60_000, "a"), "others have their own"
    assert await files(4).delete(first)
    assert await files(5).store(b"x" * 60_000, "b")


async def test_very_many_small_files_are_bounded_too(store: FileStore) -> None:
    files = files_of(store, access(alone=True), workspace_bytes=10 * 4096)
    for _ in range(10):
        await files.store(b"", "a")
    with pytest.raises(WorkspaceFull):
        await files.store(b"", "a")


async def test_runs_at_once_do_not_overfill_a_workspace(store: FileStore) -> None:
    runs = [files_of(store, access(number=at, alone=True), workspace_bytes=100_000) for at in range(6)]
    done = await asyncio.gather(*(files.store(b"x" * 40_000, "a") for files in runs), return_exceptions=True)
    assert {type(one) for one in done} <= {str, WorkspaceFull}
    assert sum(size for key, size in await store.sizes("workspaces") if "json" not in key) <= 100_000
    assert len(await kept(store)) == sum(isinstance(one, str) for one in done)


async def test_a_workspace_is_listed_by_its_user(store: FileStore) -> None:
    files = files_of(store, access(alone=True))
    references = {await files.store(text, "caf\u00e9 1.txt") for text in ("one", "two", "three")}
    await files_of(store, access("ben", alone=True)).store("other")
    assert {info.reference for info in await files.workspace_files(100)} == references
    assert len(await files.workspace_files(2)) == 2
    assert await files.workspace_used() == 3 * 4096
    assert await files_of(store, access("carl")).workspace_files(10) == []


async def test_a_disk_that_takes_nothing_is_told_without_its_place(tmp_path: Path) -> None:
    with Spool(tmp_path / "gone") as spool, pytest.raises(FileError, match="put the file aside on its disk") as failure:
        await spool.add(LARGE)
    assert str(tmp_path) not in str(failure.value)
