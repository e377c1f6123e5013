"""Triggers by the graph that they start."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Adds a column with a constant default, which the release before this one does not look at.

    Triggers that it makes, and those that there are and whose template names a preset alone, are missing in lists of a
    graph until they are changed.
    """
    op.execute("ALTER TABLE triggers ADD COLUMN graph_id text NOT NULL DEFAULT ''")
    op.execute("COMMENT ON COLUMN triggers.graph_id IS 'That its template starts; of a preset, as it was stored.'")
    # A template that names a graph begins with its UUID as text: the first field, of 36 bytes.
    op.execute(
        r"""
        UPDATE triggers SET graph_id = convert_from(substring(template FROM 3 FOR 36), 'UTF8')
        WHERE substring(template FOR 2) = '\x0a24'
        """
    )
