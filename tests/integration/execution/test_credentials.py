"""Which credentials nodes are given, and whether the runs that ask for them are alive."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.errors import CallError, from_rpc_error
from blockyard.execution.v1 import execution_service_pb2 as calls
from blockyard.execution.v1.schedule_service_pb2 import CreateScheduleRequest, Schedule
from blockyard.execution.v1.schedule_service_pb2_grpc import ScheduleServiceStub
from blockyard.execution.v1.start_template_pb2 import StartTemplate
from blockyard.graph.v1.block_pb2 import Block, Effect
from blockyard.runner.v1 import task_service_pb2 as messages
from blockyard.runner.v1.heartbeat_pb2 import Holding
from blockyard.runner.v1.task_pb2 import Task
from blockyard.runner.v1.task_service_pb2_grpc import TaskServiceStub

from services.common.structs import to_struct
from tests import signing
from tests.integration.execution.hooks import Hooks
from tests.integration.execution.house import House, house
from tests.integration.execution.protocol_runner import Held, ProtocolRunner, running
from tests.integration.execution.vault import MemoryVault, serving
from tests.waiting import until


@asynccontextmanager
async def built_with_vault(postgres: PostgresServer, replicas: int = 1) -> AsyncIterator[tuple[House, MemoryVault]]:
    vault = MemoryVault()
    async with serving(vault) as address, house(postgres, credentials_address=address) as built:
        for _ in range(replicas):
            await built.add_replica()
        yield built, vault


def credentials_of(task: Task) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(task.credentials) if task.credentials else {}
    return found


def echo(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield "value", credentials_of(task)


def hold(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise Held
    yield


def graph_of_one_node(built: House, **field: Any) -> None:
    graph = built.graph()
    graph.node("call")
    graph.output("out")
    graph.link("call.value", "out.value")
    graph.wants_credential("github", "call.credentials", **field)
    built.catalogue.add(graph)


async def refusal(call: Any) -> CallError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_a_start_that_names_a_credential_gives_it_to_the_task(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        vault.add("one", "github")
        vault.add("two", "github")
        graph_of_one_node(built)
        async with running(built.bus, {"call": echo}):
            started = await built.client().start(credentials={"github": "two"})
            await built.client().events(started.id)
        results = await built.client().results(started.id)

    reference = {"id": "two", "provider": "github", "type": "api_key", "title": "title of two"}
    assert results == {"out": [{"credentials": reference}]}


async def test_the_only_credential_that_fits_is_found(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        vault.add("mine", "github")
        vault.add("other provider", "gitlab")
        vault.add("somebody else's", "github", user_id="bert")
        graph_of_one_node(built)
        async with running(built.bus, {"call": echo}):
            started = await built.client().start()
            await built.client().events(started.id)
        results = await built.client().results(started.id)

    assert results["out"][0]["credentials"]["id"] == "mine"


async def test_what_is_missing_is_named_by_field_and_nothing_is_started(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, _):
        graph_of_one_node(built)

        error = await refusal(built.client().start())
        listed = await built.client().call("ListExecutions", calls.ListExecutionsRequest())

    assert error.reason == "CREDENTIALS_MISSING"
    assert [violation.field for violation in error.violations] == ["credentials.github"]
    assert "call.credentials" in error.violations[0].description
    assert not listed.executions


async def test_one_of_several_that_fit_has_to_be_named(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        vault.add("one", "github")
        vault.add("two", "github")
        graph_of_one_node(built)

        error = await refusal(built.client().start())

    assert error.reason == "CREDENTIALS_MISSING"
    assert "one (title of one); two (title of two)" in error.violations[0].description


async def test_optional_credentials_may_stay_empty(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, _):
        graph_of_one_node(built, required=False)
        async with running(built.bus, {"call": echo}):
            started = await built.client().start()
            await built.client().events(started.id)
        results = await built.client().results(started.id)

    assert results == {"out": [{}]}


async def test_what_the_graph_sends_where_it_likes_has_to_be_named(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        vault.add("mine", "github")
        graph_of_one_node(built, named_only=True)

        error = await refusal(built.client().start())
        async with running(built.bus, {"call": echo}):
            started = await built.client().start(credentials={"github": "mine"})
            await built.client().events(started.id)
        results = await built.client().results(started.id)

    assert error.reason == "CREDENTIALS_MISSING"
    assert "mine (title of mine)" in error.violations[0].description
    assert results["out"][0]["credentials"]["id"] == "mine"


async def test_a_credential_of_another_user_is_refused(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        vault.add("bert's", "github", user_id="bert")
        graph_of_one_node(built)

        error = await refusal(built.client().start(credentials={"github": "bert's"}))

    assert error.reason == "CREDENTIALS_MISSING"
    assert "there is no such credential" in error.violations[0].description


async def test_a_field_that_the_graph_has_not_is_refused(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        vault.add("one", "github")
        graph_of_one_node(built)

        error = await refusal(built.client().start(credentials={"gitlab": "one"}))

    assert [violation.field for violation in error.violations] == ["credentials.gitlab"]
    assert "github" in error.violations[0].description


async def test_without_the_vault_a_start_is_to_be_tried_again(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        vault.away = True
        graph_of_one_node(built)

        error = await refusal(built.client().start(credentials={"github": "one"}))

    assert error.code == grpc.StatusCode.UNAVAILABLE


async def test_a_node_may_be_given_another_credential_than_its_field(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        for name in ("one", "two"):
            vault.add(name, "github")
        graph = built.graph()
        for name in ("first", "second"):
            graph.node(name, "call")
            graph.output(f"of {name}")
            graph.link(f"{name}.value", f"of {name}.value")
        graph.wants_credential("github", "first.credentials", "second.credentials")
        built.catalogue.add(graph)
        async with running(built.bus, {"call": echo}):
            started = await built.client().start(credentials={"github": "one", "second.credentials": "two"})
            await built.client().events(started.id)
        results = await built.client().results(started.id)

    assert results["of first"][0]["credentials"]["id"] == "one"
    assert results["of second"][0]["credentials"]["id"] == "two"


async def test_a_child_is_given_what_its_parent_was_given(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        for name in ("one", "two"):
            vault.add(name, "github")
        child = built.graph("child")
        child.node("call")
        child.output("out")
        child.link("call.value", "out.value")
        child.wants_credential("github", "call.credentials")
        built.catalogue.add(child)
        parent = built.graph()
        parent.node("agent", "AGENT", graph_id="child", graph_version=1)
        parent.output("out")
        parent.link("agent.out", "out.value")
        parent.wants_credential("github", "call.credentials")
        parent.credentials_fields[0].pins[0].graph_id = "child"
        built.catalogue.add(parent)
        async with running(built.bus, {"call": echo}):
            started = await built.client().start(credentials={"github": "two"})
            await built.client().events(started.id)
        results = await built.client().results(started.id)

    assert results["out"][0]["credentials"]["id"] == "two"


async def test_a_request_id_stands_for_the_credentials_too(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        for name in ("one", "two"):
            vault.add(name, "github")
        graph_of_one_node(built)
        first = await built.client().start(credentials={"github": "one"}, request_id="r")

        again = await built.client().start(credentials={"github": "one"}, request_id="r")
        error = await refusal(built.client().start(credentials={"github": "two"}, request_id="r"))

    assert again.id == first.id
    assert error.reason == "REQUEST_ID_REUSED"


CREDENTIALS = {"type": "object", "credentials_provider": ["github"], "credentials_types": ["api_key"]}


def block_with_credentials() -> Block:
    pins = {"credentials": CREDENTIALS, "text": {"type": "string"}}
    schema = {"type": "object", "properties": pins, "required": ["credentials"]}
    return Block(
        id="call", name="CallBlock", schema_hash="h", effect=Effect.EFFECT_PURE, input_schema=to_struct(schema)
    )


async def test_a_single_block_takes_the_oldest_credential_that_fits(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        vault.add("older", "github")
        vault.add("newer", "github")
        built.catalogue.add_block(block_with_credentials())
        async with running(built.bus, {"call": echo}):
            request = calls.RunBlockRequest(block_id="call", value_format=calls.VALUE_FORMAT_JSON)
            found = await built.client().call("RunBlock", request)
            request.credentials["credentials"] = "newer"
            named = await built.client().call("RunBlock", request)
            del request.credentials["credentials"]
            reference = {"id": "newer", "provider": "github", "type": "api_key"}
            request.inputs_json = json.dumps({"credentials": reference}).encode()
            among_inputs = await built.client().call("RunBlock", request)

    ids = [
        json.loads(answer.node_execution.outputs_json)["value"][0]["credentials"]["id"]
        for answer in (found, named, among_inputs)
    ]
    assert ids == ["older", "newer", "newer"]


async def test_a_single_block_without_credentials_is_answered_with_what_it_needs(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, _):
        built.catalogue.add_block(block_with_credentials())

        answer = await built.client().call("RunBlock", calls.RunBlockRequest(block_id="call"))

    assert answer.setup_requirements.missing_credentials["credentials"].providers == ["github"]
    assert not answer.HasField("execution")


async def check(built: House, run: Holding, replica: int = 0) -> messages.RunVerdict:
    stub: Any = TaskServiceStub(built.replicas[replica].channel)
    request = messages.CheckRunsRequest(runs=[run], runner_ids=["runner"])
    answer = await stub.CheckRuns(
        request, metadata=[("authorization", f"Bearer {signing.service_token('credentials')}")], timeout=20
    )
    verdict: messages.RunVerdict = answer.verdicts[0]
    return verdict


async def known(built: House, run: Holding, replica: int = 0) -> messages.RunVerdict:
    """The verdict once there is one: a turn may be on its way, or partitions."""
    verdicts: list[messages.RunVerdict] = []

    async def is_known() -> bool:
        verdicts.append(await check(built, run, replica))
        return not verdicts[-1].unknown

    await until(is_known, "the run is judged")
    return verdicts[-1]


async def held_run(built: House, runner: ProtocolRunner) -> tuple[str, Holding]:
    """A run that goes on: its execution, and how it is named."""
    started = await built.client().start(credentials={"github": "one"})
    await until(lambda: runner.held, "the run begins")
    (task,) = runner.held.values()
    return started.id, Holding(
        execution_id=task.execution_id,
        node_execution=task.node_execution,
        attempt=task.attempt,
        partition=task.partition,
        run_id=7,
    )


async def test_a_run_is_alive_until_its_execution_is_stopped(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        vault.add("one", "github")
        graph_of_one_node(built)
        async with running(built.bus, {"call": hold}) as runner:
            execution_id, run = await held_run(built, runner)

            alive = await known(built, run)
            await built.client().call("StopExecution", calls.StopExecutionRequest(execution_id=execution_id))
            ended = await known(built, run)

    assert (alive.alive, alive.user_id, alive.graph_id, alive.node_id) == (True, "anna", "graph", "call")
    assert dict(alive.credential_ids) == {"credentials": "one"}
    assert not ended.alive
    assert not ended.unknown
    assert ended.reason


async def test_a_run_that_is_named_wrongly_is_not_alive(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        vault.add("one", "github")
        graph_of_one_node(built)
        async with running(built.bus, {"call": hold}) as runner:
            _, run = await held_run(built, runner)
            wrong = [Holding.FromString(run.SerializeToString()) for _ in range(4)]
            wrong[0].attempt += 1
            wrong[1].node_execution += 1
            wrong[2].execution_id = b"\1" * 16
            wrong[3].execution_id = b"short"
            verdicts = [await known(built, one) for one in wrong]
            run.partition = 1_000_000
            elsewhere = await check(built, run)

    assert not any(verdict.alive for verdict in verdicts)
    # Nobody drives that partition now; somebody may in a moment.
    assert (elsewhere.alive, elsewhere.unknown) == (False, True)


async def test_any_replica_knows_of_a_run(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres, replicas=2) as (built, vault):
        vault.add("one", "github")
        graph_of_one_node(built)
        async with running(built.bus, {"call": hold}) as runner:
            _, run = await held_run(built, runner)

            verdicts = [await known(built, run, replica) for replica in (0, 1)]

    assert [verdict.alive for verdict in verdicts] == [True, True]


async def test_a_run_of_a_task_that_was_sent_again_is_not_alive(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        vault.add("one", "github")
        graph_of_one_node(built)
        async with running(built.bus, {"call": hold}) as first:
            _, run = await held_run(built, first)
            before = await known(built, run)
        # The first one is silent from here on: the task is sent again.
        async with running(built.bus, {"call": hold}) as second:
            await until(lambda: second.held, "the task is sent again")
            old = await known(built, run)
            run.run_id = 8
            new = await known(built, run)

    assert before.alive
    assert not old.alive
    assert old.reason == "its task was sent again"
    assert new.alive


async def test_executions_that_use_a_credential_are_found_until_they_end(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        vault.add("one", "github")
        graph_of_one_node(built)
        async with running(built.bus, {"call": hold}) as runner:
            execution_id, _ = await held_run(built, runner)
            stub: Any = TaskServiceStub(built.replicas[0].channel)
            metadata = [("authorization", f"Bearer {signing.service_token('credentials')}")]

            async def uses(user_id: str = "anna", credential_id: str = "one") -> Any:
                request = messages.FindCredentialUsesRequest(user_id=user_id, credential_id=credential_id)
                return (await stub.FindCredentialUses(request, metadata=metadata, timeout=20)).uses

            (use,) = await uses()
            others = [*await uses("bert"), *await uses(credential_id="two")]
            await built.client().call("StopExecution", calls.StopExecutionRequest(execution_id=execution_id))
            after = await uses()

    assert (use.execution_id, use.graph_id, use.node_id, use.pin) == (execution_id, "graph", "call", "credentials")
    assert others == []
    assert list(after) == []


async def test_what_will_start_executions_with_a_credential_is_found(postgres: PostgresServer) -> None:
    async with built_with_vault(postgres) as (built, vault):
        vault.add("one", "github")
        graph = built.graph()
        graph.input("payload", {"type": "object"})
        graph.node("call")
        graph.wants_credential("github", "call.credentials")
        built.catalogue.add(graph)
        start = StartTemplate(graph_id="graph", credentials={"github": "one"})
        hook = await Hooks.of(built).create(start=start)
        await Hooks.of(built).create(start=StartTemplate(graph_id="graph", labels={"no": "one"}))
        vault.secrets["one"] = "drawn by the sender"
        drawn = await Hooks.of(built).create(start=StartTemplate(graph_id="graph"), secret_credential_id="one")
        schedules: Any = ScheduleServiceStub(built.replicas[0].channel)
        request = CreateScheduleRequest(schedule=Schedule(cron="0 6 * * *", start=start))
        made = await schedules.CreateSchedule(request, metadata=built.client().metadata, timeout=20)

        stub: Any = TaskServiceStub(built.replicas[0].channel)
        metadata = [("authorization", f"Bearer {signing.service_token('credentials')}")]
        asked = messages.FindCredentialUsesRequest(user_id="anna", credential_id="one")
        uses = (await stub.FindCredentialUses(asked, metadata=metadata, timeout=20)).uses

    found = sorted((use.trigger_id, use.schedule_id, use.graph_id) for use in uses)
    of_triggers = sorted([(hook.trigger.id, "", "graph"), (drawn.trigger.id, "", "graph")])
    assert found == [("", made.schedule.id, "graph"), *of_triggers]
