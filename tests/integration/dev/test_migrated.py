"""The cluster that new stacks begin with a copy of: migrated, without passwords, another one for other migrations."""

import os
import time
from pathlib import Path

import psycopg
import pytest
from blockyard.dev.cluster import fresh_cluster
from blockyard.dev.migrated import _digest, _remove_unused, migrated_cluster
from blockyard.dev.postgres import start_postgres
from blockyard.dev.services import MIGRATED

from services.common import schema_history


async def test_a_copy_lacks_no_migration_and_its_roles_have_no_password_yet(tmp_path: Path) -> None:
    template = await migrated_cluster()

    async with await start_postgres(tmp_path / "data", template=template) as server:
        with psycopg.connect(server.url) as connection:
            for service in MIGRATED:
                revisions = connection.execute(f"SELECT revision FROM {service}.migration_history").fetchall()
                assert (schema_history.newest_revision(service),) in revisions
            passwords = connection.execute("SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL").fetchall()

    assert passwords == []
    assert await migrated_cluster() == template


def test_what_nobody_begins_with_any_more_is_removed_and_what_was_not_finished_sooner(tmp_path: Path) -> None:
    kept = {"a" * 16: 13, f"{'a' * 16}.lock": 13, f"{'a' * 16}-{'b' * 16}": 13, ".new-now": 0.5}
    gone = {"c" * 16: 15, f"{'c' * 16}.lock": 15, f"{'c' * 16}-{'d' * 16}": 15, ".new-killed": 1.5}
    for name, days in (kept | gone).items():
        if name.endswith(".lock"):
            (tmp_path / name).touch()
        else:
            (tmp_path / name / "base").mkdir(parents=True)
        used = time.time() - days * 24 * 3600
        os.utime(tmp_path / name, (used, used))

    _remove_unused(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == kept.keys()


def test_an_empty_cluster_that_is_begun_with_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKYARD_CACHE", str(tmp_path))
    made = fresh_cluster()
    os.utime(made, (0, 0))

    assert fresh_cluster() == made
    assert time.time() - made.stat().st_mtime < 3600


def test_other_migrations_have_another_cluster(tmp_path: Path) -> None:
    (tmp_path / "common" / "migrations").mkdir(parents=True)
    for name in ("migrate.py", "upgrading.py", "schema_history.py"):
        (tmp_path / "common" / name).write_text("")
    migration = tmp_path / "graph" / "migrations" / "versions" / "0001_graphs.py"
    migration.parent.mkdir(parents=True)
    digests = set()

    for text in ("one", "other"):
        migration.write_text(text)
        digests.add(_digest(tmp_path))
    migration.rename(migration.with_name("0001_renamed.py"))
    digests.add(_digest(tmp_path))

    assert len(digests) == 3
    assert _digest(tmp_path) in digests
