"""The cluster that new stacks begin with a copy of: migrated, without passwords, another one for other migrations."""

from pathlib import Path

import psycopg
from blockyard.dev.migrated import _digest, migrated_cluster
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
