"""Which credentials a version of a graph names, so that their owner can be told where one is used."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds a column that is null for what is there, and for what the release before this one writes meanwhile: of these
    versions the body is searched. No row is rewritten."""
    op.execute("ALTER TABLE graph_versions ADD COLUMN credential_ids uuid[]")
    op.execute(
        "COMMENT ON COLUMN graph_versions.credential_ids IS "
        "'Credentials that its nodes name; null if a release wrote it that did not note them.'"
    )
