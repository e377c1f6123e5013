"""Users, their API keys, and the audit log."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = """
CREATE TABLE users (
    user_id        text PRIMARY KEY,
    name           text NOT NULL DEFAULT '',
    email          text NOT NULL DEFAULT '',
    role           smallint NOT NULL,
    role_set       boolean NOT NULL DEFAULT false,
    time_zone      text NOT NULL DEFAULT '',
    state          smallint NOT NULL DEFAULT 1,
    low_balance    bigint NOT NULL DEFAULT 0,
    create_time    timestamptz NOT NULL DEFAULT now(),
    update_time    timestamptz NOT NULL DEFAULT now(),
    last_seen_time timestamptz
);
COMMENT ON COLUMN users.role_set IS 'An administrator has set the role: it follows the tokens no more.';

CREATE TABLE api_keys (
    api_key_id    uuid PRIMARY KEY,
    user_id       text NOT NULL REFERENCES users,
    name          text NOT NULL,
    prefix        text NOT NULL UNIQUE,
    salt          bytea NOT NULL,
    hash          bytea NOT NULL,
    permissions   smallint[] NOT NULL,
    create_time   timestamptz NOT NULL DEFAULT now(),
    last_use_time timestamptz,
    expire_time   timestamptz,
    revoke_time   timestamptz
);
CREATE INDEX api_keys_of_user ON api_keys (user_id, api_key_id DESC);
COMMENT ON COLUMN api_keys.hash IS 'HMAC-SHA256 of the SHA-256 of the key, with the salt as its key.';

CREATE TABLE audit_entries (
    entry_id    uuid NOT NULL,
    time        timestamptz NOT NULL,
    actor       text NOT NULL,
    api_key_id  text NOT NULL,
    action      text NOT NULL,
    resource    text NOT NULL,
    outcome     text NOT NULL,
    address     text NOT NULL,
    user_agent  text NOT NULL,
    request_id  text NOT NULL,
    details     jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (entry_id, time)
) PARTITION BY RANGE (time);
CREATE INDEX audit_entries_newest ON audit_entries (time DESC, entry_id DESC);
CREATE INDEX audit_entries_of_actor ON audit_entries (actor, time DESC);
CREATE INDEX audit_entries_on_resource ON audit_entries (resource, time DESC);
"""


def upgrade() -> None:
    """Creates everything; there is no way back."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
