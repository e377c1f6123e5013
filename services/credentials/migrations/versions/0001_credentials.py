"""Credentials, their secrets, the keys that wrap those, authorizations under way, and the leases of runs.

A secret stands in `secrets` alone, encrypted; every other table may be shown to an operator.
"""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = """
CREATE TABLE keys (
    key_id      text PRIMARY KEY,
    canary      bytea NOT NULL,
    active      boolean NOT NULL DEFAULT false,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX keys_active ON keys (active) WHERE active;
COMMENT ON COLUMN keys.canary IS 'A known text, sealed: a replica that cannot open it has another key of this id.';

CREATE TABLE credentials (
    credential_id  uuid PRIMARY KEY,
    user_id        text NOT NULL,
    provider       text NOT NULL,
    type           smallint NOT NULL,
    title          text NOT NULL,
    version        bigint NOT NULL DEFAULT 1,
    scopes         text[] NOT NULL DEFAULT '{}',
    account_name   text NOT NULL DEFAULT '',
    host           text NOT NULL DEFAULT '',
    header_names   text[] NOT NULL DEFAULT '{}',
    expire_time    timestamptz,
    state          smallint NOT NULL DEFAULT 1,
    state_reason   text NOT NULL DEFAULT '',
    request_id     text,
    request_hash   bytea,
    refresh_holder text,
    refresh_until  timestamptz,
    uses           bigint NOT NULL DEFAULT 0,
    last_use_time  timestamptz,
    create_time    timestamptz NOT NULL DEFAULT now(),
    update_time    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX credentials_request ON credentials (user_id, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX credentials_of_user ON credentials (user_id, create_time DESC, credential_id DESC);
CREATE INDEX credentials_of_account ON credentials (provider, account_name) WHERE type = 2;
COMMENT ON COLUMN credentials.refresh_holder IS
    'Who refreshes the token now, until refresh_until at the latest; empty while a provider that failed is left alone.';

CREATE TABLE secrets (
    credential_id uuid NOT NULL REFERENCES credentials ON DELETE CASCADE,
    version       bigint NOT NULL,
    key_id        text NOT NULL REFERENCES keys,
    wrapped_key   bytea NOT NULL,
    nonce         bytea NOT NULL,
    ciphertext    bytea NOT NULL,
    create_time   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (credential_id, version)
);
CREATE INDEX secrets_of_key ON secrets (key_id, credential_id, version);
COMMENT ON TABLE secrets IS 'The newest version of each: the one before it goes in the transaction that replaces it.';

CREATE TABLE authorizations (
    state_hash    bytea PRIMARY KEY,
    user_id       text NOT NULL,
    provider      text NOT NULL,
    scopes        text[] NOT NULL,
    redirect_uri  text NOT NULL,
    title         text NOT NULL,
    credential_id uuid,
    key_id        text NOT NULL,
    wrapped_key   bytea NOT NULL,
    nonce         bytea NOT NULL,
    ciphertext    bytea NOT NULL,
    expires_at    timestamptz NOT NULL
);
CREATE INDEX authorizations_expired ON authorizations (expires_at);
CREATE INDEX authorizations_of_user ON authorizations (user_id, expires_at);
COMMENT ON COLUMN authorizations.ciphertext IS 'The PKCE verifier, sealed as secrets are.';

CREATE TABLE leases (
    lease_id       uuid PRIMARY KEY,
    credential_id  uuid NOT NULL,
    version        bigint NOT NULL,
    user_id        text NOT NULL,
    execution_id   uuid NOT NULL,
    node_execution bigint NOT NULL,
    attempt        integer NOT NULL,
    run_id         bigint NOT NULL,
    graph_id       text NOT NULL,
    node_id        text NOT NULL,
    pin            text NOT NULL,
    runner_id      text NOT NULL,
    create_time    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX leases_of_credential ON leases (credential_id, lease_id DESC);
COMMENT ON COLUMN leases.lease_id IS 'A UUIDv7, so in order of time: retention deletes the oldest.';
COMMENT ON COLUMN leases.run_id IS 'Its 64 bits, as a signed number.';

CREATE TABLE audit_outbox (
    entry_id    uuid PRIMARY KEY,
    entry       bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX audit_outbox_oldest ON audit_outbox (create_time, entry_id);
COMMENT ON TABLE audit_outbox IS 'Written with what it tells of; the account service gets them in order, then they go.';

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
