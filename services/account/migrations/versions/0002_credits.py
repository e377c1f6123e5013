"""Credits: a double-entry ledger, what is held of it for executions, and which outcomes have been charged."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = """
CREATE TABLE balances (
    user_id  text PRIMARY KEY,
    balance  bigint NOT NULL DEFAULT 0,
    spent    bigint NOT NULL DEFAULT 0,
    told_low boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

COMMENT ON COLUMN balances.told_low IS 'Told that the balance is below users.low_balance, and not above it since.';

CREATE TABLE transfers (
    transfer_id  uuid PRIMARY KEY,
    kind         smallint NOT NULL,
    user_id      text NOT NULL,
    execution_id uuid,
    graph_id     text NOT NULL DEFAULT '',
    amount       bigint NOT NULL,
    balance      bigint NOT NULL,
    charges      integer NOT NULL DEFAULT 0,
    note         text NOT NULL DEFAULT '',
    actor        text NOT NULL DEFAULT '',
    request_id   text,
    time         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX transfers_of_user ON transfers (user_id, transfer_id DESC);
CREATE UNIQUE INDEX transfers_request ON transfers (actor, request_id) WHERE request_id IS NOT NULL;

CREATE TABLE entries (
    transfer_id uuid NOT NULL,
    account     text NOT NULL,
    amount      bigint NOT NULL,
    PRIMARY KEY (transfer_id, account)
);
COMMENT ON TABLE entries IS
    'The amounts of a transfer add up to 0: what one account gives, another one gets.';
COMMENT ON COLUMN entries.transfer_id IS
    'Of transfers. The verification of the ledger looks: a foreign key would take longer than the rest of a booking.';
COMMENT ON COLUMN entries.account IS '''user:'' and the id of a user, ''issued'' or ''earned''';

CREATE TABLE charges (
    execution_id    uuid NOT NULL,
    span            bigint NOT NULL,
    node_executions bytea NOT NULL,
    version         bigint NOT NULL,
    PRIMARY KEY (execution_id, span)
) PARTITION BY RANGE (execution_id);
COMMENT ON TABLE charges IS
    'Which node executions are charged. By week of the execution id, which is a UUIDv7; transfers outlast a week.';
COMMENT ON COLUMN charges.span IS 'Of 256 numbers of node executions each: 0 for 0 to 255.';
COMMENT ON COLUMN charges.node_executions IS
    'A bit for each number of the span, the lowest of the first byte for the first; zero bytes at the end left out.';

COMMENT ON COLUMN charges.version IS
    'One more with each change: who writes says which one was read, so that nobody undoes what another one has marked.';

CREATE TABLE spending (
    user_id  text NOT NULL,
    hour     timestamptz NOT NULL,
    block_id text NOT NULL,
    charges  bigint NOT NULL,
    amount   bigint NOT NULL,
    PRIMARY KEY (user_id, hour, block_id)
);
COMMENT ON COLUMN spending.hour IS 'The hour, in UTC, in which the outcomes were recorded.';

CREATE TABLE holds (
    user_id    text NOT NULL,
    holder     text NOT NULL,
    amount     bigint NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, holder)
) WITH (fillfactor = 50);

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
