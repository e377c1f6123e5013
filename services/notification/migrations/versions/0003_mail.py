"""E-mail: what users want to be told, mails that wait or were sent, and what is gathered for summaries and digests."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = """
CREATE TABLE mail_users (
    user_id         text PRIMARY KEY,
    digest_hour     smallint NOT NULL,
    digest_day      smallint NOT NULL,
    refused_address text NOT NULL DEFAULT '',
    refusals        integer NOT NULL DEFAULT 0,
    refusal         text NOT NULL DEFAULT '',
    update_time     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN mail_users.refusals IS 'How often in a row mails to refused_address were refused for good.';

CREATE TABLE mail_frequencies (
    user_id   text NOT NULL,
    kind      smallint NOT NULL,
    frequency smallint NOT NULL,
    PRIMARY KEY (user_id, kind)
);

CREATE TABLE mails (
    mail_id     uuid PRIMARY KEY,
    user_id     text NOT NULL,
    event_key   text NOT NULL,
    kind        smallint NOT NULL,
    round       smallint NOT NULL,
    details     jsonb NOT NULL,
    state       smallint NOT NULL DEFAULT 1,
    create_time timestamptz NOT NULL,
    due_time    timestamptz,
    attempts    integer NOT NULL DEFAULT 0,
    end_time    timestamptz,
    reason      text NOT NULL DEFAULT '',
    UNIQUE (user_id, event_key),
    CHECK ((due_time IS NULL) = (end_time IS NOT NULL))
) WITH (fillfactor = 80);
COMMENT ON COLUMN mails.event_key IS 'What it tells of: the same event never makes a second mail.';
COMMENT ON COLUMN mails.kind IS 'MailKind; 0 of a mail about many things, whose round says which.';
COMMENT ON COLUMN mails.state IS '1 waits, 2 sent, 3 given up, 4 not wanted any more.';
COMMENT ON COLUMN mails.due_time IS 'Nobody tries before: the next attempt, or the end of the lease of one under way.';
CREATE INDEX mails_due ON mails (due_time) WHERE due_time IS NOT NULL;
CREATE INDEX mails_of_user ON mails (user_id, create_time);
CREATE INDEX mails_ended ON mails (end_time) WHERE end_time IS NOT NULL;

CREATE TABLE mail_rounds (
    user_id   text NOT NULL,
    round     smallint NOT NULL,
    open_time timestamptz NOT NULL,
    due_time  timestamptz,
    changes   integer NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, round)
) WITH (fillfactor = 70);
COMMENT ON COLUMN mail_rounds.due_time IS 'NULL until somebody has found out where the user lives.';

CREATE TABLE mail_gathered (
    user_id    text NOT NULL,
    round      smallint NOT NULL,
    kind       smallint NOT NULL,
    graph_id   text NOT NULL,
    count      bigint NOT NULL,
    first_time timestamptz NOT NULL,
    last_time  timestamptz NOT NULL,
    samples    jsonb NOT NULL,
    PRIMARY KEY (user_id, round, kind, graph_id)
) WITH (fillfactor = 70);

CREATE TABLE notices_taken (
    notice_id uuid PRIMARY KEY,
    take_time timestamptz NOT NULL
);
CREATE INDEX notices_taken_time ON notices_taken (take_time);
"""


def upgrade() -> None:
    """Creates everything; there is no way back."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
