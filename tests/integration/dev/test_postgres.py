"""PostgreSQL as the laptop stack starts it: durable, in place after a kill, and clear about what is wrong."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from blockyard.dev import DevelopmentStackError, PostgresServer, start_postgres
from blockyard.dev.ports import free_port

from tests.integration.dev.processes import runs, shared_memory, written_number
from tests.stack.postgres import running_postgres
from tests.waiting import until


async def ask(server: PostgresServer, question: str) -> object:
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


async def write_row(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.url)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
        await connection.execute("INSERT INTO kept VALUES (7)")
    finally:
        await connection.close()


async def test_starts_with_a_database_utf8_and_fsync_on(tmp_path: Path) -> None:
    async with await start_postgres(tmp_path / "postgres") as server:
        assert await ask(server, "SHOW fsync") == "on"
        assert await ask(server, "SHOW synchronous_commit") == "on"
        assert await ask(server, "SHOW server_encoding") == "UTF8"
        assert await ask(server, "SELECT current_database()") == "blockyard"


async def test_listens_on_loopback_alone(tmp_path: Path) -> None:
    async with await start_postgres(tmp_path / "postgres") as server:
        assert await ask(server, "SHOW listen_addresses") == "127.0.0.1"
        assert await ask(server, "SHOW unix_socket_directories") == ""


async def test_committed_rows_survive_a_kill_and_the_port_stays(tmp_path: Path) -> None:
    async with await start_postgres(tmp_path / "postgres") as server:
        url = server.url
        await write_row(server)
        family = [process.pid for process in server.process.family()]
        assert len(family) > 3

        await server.kill()

        assert not any(runs(pid) for pid in family)
        await server.start()
        assert server.url == url
        assert await ask(server, "SELECT number FROM kept") == 7


async def test_an_existing_data_directory_is_used_again(tmp_path: Path) -> None:
    async with await start_postgres(tmp_path / "postgres") as server:
        await write_row(server)
    async with await start_postgres(tmp_path / "postgres") as server:
        assert await ask(server, "SELECT number FROM kept") == 7


async def test_a_frozen_server_goes_on_where_it_was(tmp_path: Path) -> None:
    async with await start_postgres(tmp_path / "postgres") as server:
        server.freeze()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(server, "SELECT 1"), 0.3)
        server.thaw()
        assert await ask(server, "SELECT 1") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process does not tell what memory it has")
async def test_the_server_of_tests_leaves_no_shared_memory() -> None:
    async with running_postgres() as server:
        assert server.pid is not None
        segments = shared_memory(server.pid)
        assert segments

    assert [segment for segment in segments if segment.exists()] == []


async def test_a_lock_file_whose_process_id_another_program_has_now_is_removed(tmp_path: Path) -> None:
    async with await start_postgres(tmp_path / "postgres") as server:
        await server.kill()
        lock_file = tmp_path / "postgres" / "postmaster.pid"
        lines = lock_file.read_text().splitlines()
        lock_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

        await server.start()

        assert await ask(server, "SELECT 1") == 1


async def test_several_start_at_once_without_meeting(tmp_path: Path) -> None:
    servers = await asyncio.gather(*(start_postgres(tmp_path / name) for name in ("one", "two", "three")))
    try:
        assert len({server.port for server in servers}) == 3
    finally:
        await asyncio.gather(*(server.stop() for server in servers))


async def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine")

    with pytest.raises(DevelopmentStackError, match="neither empty nor a PostgreSQL data directory"):
        await start_postgres(tmp_path)

    assert (tmp_path / "diary.txt").read_text() == "mine"


async def test_data_of_another_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("12\n")

    with pytest.raises(DevelopmentStackError, match=r"made by PostgreSQL 12, this is PostgreSQL 1\d"):
        await start_postgres(tmp_path)


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    port = free_port()
    async with await start_postgres(tmp_path / "one", port):
        with pytest.raises(DevelopmentStackError, match=rf"Port {port} of 127\.0\.0\.1 is taken"):
            await start_postgres(tmp_path / "two", port)


async def test_a_setting_that_postgres_refuses_shows_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(DevelopmentStackError, match=r'unrecognized configuration parameter "no_such_setting"'):
        await start_postgres(tmp_path / "postgres", settings={"no_such_setting": "1"})


async def test_a_place_that_cannot_be_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DevelopmentStackError, match=r"Making PostgreSQL's data directory failed at .*file/postgres"):
        await start_postgres(tmp_path / "file" / "postgres")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 20 MB."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a small disk")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


async def test_a_full_disk_is_said_in_a_sentence_and_leaves_nothing(small_disk: Path) -> None:
    with pytest.raises(DevelopmentStackError, match=r"the disk that holds .* is full\. Free some space"):
        await start_postgres(small_disk / "postgres")

    assert os.listdir(small_disk) == []


PARENT = """
import asyncio, sys
from pathlib import Path
from blockyard.dev import start_nats, start_postgres

async def main():
    folder = Path(sys.argv[1])
    postgres = await start_postgres(folder / "postgres")
    nats = await start_nats(folder / "nats")
    (folder / "nats.pid").write_text(f"{nats.pid}\\n")
    (folder / "postgres.pid").write_text(f"{postgres.pid}\\n")
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that runs both servers and waits."""
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)]) as process:
        yield process
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent was killed")
async def test_servers_end_when_their_parent_is_killed_and_the_next_start_waits_for_them(
    tmp_path: Path, parent: "subprocess.Popen[bytes]"
) -> None:
    await until(lambda: written_number(tmp_path / "postgres.pid") is not None, "the servers run")
    servers = [written_number(tmp_path / name) for name in ("postgres.pid", "nats.pid")]

    parent.kill()

    async with await start_postgres(tmp_path / "postgres") as server:
        assert await ask(server, "SELECT 1") == 1
    await until(lambda: not any(runs(pid) for pid in servers if pid), "both servers are gone")
