"""What a start was given of credentials, what becomes of it without credits, and how far outcomes have been charged."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = """
ALTER TABLE executions
    ADD COLUMN credentials jsonb,
    ADD COLUMN credits_policy smallint NOT NULL DEFAULT 0;
COMMENT ON COLUMN executions.credentials IS
    'Credentials by "<graph id>/<node id>.<pin>", as {"id", "provider", "type", "title"}; null if there are none.';
ALTER TABLE partitions ADD COLUMN charged_through bigint;
COMMENT ON COLUMN partitions.charged_through IS
    'Feed sequence up to which the account service has every charge; null while credits are not counted.';
"""


def upgrade() -> None:
    """Adds columns with constant defaults: no row is rewritten, and the release before this one looks at none."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
