"""No secret leaves the vault but to the run that it is given to (P7).

Blocks tell theirs in every way they can, services are killed meanwhile, and then all that the stack has kept or said is
looked through.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import blockyard
import grpc
import pytest
from blockyard.account.v1 import account_service_pb2 as accounts
from blockyard.account.v1.account_service_pb2_grpc import AccountServiceStub
from blockyard.client import Client
from blockyard.client.credential_records import ApiKeySecret, HostHeadersSecret, UserPasswordSecret
from blockyard.dev import Stack
from blockyard.execution.v1 import execution_service_pb2 as executions
from blockyard.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from blockyard.graph.v1 import graph_service_pb2 as graphs
from blockyard.graph.v1.graph_service_pb2_grpc import GraphServiceStub
from blockyard.graphs import Graph

from tests.e2e.leaking.blocks import PROVIDER, TYPES
from tests.e2e.searching import Search
from tests.integration.credentials.oauth.hostile_provider import HostileProvider, answer, hostile_provider
from tests.stack.collector import Collector, collector
from tests.waiting import until

ROOT = Path(__file__).parents[2]

SECRETS = {
    "api key": 'sentinel/key+"one"&ä=7f3a',
    "access token": "sentinel-access~token-9b1c44",
    "refresh token": "sentinel-refresh~token-51de02",
    "password": "sentinel password: %40 §2a",
    "header": "sentinel-header-value/8c77=",
    "replaced key": "sentinel-key-that-was-replaced-003",
    "client secret": "sentinel-client-secret-6612",
}
DECOY = "sentinel-that-is-no-secret-77ab"
"""Is told like a secret, and is none: where it is not found, nothing would be."""
WAYS = ("value", "raise", "error", "stats", "nothing")


@asynccontextmanager
async def stack_of(folder: Path, provider: HostileProvider, traces: Collector) -> AsyncIterator[tuple[Stack, Client]]:
    """A stack with the blocks that tell all, and the provider."""
    files = folder / "providers"
    files.mkdir()
    definition = {**provider.definition(), "name": PROVIDER, "types": list(TYPES)}
    (files / "leaking.yaml").write_text(json.dumps(definition))
    environment = {
        "BLOCKYARD_PACKAGES": '["tests.e2e.leaking"]',
        "PYTHONPATH": str(ROOT),
        "BLOCKYARD_LOG_LEVEL": "DEBUG",
        "BLOCKYARD_OTLP_ENDPOINT": traces.address,
        "BLOCKYARD_PROVIDER_FILES": str(files),
        "BLOCKYARD_OAUTH_CLIENTS": json.dumps(
            {PROVIDER: {"client_id": "client", "client_secret": SECRETS["client secret"]}}
        ),
        "BLOCKYARD_SPILL_FOLDER": str(folder / "spill"),
    }
    (folder / "spill").mkdir()
    async with (
        Stack(folder / "home", runners=2, environment=environment) as stack,
        blockyard.connect(home=folder / "home") as client,
    ):
        yield stack, client


async def add_credentials(client: Client, provider: HostileProvider) -> dict[str, str]:
    """One of each kind: ids by kind."""
    created = await client.credentials.create(PROVIDER, ApiKeySecret(SECRETS["replaced key"]), title="key")
    await client.credentials.update(created.id, secret=ApiKeySecret(SECRETS["api key"]))
    password = await client.credentials.create(
        PROVIDER, UserPasswordSecret("reader", SECRETS["password"]), title="password"
    )
    host = await client.credentials.create(
        PROVIDER, HostHeadersSecret("api.example.com", {"X-Token": SECRETS["header"]}), title="host"
    )
    provider.behaves(
        answer(
            200,
            {
                "access_token": SECRETS["access token"],
                "refresh_token": SECRETS["refresh token"],
                "token_type": "bearer",
                "expires_in": 3600,
            },
        )
    )
    started = await client.credentials.connect(PROVIDER, "http://127.0.0.1:49152/callback", title="oauth")
    connected = await client.credentials.complete(started.state, "code")
    return {"api_key": created.id, "user_password": password.id, "host_scoped": host.id, "oauth2": connected.id}


def graph_of(ids: dict[str, str]) -> Graph:
    """Each kind in each block in each way."""
    graph = Graph("tells all")
    for block in ("LeakingBlock", "LeakingInThreadBlock", "LeakingInProcessBlock"):
        for kind, credential_id in ids.items():
            for way in WAYS:
                name = f"{block}.{kind}.{way}"
                reference = {"id": credential_id, "provider": PROVIDER, "type": kind}
                node = graph.add(block, name, way=way, text=DECOY, credentials=reference).continue_on_error()
                graph.output(name, node["value"])
                graph.output(f"{name} error", node["error"])
    return graph


async def test_no_secret_is_kept_or_said_outside_of_the_vault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        hostile_provider() as provider,
        collector() as traces,
        stack_of(tmp_path, provider, traces) as (stack, client),
    ):
        ids = await add_credentials(client, provider)
        search = Search(SECRETS)
        metadata = [("authorization", f"Bearer {stack.token}")]
        async with (
            grpc.aio.insecure_channel(stack.execution_address) as execution_channel,
            grpc.aio.insecure_channel(stack.graph_address) as graph_channel,
            grpc.aio.insecure_channel(stack.account_address) as account_channel,
        ):
            # Any: the generated stubs' types depend on the kind of channel.
            execution: Any = ExecutionServiceStub(execution_channel)
            graph: Any = GraphServiceStub(graph_channel)
            account: Any = AccountServiceStub(account_channel)

            created = await client.graphs.create(graph_of(ids))
            started = [await client.executions.start(created.id) for _ in range(3)]
            await stack.kill("runner-1")
            await stack.revive("runner-1")
            await stack.kill("execution-1")
            await stack.revive("execution-1")
            for one in started:
                async for event in execution.WatchExecution(
                    executions.WatchExecutionRequest(execution_id=one.id), metadata=metadata, timeout=120
                ):
                    search.data("WatchExecution", event.SerializeToString())
            for way in WAYS:
                request = executions.RunBlockRequest(block_id="LeakingBlock")
                request.inputs.update({"way": way})
                request.credentials["credentials"] = ids["api_key"]
                answered = await execution.RunBlock(request, metadata=metadata, timeout=60)
                assert answered.execution.id
                search.data("RunBlock", answered.SerializeToString())
            for one in started:
                for method, request_type in (
                    ("GetExecution", executions.GetExecutionRequest),
                    ("ListNodeExecutions", executions.ListNodeExecutionsRequest),
                    ("GetExecutionResults", executions.GetExecutionResultsRequest),
                    ("ListEvents", executions.ListEventsRequest),
                    ("ExplainExecution", executions.ExplainExecutionRequest),
                ):
                    answered = await getattr(execution, method)(
                        request_type(execution_id=one.id), metadata=metadata, timeout=60
                    )
                    search.data(method, answered.SerializeToString())
            for method, graph_request in (
                ("GetGraph", graphs.GetGraphRequest(graph_id=created.id)),
                ("ExportGraph", graphs.ExportGraphRequest(graph_id=created.id)),
                ("RenderGraph", graphs.RenderGraphRequest(graph_id=created.id)),
            ):
                answered = await getattr(graph, method)(graph_request, metadata=metadata, timeout=60)
                search.data(method, answered.SerializeToString())
            admin = [("authorization", f"Bearer {stack.user_token('root', 'admin')}")]
            audit = await account.ListAuditEntries(
                accounts.ListAuditEntriesRequest(page_size=1000), metadata=admin, timeout=60
            )
            search.data("ListAuditEntries", audit.SerializeToString())
        await until(lambda: any(b"LeakingBlock" in span for span in traces.received), "spans are collected", 60)
        outcomes = await client.executions.get(started[0].id)
        assert outcomes.node_executions >= len(ids) * len(WAYS) * 3

        await search.tables(stack.postgres.url)
        search.folder("PostgreSQL's files", stack.folder.postgres)
        search.folder("JetStream's files", stack.nats.store)
        search.folder("logs", stack.folder.logs)
        search.folder("blobs", stack.folder.blobs)
        search.folder("spilled results", tmp_path / "spill")
        for span in traces.received:
            search.data("traces", span)

        decoys = Search({"decoy": DECOY})
        await decoys.tables(stack.postgres.url)
        decoys.folder("PostgreSQL's files", stack.folder.postgres)
        decoys.folder("JetStream's files", stack.nats.store)
        decoys.folder("logs", stack.folder.logs)
        decoys.folder("blobs", stack.folder.blobs)

    with capsys.disabled():
        print()
        for place, size in sorted(search.places.items()):
            if size:
                print(f"  looked through {size:>12,} bytes of {place}")
    assert search.found == []
    assert search.places["traces"] > 0
    for place in ("PostgreSQL's files", "JetStream's files", "logs", "blobs", "table execution.turns"):
        assert f"decoy in {place}" in decoys.found
    # The marks are there, so what was told was masked, and not only left out.
    assert b"***" in b"".join(path.read_bytes() for path in (tmp_path / "home").rglob("*.log"))
