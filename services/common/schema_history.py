"""Which migrations a service's code brings, and which of them its schema has had.

Alembic's own table knows the newest one only; a release before that one could not tell whether its own was applied.
"""

import ast
from pathlib import Path

SERVICES = Path(__file__).parents[1]

CREATE = """
CREATE TABLE IF NOT EXISTS {schema}.migration_history (
    revision   text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
RECORD = "INSERT INTO {schema}.migration_history (revision) VALUES (:revision) ON CONFLICT DO NOTHING"
IS_APPLIED = "SELECT EXISTS (SELECT FROM {schema}.migration_history WHERE revision = $1)"


def migrations_folder(service: str) -> Path:
    """Where a service keeps its migrations, one file each."""
    return SERVICES / service / "migrations" / "versions"


def newest_revision(service: str) -> str:
    """The migration that no other one builds on."""
    return revisions(service)[-1]


def revisions(service: str) -> list[str]:
    """All migrations, the oldest first. They form one line, so there is exactly one that no other one builds on."""
    links = [_links(path) for path in sorted(migrations_folder(service).glob("*.py")) if path.name != "__init__.py"]
    builds_on = dict(links)
    newest = set(builds_on) - set(builds_on.values())
    if len(newest) != 1:
        raise ValueError(f"services/{service}/migrations must form one line, but these are newest: {sorted(newest)}")
    line: list[str] = []
    revision: str | None = newest.pop()
    while revision is not None:
        line.append(revision)
        revision = builds_on[revision]
    return line[::-1]


def _links(path: Path) -> tuple[str, str | None]:
    """A migration's revision and the one before it, read without importing Alembic and all that it brings along."""
    values: dict[str, object] = {}
    for statement in ast.parse(path.read_text()).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)):
                values[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=value)):
                values[name] = value
    revision, before = values.get("revision"), values.get("down_revision")
    if not isinstance(revision, str) or not isinstance(before, str | None):
        raise ValueError(f"{path}: revision and down_revision must be plain strings")
    return revision, before
