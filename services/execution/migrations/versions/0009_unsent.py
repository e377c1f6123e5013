"""What an owner that gives a partition up says of tasks that it has not sent."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Adds a column that the release before this one does not look at."""
    op.execute("ALTER TABLE partitions ADD COLUMN unsent bytea")
    op.execute(
        "COMMENT ON COLUMN partitions.unsent IS 'MessagePack: (epoch of its last owner, tasks it has not sent).'"
    )
