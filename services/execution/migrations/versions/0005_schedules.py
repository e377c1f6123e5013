"""Schedules and what became of their due times, and notices to the owners."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = """
CREATE TABLE schedules (
    schedule_id    uuid PRIMARY KEY,
    user_id        text NOT NULL,
    name           text NOT NULL,
    graph_id       text NOT NULL,
    template       bytea NOT NULL,
    cron           text NOT NULL,
    time_zone      text NOT NULL,
    jitter         integer NOT NULL,
    start_time     timestamptz,
    end_time       timestamptz,
    overlap        smallint NOT NULL,
    queue_limit    integer NOT NULL,
    catch_up       smallint NOT NULL,
    catch_up_limit integer NOT NULL,
    paused         boolean NOT NULL,
    pause_reason   text NOT NULL DEFAULT '',
    failures       integer NOT NULL DEFAULT 0,
    next_time      timestamptz,
    fire_time      timestamptz,
    version        bigint NOT NULL DEFAULT 1,
    request_id     text,
    request_hash   bytea,
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL
);
CREATE INDEX schedules_due ON schedules (fire_time) WHERE fire_time IS NOT NULL;
CREATE INDEX schedules_user ON schedules (user_id, schedule_id);
CREATE UNIQUE INDEX schedules_request ON schedules (user_id, request_id) WHERE request_id IS NOT NULL;
COMMENT ON COLUMN schedules.template IS 'A message blockyard.execution.v1.StartTemplate.';
COMMENT ON COLUMN schedules.next_time IS 'The due time that comes next; null while it is paused, and after the last.';
COMMENT ON COLUMN schedules.fire_time IS 'next_time with its jitter.';
CREATE TABLE firings (
    schedule_id  uuid NOT NULL REFERENCES schedules ON DELETE CASCADE,
    due_time     timestamptz NOT NULL,
    fire_time    timestamptz NOT NULL,
    status       smallint NOT NULL,
    reason       text NOT NULL DEFAULT '',
    execution_id uuid,
    through_time timestamptz,
    due_times    integer NOT NULL DEFAULT 1,
    attempts     integer NOT NULL DEFAULT 0,
    look_time    timestamptz NOT NULL,
    end_time     timestamptz,
    PRIMARY KEY (schedule_id, due_time)
);
CREATE INDEX firings_waiting ON firings (look_time) WHERE status = 1;
COMMENT ON COLUMN firings.status IS '1 waiting, 2 started, 3 skipped, 4 missed, 5 failed.';
COMMENT ON COLUMN firings.through_time IS 'The last of the due times that this row stands for; null if it is one.';
COMMENT ON COLUMN firings.look_time IS 'A waiting one is looked at again then; it is moved on by whoever starts it.';
CREATE TABLE notices (
    notice_id   uuid PRIMARY KEY,
    user_id     text NOT NULL,
    notice      bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE notices IS 'To be published; a row goes once NATS has it.';
"""


def upgrade() -> None:
    """Adds tables that the release before this one looks at none of."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
