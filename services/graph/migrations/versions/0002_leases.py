"""Until when the active version of a graph is leased to those that run it."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds columns, which the release before this one does not look at."""
    op.execute("ALTER TABLE graphs ADD COLUMN lease_until timestamptz, ADD COLUMN no_lease_until timestamptz")
    op.execute("COMMENT ON COLUMN graphs.lease_until IS 'Until then an edit waits: others run what is active unasked.'")
    op.execute("COMMENT ON COLUMN graphs.no_lease_until IS 'Until then no lease is given: an edit waits for the last.'")
