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
    revoke_time   timestamptz,
    made_by       uuid REFERENCES api_keys
);
CREATE INDEX api_keys_of_user ON api_keys (user_id, api_key_id DESC);
CREATE INDEX api_keys_made_by ON api_keys (made_by) WHERE made_by IS NOT NULL;
COMMENT ON COLUMN api_keys.made_by IS 'The key that made this one, if one did: it is revoked with that.';
COMMENT ON COLUMN api_keys.hash IS 'HMAC-SHA256 of the SHA-256 of the key, with the salt as its key.';
"""

# Whoever owns a table, or the schema that it lies in, can change and drop it. So the audit log belongs to a role of its
# own, as which nobody logs in: the service may add entries and read them, and no more than that.
AUDIT_ROLE = """
DO $$ BEGIN
    CREATE ROLE account_audit NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- roles belong to the whole server: the migration of another database was faster
END $$;
DO $$ BEGIN
    IF NOT pg_has_role(current_user, 'account_audit', 'SET') THEN
        EXECUTE format('GRANT account_audit TO %I', current_user);
    END IF;
END $$;
"""

AUDIT_STATEMENTS = """
CREATE TABLE account_audit.audit_entries (
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
CREATE INDEX audit_entries_newest ON account_audit.audit_entries (time DESC, entry_id DESC);
CREATE INDEX audit_entries_of_actor ON account_audit.audit_entries (actor, time DESC);
CREATE INDEX audit_entries_on_resource ON account_audit.audit_entries (resource, time DESC);
"""

# The service calls it at its start and every hour. That it keeps a month in any case is not for the service to change.
KEEP = """
CREATE FUNCTION account_audit.keep(retention_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = account_audit, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    month   timestamptz;
    name    text;
    dropped integer := 0;
BEGIN
    IF retention_days < 30 THEN
        RAISE EXCEPTION 'audit entries are kept for 30 days at least, not for %', retention_days;
    END IF;
    PERFORM pg_advisory_xact_lock(7205759405);
    FOR ahead IN -1..2 LOOP
        month := date_trunc('month', now()) + make_interval(months => ahead);
        name := 'audit_entries_' || to_char(month, 'YYYYMM');
        IF to_regclass(quote_ident(name)) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE audit_entries INCLUDING ALL)', name);
            EXECUTE format('ALTER TABLE audit_entries ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           name, month, month + interval '1 month');
        END IF;
    END LOOP;
    FOR name IN SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
                WHERE inhparent = 'audit_entries'::regclass LOOP
        month := to_timestamp(right(name, 6), 'YYYYMM');
        IF month + interval '1 month' <= now() - make_interval(days => retention_days) THEN
            EXECUTE format('DROP TABLE %I', name);
            dropped := dropped + 1;
        END IF;
    END LOOP;
    RETURN dropped;
END $$
"""

AUDIT_RIGHTS = """
REVOKE ALL ON FUNCTION account_audit.keep(integer) FROM PUBLIC;
GRANT USAGE ON SCHEMA account_audit TO account;
GRANT SELECT, INSERT ON account_audit.audit_entries TO account;
GRANT EXECUTE ON FUNCTION account_audit.keep(integer) TO account;
"""


def upgrade() -> None:
    """Creates everything; there is no way back."""
    _execute(STATEMENTS)
    op.execute("RESET ROLE")
    op.execute(AUDIT_ROLE)
    op.execute("CREATE SCHEMA account_audit AUTHORIZATION account_audit")
    op.execute("SET ROLE account_audit")
    _execute(AUDIT_STATEMENTS)
    op.execute(KEEP)
    _execute(AUDIT_RIGHTS)
    op.execute("SET ROLE account")


def _execute(statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)
