"""Triggers whose sender has drawn the secret: a credential in the vault holds it."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Adds a column with a constant default, which the release before this one does not look at."""
    op.execute("ALTER TABLE triggers ADD COLUMN secret_credential_id text NOT NULL DEFAULT ''")
    op.execute("COMMENT ON COLUMN triggers.secret_credential_id IS 'Empty where the secret is made here.'")
