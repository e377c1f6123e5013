"""Webhooks: where events are sent, what waits to be sent, and what became of it."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = """
CREATE TABLE webhooks (
    webhook_id           uuid PRIMARY KEY,
    user_id              text NOT NULL,
    url                  text NOT NULL,
    description          text NOT NULL,
    graph_ids            text[] NOT NULL,
    execution_ids        text[] NOT NULL,
    kinds                integer[] NOT NULL,
    state                smallint NOT NULL,
    disable_reason       smallint NOT NULL DEFAULT 0,
    disable_message      text NOT NULL DEFAULT '',
    state_time           timestamptz NOT NULL,
    resume_cursor        text NOT NULL DEFAULT '',
    secret_generation    integer NOT NULL DEFAULT 1,
    secret_key           text NOT NULL,
    previous_key         text NOT NULL DEFAULT '',
    previous_expire_time timestamptz,
    create_time          timestamptz NOT NULL,
    update_time          timestamptz NOT NULL
);
CREATE INDEX webhooks_of_user ON webhooks (user_id, create_time DESC, webhook_id DESC);
COMMENT ON COLUMN webhooks.secret_key IS
    'Fingerprint of the operator''s key that the secret is made from, with the generation; no secret stands in here.';
COMMENT ON COLUMN webhooks.previous_key IS
    'The same of the generation before, which signs too until previous_expire_time.';

CREATE TABLE webhook_queues (
    webhook_id        uuid PRIMARY KEY REFERENCES webhooks ON DELETE CASCADE,
    due_time          timestamptz NOT NULL DEFAULT 'infinity',
    not_before        timestamptz NOT NULL DEFAULT '-infinity',
    holder            text NOT NULL DEFAULT '',
    held_until        timestamptz NOT NULL DEFAULT '-infinity',
    pending           bigint NOT NULL DEFAULT 0,
    pending_bytes     bigint NOT NULL DEFAULT 0,
    last_success_time timestamptz,
    failing_since     timestamptz,
    given_up          integer NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE INDEX webhook_queues_due ON webhook_queues (due_time) WHERE due_time < 'infinity';
COMMENT ON COLUMN webhook_queues.due_time IS
    'No pending delivery is due earlier, while nobody holds the queue. Whoever inserts one lowers it in the same
transaction; whoever lets go of the queue raises it, under the lock of the row.';
COMMENT ON COLUMN webhook_queues.not_before IS 'The endpoint has asked to be left alone until then (Retry-After).';
COMMENT ON COLUMN webhook_queues.given_up IS 'Deliveries of which all attempts failed, since the last success.';

CREATE TABLE webhook_deliveries (
    delivery_id uuid PRIMARY KEY,
    webhook_id  uuid NOT NULL,
    event_id    text NOT NULL,
    event_type  text NOT NULL,
    body        bytea NOT NULL,
    state       smallint NOT NULL DEFAULT 1,
    attempts    integer NOT NULL DEFAULT 0,
    tries       integer NOT NULL DEFAULT 0,
    due_time    timestamptz NOT NULL,
    create_time timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_time) WHERE state = 1;
CREATE INDEX webhook_deliveries_log ON webhook_deliveries (webhook_id, create_time, delivery_id);
CREATE INDEX webhook_deliveries_old ON webhook_deliveries USING brin (create_time);
COMMENT ON COLUMN webhook_deliveries.delivery_id IS
    'Made from webhook and event: an event that is taken in again is the same delivery.';
COMMENT ON COLUMN webhook_deliveries.body IS 'Empty once it is delivered.';
COMMENT ON COLUMN webhook_deliveries.tries IS
    'Attempts in the present schedule; a retry that is asked for begins it anew.';

CREATE TABLE webhook_attempts (
    delivery_id  uuid NOT NULL,
    number       integer NOT NULL,
    time         timestamptz NOT NULL,
    status       integer NOT NULL,
    milliseconds integer NOT NULL,
    error        text NOT NULL,
    response     text NOT NULL,
    PRIMARY KEY (delivery_id, number)
);

CREATE TABLE webhook_replays (
    webhook_id  uuid PRIMARY KEY REFERENCES webhooks ON DELETE CASCADE,
    version     bigint NOT NULL DEFAULT 0,
    positions   text NOT NULL,
    until       text NOT NULL,
    start_time  timestamptz NOT NULL,
    done        boolean NOT NULL DEFAULT false,
    queued      bigint NOT NULL DEFAULT 0,
    message     text NOT NULL DEFAULT '',
    look_time   timestamptz NOT NULL DEFAULT '-infinity',
    create_time timestamptz NOT NULL
);
CREATE INDEX webhook_replays_running ON webhook_replays (look_time) WHERE NOT done;
COMMENT ON COLUMN webhook_replays.positions IS 'A cursor: up to here it was put into the queue.';
COMMENT ON COLUMN webhook_replays.until IS
    'A cursor: what there was when it was asked for. What follows came by itself.';

CREATE TABLE notices (
    notice_id   uuid PRIMARY KEY,
    user_id     text NOT NULL,
    notice      bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE notices IS 'To be published; a row goes once NATS has it.';
"""


def upgrade() -> None:
    """Creates everything; there is no way back."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
