"""Graphs with their versions, and the blocks that runners registered."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = """
CREATE TABLE graphs (
    graph_id            uuid PRIMARY KEY,
    user_id             text NOT NULL,
    active_version      integer NOT NULL,
    latest_version      integer NOT NULL,
    forked_from_id      uuid,
    forked_from_version integer,
    request_id          text,
    request_hash        bytea,
    create_time         timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX graphs_request ON graphs (user_id, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX graphs_of_user ON graphs (user_id, create_time DESC, graph_id DESC);
COMMENT ON COLUMN graphs.forked_from_id IS 'No foreign key: a fork outlives what it was made from.';

CREATE TABLE graph_versions (
    graph_id    uuid NOT NULL REFERENCES graphs ON DELETE CASCADE,
    version     integer NOT NULL,
    name        text NOT NULL,
    head        bytea NOT NULL,
    body        bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (graph_id, version)
);
COMMENT ON COLUMN graph_versions.head IS 'blockyard.graph.v1.Graph without nodes and links: what lists show.';
COMMENT ON COLUMN graph_versions.body IS 'blockyard.graph.v1.Graph with nothing but nodes and links.';

CREATE TABLE blocks (
    block_id        text NOT NULL,
    schema_hash     text NOT NULL,
    definition_hash bytea NOT NULL,
    definition      bytea NOT NULL,
    register_time   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (block_id, schema_hash)
);
COMMENT ON COLUMN blocks.schema_hash IS 'Over all that executions depend on; words may change without another hash.';
CREATE INDEX blocks_of_definition ON blocks (definition_hash);

CREATE TABLE runners (
    runner_id text PRIMARY KEY,
    digest    bytea NOT NULL,
    seen_time timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE runner_blocks (
    runner_id   text NOT NULL REFERENCES runners ON DELETE CASCADE,
    block_id    text NOT NULL,
    schema_hash text NOT NULL,
    PRIMARY KEY (runner_id, block_id),
    FOREIGN KEY (block_id, schema_hash) REFERENCES blocks
);
CREATE INDEX runner_blocks_of_block ON runner_blocks (block_id, schema_hash)
"""


def upgrade() -> None:
    """Creates everything; there is no way back."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
