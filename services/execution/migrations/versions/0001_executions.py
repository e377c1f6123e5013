"""Executions, their turns and what follows from them.

`turns`, `node_executions`, `outputs`, `snapshots` and `commands` are partitioned by execution id, which is a UUIDv7 and
so by time of start: retention drops whole partitions. The service makes partitions ahead of need (retention.py).
"""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = """
CREATE TABLE replicas (
    replica_id text PRIMARY KEY,
    address    text NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE replicas IS
    'Live replicas. A turn locks its row FOR KEY SHARE; whoever takes over deletes the row first, and so waits.';

CREATE TABLE partitions (
    partition         integer PRIMARY KEY,
    owner             text,
    epoch             bigint NOT NULL DEFAULT 0,
    published_through bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE plans (
    plan_hash bytea PRIMARY KEY,
    plan      bytea NOT NULL
);

CREATE TABLE executions (
    execution_id    uuid PRIMARY KEY,
    user_id         text NOT NULL,
    graph_id        text NOT NULL,
    graph_version   integer NOT NULL,
    partition       integer NOT NULL,
    plan_hash       bytea NOT NULL,
    rules           integer NOT NULL,
    inputs          bytea NOT NULL,
    labels          jsonb NOT NULL DEFAULT '{}',
    priority        integer NOT NULL DEFAULT 0,
    traceparent     text NOT NULL DEFAULT '',
    request_id      text,
    request_hash    bytea,
    status          smallint NOT NULL DEFAULT 1,
    status_message  text NOT NULL DEFAULT '',
    wake_at         timestamptz NOT NULL DEFAULT now(),
    wake_reason     text NOT NULL DEFAULT 'to be started',
    loads           smallint NOT NULL DEFAULT 0,
    parked          text,
    commands        integer NOT NULL DEFAULT 0,
    node_executions bigint NOT NULL DEFAULT 0,
    last_event      bigint NOT NULL DEFAULT 0,
    create_time     timestamptz NOT NULL DEFAULT now(),
    start_time      timestamptz,
    end_time        timestamptz
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX executions_request ON executions (user_id, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX executions_unended ON executions (user_id) WHERE status < 4;
CREATE INDEX executions_of_user ON executions (user_id, execution_id DESC);
CREATE INDEX executions_due ON executions (partition, wake_at) WHERE status < 4;

CREATE TABLE commands (
    execution_id uuid NOT NULL,
    number       integer NOT NULL,
    kind         smallint NOT NULL,
    body         bytea NOT NULL,
    request_id   text,
    create_time  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (execution_id, number)
) PARTITION BY RANGE (execution_id);
CREATE UNIQUE INDEX commands_request ON commands (execution_id, request_id) WHERE request_id IS NOT NULL;
COMMENT ON COLUMN commands.number IS 'Drawn under the lock of the execution''s row, so numbers are in order of commit.';

CREATE TABLE turns (
    execution_id     uuid NOT NULL,
    turn             integer NOT NULL,
    partition        integer NOT NULL,
    feed_sequence    bigint NOT NULL,
    first_event      bigint NOT NULL,
    last_event       bigint NOT NULL,
    node_executions  bigint NOT NULL,
    commands_through integer NOT NULL,
    now_ms           bigint NOT NULL,
    facts            bytea NOT NULL,
    events           bytea NOT NULL,
    checksum         bigint NOT NULL,
    PRIMARY KEY (execution_id, turn)
) PARTITION BY RANGE (execution_id);
CREATE INDEX turns_feed ON turns (partition, feed_sequence);
CREATE INDEX turns_events ON turns (execution_id, last_event);

CREATE TABLE node_executions (
    execution_id uuid NOT NULL,
    number       bigint NOT NULL,
    node_id      text NOT NULL,
    block_id     text NOT NULL,
    status       smallint NOT NULL,
    attempts     integer NOT NULL,
    first_turn   integer NOT NULL,
    last_turn    integer NOT NULL,
    queued_ms    bigint NOT NULL,
    started_ms   bigint NOT NULL,
    ended_ms     bigint NOT NULL,
    inputs       bytea NOT NULL,
    lineage      bytea NOT NULL,
    error        text NOT NULL,
    reason       smallint NOT NULL,
    stats        bytea NOT NULL,
    PRIMARY KEY (execution_id, number)
) PARTITION BY RANGE (execution_id);
CREATE INDEX node_executions_recorded ON node_executions (execution_id, last_turn, number);

CREATE TABLE incomplete_sets (
    execution_id uuid NOT NULL,
    number       bigint NOT NULL,
    node_id      text NOT NULL,
    block_id     text NOT NULL,
    inputs       bytea NOT NULL,
    lineage      bytea NOT NULL,
    missing      text[] NOT NULL,
    PRIMARY KEY (execution_id, number)
) PARTITION BY RANGE (execution_id);

CREATE TABLE outputs (
    execution_id uuid NOT NULL,
    number       bigint NOT NULL,
    name         text NOT NULL,
    position     bigint[] NOT NULL,
    value        bytea NOT NULL,
    PRIMARY KEY (execution_id, number)
) PARTITION BY RANGE (execution_id);

CREATE TABLE snapshots (
    execution_id     uuid NOT NULL,
    turn             integer NOT NULL,
    rules            integer NOT NULL,
    commands_through integer NOT NULL,
    state            bytea NOT NULL,
    PRIMARY KEY (execution_id, turn)
) PARTITION BY RANGE (execution_id);
"""


def upgrade() -> None:
    """Creates everything; there is no way back."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
