"""The sync face: the same answers, and the same methods."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from blockyard import sync
from blockyard.client import (
    AccountClient,
    ApiKeySecret,
    AuditClient,
    BlocksClient,
    CredentialsClient,
    CreditsClient,
    ExecutionHandle,
    ExecutionsClient,
    GraphsClient,
    Results,
    UsersClient,
    VaultClient,
)
from blockyard.errors import ExecutionFailed, OutOfRange
from blockyard.event.v1.event_pb2 import ValueAbsence
from blockyard.execution.v1.execution_pb2 import EXECUTION_STATUS_FAILED
from blockyard.execution.v1.execution_service_pb2 import AbsentResult
from blockyard.graphs import Graph

from tests.unit.client.memory_services import EXECUTION_ID, GRAPH_ID, TOKEN, Script, events_of_a_run, serve


@pytest.fixture
def script() -> Script:
    return Script(events=events_of_a_run(2), results=b'{"result": ["HELLO"]}')


@pytest.fixture
def client(script: Script) -> Iterator[sync.Client]:
    with serve(script) as address, sync.connect(address, TOKEN) as client:
        yield client


def test_a_graph_runs(client: sync.Client) -> None:
    assert client.run(Graph("shout"), {"text": "hello"}) == {"result": ["HELLO"]}


def test_a_stored_graph_runs_by_its_id_and_by_its_record(client: sync.Client, script: Script) -> None:
    record = client.graphs.create(Graph("shout"))

    for graph in (record.id, record):
        assert client.run(graph, {"text": "hello"}) == {"result": ["HELLO"]}

    assert script.calls.count("CreateGraph") == 1
    assert [(start.graph_id, start.graph_version) for start in script.starts] == [(GRAPH_ID, 0), (GRAPH_ID, 1)]


def test_a_started_execution_can_be_followed(client: sync.Client) -> None:
    execution = client.executions.start(GRAPH_ID, {"text": "hello"})
    assert execution.id == EXECUTION_ID
    assert [event.sequence for event in execution.watch()] == [1, 2, 3, 4, 5, 6]
    assert execution.result() == {"result": ["HELLO"]}


def test_an_iterator_can_be_left_early(client: sync.Client) -> None:
    for event in client.events(EXECUTION_ID):
        if event.sequence == 2:
            break
    assert [event.sequence for event in client.events(EXECUTION_ID, after=4)] == [5, 6]


def test_lists_are_iterators(client: sync.Client) -> None:
    client.graphs.create(Graph("one"))
    assert [graph.name for graph in client.graphs.list()] == ["one"]


def test_credentials_and_accounts_are_here_too(client: sync.Client) -> None:
    kept = client.credentials.create("github", ApiKeySecret("x"), title="work")
    assert [one.id for one in client.credentials.list()] == [kept.id]
    assert client.account.me().id == "anna"
    assert client.credits.get().balance == 100
    assert [one.id for one in client.vault.list_keys()] == ["key-1", "key-0"]
    assert [one.id for one in client.users.list()] == ["anna"]
    assert list(client.audit.list()) == []


def test_errors_are_raised_here(client: sync.Client, script: Script) -> None:
    script.status = EXECUTION_STATUS_FAILED
    with pytest.raises(ExecutionFailed):
        client.executions.handle(EXECUTION_ID).result()


def test_absent_values_may_be_none_here_too(client: sync.Client, script: Script) -> None:
    script.results = b'{"result": [null]}'
    absence = ValueAbsence.VALUE_ABSENCE_TOO_LARGE
    script.absent_results = {0: [AbsentResult(output="result", absence=absence, message="it is large")]}
    execution = client.executions.handle(EXECUTION_ID)
    ways: list[Callable[..., Results]] = [execution.result, execution.results, partial(client.run, GRAPH_ID)]
    for give in ways:
        with pytest.raises(OutOfRange, match="'result': it is large"):
            give()
        assert give(absent_as_none=True) == {"result": [None]}


@pytest.mark.parametrize(
    ("face", "inner"),
    [
        (sync.Graphs, GraphsClient),
        (sync.Blocks, BlocksClient),
        (sync.Executions, ExecutionsClient),
        (sync.Execution, ExecutionHandle),
        (sync.Credentials, CredentialsClient),
        (sync.Vault, VaultClient),
        (sync.Account, AccountClient),
        (sync.Users, UsersClient),
        (sync.Credits, CreditsClient),
        (sync.Audit, AuditClient),
    ],
)
def test_no_method_is_missing(face: type, inner: type) -> None:
    methods = {name for name, _ in inspect.getmembers(inner, inspect.isfunction) if not name.startswith("_")}
    assert methods <= set(dir(face))
