"""Triggers, at which webhooks start graphs, and what came to them of late. No secret is among it."""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = """
CREATE TABLE triggers (
    trigger_id      text PRIMARY KEY,
    user_id         text NOT NULL,
    kind            smallint NOT NULL,
    name            text NOT NULL,
    template        bytea NOT NULL,
    events          text[] NOT NULL,
    conditions      text NOT NULL,
    disabled        boolean NOT NULL,
    key_id          text NOT NULL,
    generation      integer NOT NULL DEFAULT 1,
    previous_key_id text NOT NULL DEFAULT '',
    previous_until  timestamptz,
    version         bigint NOT NULL DEFAULT 1,
    request_id      text,
    request_hash    bytea,
    create_time     timestamptz NOT NULL DEFAULT now(),
    update_time     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX triggers_user ON triggers (user_id, create_time DESC, trigger_id DESC);
CREATE UNIQUE INDEX triggers_request ON triggers (user_id, request_id) WHERE request_id IS NOT NULL;
COMMENT ON COLUMN triggers.template IS 'A message blockyard.execution.v1.StartTemplate.';
COMMENT ON COLUMN triggers.conditions IS 'JSON (jsonb takes no NUL): a list of {"path": [...], "equals": ...}.';
COMMENT ON COLUMN triggers.key_id IS 'Of the key that its secret is made from, with the generation. Neither is stored.';
COMMENT ON COLUMN triggers.previous_until IS 'Until then the secret of the generation before is valid too.';
CREATE TABLE trigger_deliveries (
    trigger_id    text NOT NULL REFERENCES triggers ON DELETE CASCADE,
    number        bigint GENERATED ALWAYS AS IDENTITY,
    delivery_id   text NOT NULL,
    event         text NOT NULL,
    outcome       smallint NOT NULL,
    reason        text NOT NULL,
    execution_id  uuid,
    payload_bytes bigint NOT NULL,
    receipts      integer NOT NULL DEFAULT 1,
    receive_time  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (trigger_id, number)
);
CREATE UNIQUE INDEX trigger_deliveries_id ON trigger_deliveries (trigger_id, delivery_id) WHERE delivery_id <> '';
COMMENT ON COLUMN trigger_deliveries.delivery_id IS 'Empty where the sender gave none, or was not known.';
"""


def upgrade() -> None:
    """Adds tables that the release before this one looks at none of."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
