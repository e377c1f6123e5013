"""Presets: inputs and credentials of a graph's starts, kept under a name."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = """
CREATE TABLE presets (
    preset_id     uuid PRIMARY KEY,
    graph_id      uuid NOT NULL REFERENCES graphs ON DELETE CASCADE,
    user_id       text NOT NULL,
    graph_version integer NOT NULL,
    name          text NOT NULL,
    description   text NOT NULL,
    inputs        bytea NOT NULL,
    credentials   jsonb NOT NULL,
    request_id    text,
    request_hash  bytea,
    create_time   timestamptz NOT NULL DEFAULT now(),
    update_time   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN presets.graph_version IS '0 is the active one.';
COMMENT ON COLUMN presets.inputs IS 'A JSON object.';
COMMENT ON COLUMN presets.credentials IS 'Ids by name of a field, or by "<node id>.<pin>".';
CREATE UNIQUE INDEX presets_request ON presets (user_id, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX presets_of_user ON presets (user_id, create_time DESC, preset_id DESC);
CREATE INDEX presets_of_graph ON presets (graph_id)
"""


def upgrade() -> None:
    """Adds a table, which the release before this one does not look at."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
