"""How far what is sent out by itself (webhooks, e-mail) has followed the feeds of executions."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = """
CREATE TABLE followers (
    name        text PRIMARY KEY,
    version     bigint NOT NULL DEFAULT 0,
    positions   text NOT NULL,
    holder      text NOT NULL DEFAULT '',
    held_until  timestamptz NOT NULL DEFAULT '-infinity',
    update_time timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON COLUMN followers.version IS
    'Raised by each step. Who steps on from another version than the one it has read changes nothing.';
COMMENT ON COLUMN followers.positions IS 'A cursor: all that comes before these places was taken in.';
COMMENT ON COLUMN followers.holder IS 'Who follows now: others leave it alone until held_until.';
"""


def upgrade() -> None:
    """Creates everything; there is no way back."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
