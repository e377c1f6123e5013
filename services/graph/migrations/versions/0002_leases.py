"""Until when the active version of a graph is leased to those that run it."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds a column, which the release before this one does not look at."""
    op.execute("ALTER TABLE graphs ADD COLUMN lease_until timestamptz")
    op.execute(
        "COMMENT ON COLUMN graphs.lease_until IS 'Until then an edit is not answered: others run what was active.'"
    )
