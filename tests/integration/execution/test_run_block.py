"""Runs of one block without a graph: each outcome as a client sees it, and the promises of an execution."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.dev.postgres import PostgresServer
from blockyard.errors import from_rpc_error
from blockyard.event.v1.event_pb2 import Event, EventKind
from blockyard.execution.v1 import block_run_pb2
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import ExecutionStatus, NodeExecutionStatus
from blockyard.graph.v1.block_pb2 import Block, BlockType, Effect
from blockyard.runner.v1.result_pb2 import Finish, Outcome, Output
from blockyard.runner.v1.task_pb2 import Task
from google.protobuf.struct_pb2 import Struct

from services.common import identity
from services.common.structs import from_struct, to_struct
from tests.integration.execution.house import SECRET, Client, House, house
from tests.integration.execution.protocol_runner import Block as RunnerBlock
from tests.integration.execution.protocol_runner import Held, ProtocolRunner, Silent, running
from tests.integration.execution.test_bad_input import Refused, refusal
from tests.integration.execution.test_guarantees import ambiguous
from tests.integration.execution.test_lost_commits import looking
from tests.waiting import until

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
CREDENTIALS = {
    "type": "object",
    "properties": {"id": TEXT, "provider": TEXT, "type": TEXT},
    "required": ["id", "provider", "type"],
    "description": "The account to write with.",
    "credentials_provider": ["github"],
    "credentials_types": ["api_key", "oauth2"],
    "credentials_scopes": ["repo"],
}
GIVEN = {"id": "c1", "provider": "github", "type": "api_key"}

COMPLETED = ExecutionStatus.EXECUTION_STATUS_COMPLETED
FAILED = ExecutionStatus.EXECUTION_STATUS_FAILED


def block(
    name: str,
    inputs: dict[str, Any] | None = None,
    *,
    kind: BlockType.ValueType = BlockType.BLOCK_TYPE_STANDARD,
    effect: Effect.ValueType = Effect.EFFECT_IDEMPOTENT,
    many: Sequence[str] = (),
    **fields: Any,
) -> Block:
    """A block; inputs without a default are required. Its id is its name with "-id"."""
    pins = inputs or {}
    required = [pin for pin, schema in pins.items() if "default" not in schema]
    return Block(
        id=f"{name}-id",
        name=name,
        type=kind,
        effect=effect,
        pool="default",
        many_pins=many,
        schema_hash=f"hash of {name}",
        input_schema=to_struct({"type": "object", "properties": pins, "required": required}),
        output_schema=to_struct({"type": "object", "properties": {"result": {}, "item": {}, "error": TEXT}}),
        **fields,
    )


def echo(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield "result", inputs


def count(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    for number in range(inputs["number"]):
        yield "item", number
    yield "result", "done"


def fail(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield "item", "before"
    raise ValueError("there is no such street")


def held(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise Held


def silent(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise Silent


GRAPHS_ALONE = {
    "Input": BlockType.BLOCK_TYPE_INPUT,
    "Output": BlockType.BLOCK_TYPE_OUTPUT,
    "Note": BlockType.BLOCK_TYPE_NOTE,
    "Collect": BlockType.BLOCK_TYPE_COLLECT,
    "Webhook": BlockType.BLOCK_TYPE_WEBHOOK,
    "ManualWebhook": BlockType.BLOCK_TYPE_WEBHOOK_MANUAL,
    "Agent": BlockType.BLOCK_TYPE_AGENT,
    "Human": BlockType.BLOCK_TYPE_HUMAN_IN_THE_LOOP,
}
RUNS: dict[str, RunnerBlock] = {
    "Echo-id": echo,
    "Count-id": count,
    "Fail-id": fail,
    "Held-id": held,
    "Once-id": silent,
    "Model-id": echo,
}


def fill(built: House) -> None:
    """The blocks of these tests."""
    nullable = {"anyOf": [WHOLE, {"type": "null"}]}
    optional = {"default": None}
    echoing = {"text": optional, "number": {**WHOLE, "default": 0}, "secret": {**TEXT, "secret": True, "default": ""}}
    for one in (
        block("Echo", echoing),
        block("Count", {"number": WHOLE, "step": {**WHOLE, "default": 1}}, many=["item"]),
        block("Fail"),
        block("Held", {"text": optional}),
        block("Once", effect=Effect.EFFECT_ONCE),
        block("Model", {"limit": nullable}, kind=BlockType.BLOCK_TYPE_AI),
        block("Disabled", disabled=True),
        block("Unset", unavailable_reason="BLOCK_KEY is not set"),
        block("Private", {"credentials": CREDENTIALS, "title": TEXT, "note": {**TEXT, "default": ""}}),
        block("Optional", {"credentials": {**CREDENTIALS, "default": None}}),
        *(block(name, kind=kind) for name, kind in GRAPHS_ALONE.items()),
    ):
        built.catalogue.add_block(one)
    built.catalogue.add_block(block("Absent"), absence="no runner has registered it since yesterday")


@pytest.fixture(scope="module")
def shared(runner: Any, postgres: PostgresServer) -> Any:
    """A house with one replica and the blocks, shared by the tests of this module."""
    context = house(postgres)
    built = runner.run(context.__aenter__())
    fill(built)
    runner.run(built.add_replica())
    yield built
    runner.run(context.__aexit__(None, None, None))


async def run(client: Client, name: str, timeout: float = 20, /, **fields: Any) -> messages.RunBlockResponse:
    inputs = fields.pop("inputs", None)
    if inputs is not None:
        fields["inputs_json"] = json.dumps(inputs).encode()
    fields.setdefault("value_format", messages.VALUE_FORMAT_JSON)
    answer = await client.call("RunBlock", messages.RunBlockRequest(block_id=name, **fields), timeout)
    assert isinstance(answer, messages.RunBlockResponse)
    return answer


async def finish(runner: ProtocolRunner, result: Any, stats: bytes = b"") -> None:
    """The run that the runner holds gives this result."""
    (task,) = runner.held.values()
    runner.held.clear()
    end = Finish(outcome=Outcome.OUTCOME_COMPLETED, stats=stats)
    await runner.say(task, 1, [Output(pin="result", value=json.dumps(result).encode())], end)


def outputs(answer: messages.RunBlockResponse) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = json.loads(answer.node_execution.outputs_json)
    return found


async def executions(client: Client, **fields: Any) -> list[Any]:
    answer = await client.call("ListExecutions", messages.ListExecutionsRequest(**fields))
    return list(answer.executions)


# What comes of it


async def test_outputs_come_by_pin_as_lists_with_the_execution_and_its_node(shared: House) -> None:
    async with running(shared.bus, RUNS):
        answer = await run(shared.client(), "Count-id", inputs={"number": 3})
    assert outputs(answer) == {"item": [0, 1, 2], "result": ["done"]}
    assert answer.execution.status == COMPLETED
    assert answer.execution.graph_id == ""
    assert answer.node_execution.execution_id == answer.execution.id
    assert answer.node_execution.block_id == "Count-id"
    assert answer.node_execution.status == NodeExecutionStatus.NODE_EXECUTION_STATUS_COMPLETED
    assert answer.node_execution.attempts == 1
    assert answer.node_execution.HasField("end_time")
    assert not answer.HasField("setup_requirements")


async def test_a_block_is_found_by_the_name_of_its_class_too(shared: House) -> None:
    async with running(shared.bus, RUNS):
        answer = await run(shared.client(), "Echo", inputs={"text": "hello"})
    assert outputs(answer) == {"result": [{"text": "hello"}]}
    assert answer.execution.labels == {"block": "Echo-id"}


async def test_values_come_as_structs_where_nothing_else_is_asked_for(shared: House) -> None:
    given = Struct()
    given["text"] = "hello"
    async with running(shared.bus, RUNS):
        answer = await shared.client().call("RunBlock", messages.RunBlockRequest(block_id="Echo", inputs=given))
    assert answer.node_execution.outputs["result"][0]["text"] == "hello"
    assert answer.node_execution.outputs_json == b""


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 1.5, True, "\x00ü", [{"a": [None]}], "x" * 400_000])
async def test_inputs_reach_the_block_as_they_are(shared: House, value: Any) -> None:
    seen: list[Any] = []

    def look(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
        seen.append(inputs["text"])
        yield "result", 1

    async with running(shared.bus, {"Echo-id": look}):
        answer = await run(shared.client(), "Echo", inputs={"text": value})
    assert answer.execution.status == COMPLETED
    # A large one comes as a reference to the blob store, as every large input does.
    assert seen == [value] or set(seen[0]) == {"blockyard:blob"}


async def test_none_is_no_value_but_where_the_pin_takes_it_as_one(shared: House) -> None:
    async with running(shared.bus, RUNS):
        client = shared.client()
        assert outputs(await run(client, "Echo", inputs={"text": None, "number": 7})) == {"result": [{"number": 7}]}
        assert outputs(await run(client, "Model", inputs={"limit": None})) == {"result": [{"limit": None}]}
    found = await refusal(run(client, "Model", inputs={}))
    assert found == ("INVALID_ARGUMENT", "INPUTS_INVALID", ["inputs.limit"])


async def test_what_the_block_reports_of_its_run_is_in_the_answer_and_in_lists(shared: House) -> None:
    client = shared.client()
    async with running(shared.bus, RUNS) as runner:
        asked = asyncio.create_task(run(client, "Held"))
        await until(lambda: runner.held, "the block runs")
        await finish(runner, 1, b'{"input_tokens": 12, "cost": 0.5}')
        answer = await asked
    assert dict(answer.node_execution.stats) == {"input_tokens": 12, "cost": 0.5}
    listed = await client.call(
        "ListNodeExecutions", messages.ListNodeExecutionsRequest(execution_id=answer.execution.id, node_id="block")
    )
    assert [dict(node.stats) for node in listed.node_executions] == [{"input_tokens": 12, "cost": 0.5}]


@pytest.mark.parametrize("stats", [b"no JSON", b"[1]", b"[" * 200, b'{"a": ' * 60 + b"1" + b"}" * 60])
async def test_stats_that_make_no_sense_take_nothing_else_away(shared: House, stats: bytes) -> None:
    async with running(shared.bus, RUNS) as runner:
        asked = asyncio.create_task(run(shared.client(), "Held"))
        await until(lambda: runner.held, "the block runs")
        await finish(runner, "fine", stats)
        answer = await asked
    assert outputs(answer) == {"result": ["fine"]}
    assert not answer.node_execution.HasField("stats")


async def test_an_error_of_the_block_is_an_outcome_and_no_error_of_the_call(shared: House) -> None:
    async with running(shared.bus, RUNS):
        answer = await run(shared.client(), "Fail")
    assert answer.execution.status == FAILED
    assert answer.execution.status_message == "node block failed: there is no such street"
    assert answer.node_execution.status == NodeExecutionStatus.NODE_EXECUTION_STATUS_FAILED
    assert answer.node_execution.error == "there is no such street"
    assert answer.node_execution.error_reason == NodeErrorReason.NODE_ERROR_REASON_BLOCK_ERROR


async def test_runners_that_all_lack_the_block_are_an_outcome(shared: House) -> None:
    async def give_back(runner: ProtocolRunner, task: Task) -> None:
        reason = NodeErrorReason.NODE_ERROR_REASON_BLOCK_UNAVAILABLE
        end = Finish(outcome=Outcome.OUTCOME_RETURNED, error="no such block here", reason=reason)
        await runner.say(task, 0, [], end)

    async with running(shared.bus, {}) as runner:
        runner._run = lambda task: give_back(runner, task)  # type: ignore[method-assign]
        answer = await run(shared.client(), "Echo")
    assert answer.execution.status == FAILED
    assert answer.node_execution.error_reason == NodeErrorReason.NODE_ERROR_REASON_BLOCK_UNAVAILABLE
    assert "no such block here" in answer.node_execution.error


# What is refused


async def test_a_block_must_be_named(shared: House) -> None:
    client = shared.client()
    expected = ("INVALID_ARGUMENT", "INVALID_REQUEST", ["block_id"])
    assert await refusal(run(client, "")) == expected
    assert await refusal(run(client, "a\0b")) == expected


@pytest.mark.parametrize("data", [b"[1]", b'"text"', b"1", b"null", b"not json", b'{"number": 99999999999999999999}'])
async def test_inputs_that_are_no_object_are_refused(shared: House, data: bytes) -> None:
    found = await refusal(run(shared.client(), "Echo", inputs_json=data))
    assert found == ("INVALID_ARGUMENT", "INPUTS_INVALID", ["inputs_json"])


@pytest.mark.parametrize(
    ("name", "inputs", "fields"),
    [
        ("Count", {}, ["inputs.number"]),
        ("Count", {"number": None}, ["inputs.number"]),
        ("Count", {"number": "seven", "step": [1]}, ["inputs.number", "inputs.step"]),
        ("Count", {"number": 1, "nubmer": 2}, ["inputs.nubmer"]),
        ("Count", {"number": 1, "number_$_0": 2}, ["inputs.number_$_0"]),
        ("Echo", {"text": {"blockyard:blob": {}}}, ["inputs.text"]),
        ("Echo", {"text": [[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]}, ["inputs"]),
        ("Echo", {"text": "x" * (5 << 20)}, ["inputs"]),
    ],
    ids=["missing", "null", "other types", "unknown", "part", "reference", "deep", "large"],
)
async def test_inputs_that_do_not_fit_are_refused_by_pin(
    shared: House, name: str, inputs: dict[str, Any], fields: list[str]
) -> None:
    client = shared.client("bad-inputs")
    code, reason, found = await refusal(run(client, name, inputs=inputs))
    assert (code, reason, sorted(found)) == ("INVALID_ARGUMENT", "INPUTS_INVALID", fields)
    assert await executions(client) == []


async def test_a_secret_that_does_not_fit_is_not_shown(shared: House) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await run(shared.client(), "Echo", inputs={"secret": ["open sesame"]})
    assert "inputs.secret" in str(refused.value.trailing_metadata())
    assert "sesame" not in str(refused.value) + str(refused.value.trailing_metadata())


async def test_who_is_not_signed_in_or_may_only_look_is_refused(shared: House) -> None:
    class Tokened(Client):
        token: str | None = None

        @property
        def metadata(self) -> list[tuple[str, str]]:
            return [("authorization", f"Bearer {self.token}")] if self.token is not None else []

    client = Tokened(shared.client().stub, "anna")
    assert (await refusal(run(client, "Echo")))[:2] == ("UNAUTHENTICATED", "TOKEN_MISSING")
    client.token = "nonsense"
    assert (await refusal(run(client, "Echo")))[:2] == ("UNAUTHENTICATED", "TOKEN_INVALID")
    client.token = identity.user_token(SECRET, "anna", "viewer", 60)
    assert (await refusal(run(client, "Echo")))[:2] == ("PERMISSION_DENIED", "PERMISSION_DENIED")


async def test_an_unknown_block_is_not_found(shared: House) -> None:
    assert await refusal(run(shared.client(), "Gone")) == ("NOT_FOUND", "BLOCK_NOT_FOUND", [])


@pytest.mark.parametrize(
    ("name", "why"), [("Disabled", "it is disabled"), ("Unset", "BLOCK_KEY is not set")], ids=["disabled", "unset"]
)
async def test_a_block_that_is_disabled_is_refused_with_the_reason(shared: House, name: str, why: str) -> None:
    client = shared.client()
    assert await refusal(run(client, name)) == ("FAILED_PRECONDITION", "BLOCK_NOT_RUNNABLE", ["block_id"])
    with pytest.raises(grpc.aio.AioRpcError, match=f"{name} cannot be run: {why}"):
        await run(client, name)


@pytest.mark.parametrize("name", GRAPHS_ALONE)
async def test_a_block_that_is_meant_for_graphs_alone_is_refused(shared: House, name: str) -> None:
    client = shared.client("graphs-alone")
    assert await refusal(run(client, name)) == ("FAILED_PRECONDITION", "BLOCK_NOT_RUNNABLE", ["block_id"])
    with pytest.raises(grpc.aio.AioRpcError, match="it cannot be run on its own"):
        await run(client, name)
    assert await executions(client) == []


async def test_a_block_that_no_runner_has_now_is_unavailable(shared: House) -> None:
    client = shared.client("absent")
    assert await refusal(run(client, "Absent")) == ("UNAVAILABLE", "UNAVAILABLE", [])
    with pytest.raises(grpc.aio.AioRpcError, match="no runner has registered it since yesterday"):
        await run(client, "Absent")
    assert await executions(client) == []


async def test_what_nobody_expected_has_a_reference_and_starts_nothing(shared: House) -> None:
    broken = block("Broken")
    broken.retry.reasons.append("NO_SUCH_REASON")  # a catalogue never lets this through
    shared.catalogue.add_block(broken)
    client = shared.client("unexpected")
    assert await refusal(run(client, "Broken")) == ("INTERNAL", "INTERNAL", [])
    with pytest.raises(grpc.aio.AioRpcError, match=r"under the reference [0-9a-f]{16}"):
        await run(client, "Broken")
    assert await executions(client) == []


# Credentials


async def test_missing_credentials_are_answered_with_what_the_block_needs(shared: House) -> None:
    client = shared.client("without-credentials")
    answer = await run(client, "Private", inputs={"note": "x"})
    assert not answer.HasField("execution")
    assert not answer.HasField("node_execution")
    setup = answer.setup_requirements
    assert (setup.block_id, setup.block_name) == ("Private-id", "Private")
    assert "credentials" in setup.message
    assert "github" in setup.message
    assert not setup.readiness.has_all_credentials
    assert not setup.readiness.ready_to_run
    assert list(setup.readiness.missing_inputs) == ["title"]
    assert list(setup.missing_credentials) == ["credentials"]
    missing = setup.missing_credentials["credentials"]
    assert (list(missing.providers), list(missing.types)) == (["github"], ["api_key", "oauth2"])
    assert list(missing.scopes) == ["repo"]
    assert missing.description == "The account to write with."
    schema = from_struct(setup.input_schema)
    assert set(schema["properties"]) == {"title", "note"}
    assert schema["required"] == ["title"]
    assert list(setup.execution_modes) == [block_run_pb2.EXECUTION_MODE_IMMEDIATE]
    assert await executions(client) == []


async def test_a_block_runs_without_the_credentials_that_it_can_do_without(shared: House) -> None:
    async with running(shared.bus, {"Optional-id": echo}):
        assert outputs(await run(shared.client(), "Optional")) == {"result": [{}]}
        assert outputs(await run(shared.client(), "Optional", inputs={"credentials": None})) == {"result": [{}]}


@pytest.mark.parametrize("secret", ["a key", {"api_key": "a key"}, ["a key"], 7])
async def test_a_secret_in_the_place_of_a_credential_is_refused_and_not_shown(shared: House, secret: Any) -> None:
    inputs = {"credentials": secret, "title": "x"}

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run(shared.client(), "Private", inputs=inputs)

    error = from_rpc_error(caught.value)
    assert (error.reason, [violation.field for violation in error.violations]) == (
        "INPUTS_INVALID",
        ["inputs.credentials"],
    )
    assert "a key" not in str(caught.value)


async def test_without_a_vault_no_credential_can_be_chosen(shared: House) -> None:
    found = await refusal(run(shared.client(), "Private", inputs={"credentials": GIVEN, "title": "x"}))
    assert found == ("FAILED_PRECONDITION", "CREDENTIALS_MISSING", ["credentials.credentials"])


# Secrets


async def test_a_secret_input_reaches_the_block_and_no_event(shared: House) -> None:
    told: list[bytes] = []
    subscription = await shared.bus.subscribe("blockyard.event.>", lambda delivery: told.append(delivery.data))
    seen: list[Any] = []

    def look(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
        seen.append(inputs)
        yield "result", 1

    client = shared.client()
    async with running(shared.bus, {"Echo-id": look}):
        answer = await run(client, "Echo", inputs={"secret": "open sesame", "text": "plain"})
        events = await client.events(answer.execution.id)
        await until(lambda: any(answer.execution.id.encode() in data for data in told), "events are published")
    subscription.unsubscribe()
    assert seen == [{"secret": "open sesame", "text": "plain"}]
    values = {event.node_id: event.value for event in events if event.kind == EventKind.EVENT_KIND_NODE_OUTPUT}
    assert values == {"inputs.secret": b'"***"', "inputs.text": b'"plain"', "block": b"1"}
    assert not any(b"sesame" in data for data in (*told, *(event.SerializeToString() for event in events)))
    assert b"sesame" not in answer.SerializeToString()


# An execution like any other


async def test_the_deadline_passes_and_the_run_goes_on(shared: House) -> None:
    client = shared.client()
    async with running(shared.bus, RUNS) as runner:
        answer = await run(client, "Held", 3.0, request_id="slow")
        assert answer.execution.status == ExecutionStatus.EXECUTION_STATUS_RUNNING
        assert not answer.HasField("node_execution")
        explained = await client.call(
            "ExplainExecution", messages.ExplainExecutionRequest(execution_id=answer.execution.id)
        )
        assert "block: " in explained.summary
        await until(lambda: runner.held, "the block runs")
        await finish(runner, 42)
        again = await run(client, "Held", request_id="slow")
    assert again.execution.id == answer.execution.id
    assert outputs(again) == {"result": [42]}


async def test_a_client_that_goes_away_leaves_its_run(shared: House) -> None:
    client = shared.client("leaver")
    async with running(shared.bus, RUNS) as runner:
        asked = asyncio.create_task(run(client, "Held"))
        await until(lambda: runner.held, "the block runs")
        asked.cancel()
        await asyncio.wait([asked])
        await finish(runner, 1)
        (listed,) = await executions(client)
        await client.events(listed.id)
        assert (await client.get(listed.id)).status == COMPLETED


async def test_the_same_request_id_is_one_run(shared: House) -> None:
    client = shared.client()
    async with running(shared.bus, RUNS):
        first = await run(client, "Echo", inputs={"text": 1}, request_id="one")
        again = await run(client, "Echo", inputs={"text": 1}, request_id="one")
    assert again == first
    reused: Refused = ("ALREADY_EXISTS", "REQUEST_ID_REUSED", [])
    assert await refusal(run(client, "Echo", inputs={"text": 2}, request_id="one")) == reused
    assert await refusal(run(client, "Held", inputs={"text": 1}, request_id="one")) == reused
    start = messages.StartExecutionRequest(graph_id="graph", request_id="one")
    assert await refusal(client.call("StartExecution", start)) == reused


@pytest.mark.parametrize("became", ["gone", "disabled", "private"])
async def test_a_repeat_finds_its_run_whatever_became_of_the_block(shared: House, became: str) -> None:
    client, name = shared.client(), f"Was{became}"
    shared.catalogue.add_block(block(name))
    async with running(shared.bus, {f"{name}-id": echo}):
        first = await run(client, name, request_id=became)
    del shared.catalogue.blocks[f"{name}-id"]
    if became == "disabled":
        shared.catalogue.add_block(block(name, disabled=True))
    elif became == "private":
        shared.catalogue.add_block(block(name, {"credentials": CREDENTIALS}))
    assert await run(client, name, request_id=became) == first


async def test_runs_are_listed_without_a_graph_and_found_by_the_label_of_their_block(shared: House) -> None:
    client = shared.client("lister")
    async with running(shared.bus, RUNS):
        first = await run(client, "Echo")
        second = await run(client, "Count", inputs={"number": 1})
    assert [one.id for one in await executions(client)] == [second.execution.id, first.execution.id]
    found = await executions(client, labels={"block": "Echo-id"})
    assert [(one.id, one.graph_id) for one in found] == [(first.execution.id, "")]
    assert await executions(shared.client("somebody-else")) == []


async def test_a_run_can_be_stopped_and_its_caller_is_told(shared: House) -> None:
    client = shared.client("stopper")
    async with running(shared.bus, RUNS) as runner:
        asked = asyncio.create_task(run(client, "Held"))
        await until(lambda: runner.held, "the block runs")
        (listed,) = await executions(client)
        await client.call("StopExecution", messages.StopExecutionRequest(execution_id=listed.id))
        answer = await asked
    assert answer.execution.status == ExecutionStatus.EXECUTION_STATUS_CANCELLED
    assert answer.node_execution.status == NodeExecutionStatus.NODE_EXECUTION_STATUS_CANCELLED


async def test_a_run_counts_among_the_unfinished_executions_of_its_user(postgres: PostgresServer) -> None:
    async with house(postgres, unended_executions=1) as built:
        fill(built)
        await built.add_replica()
        client = built.client()
        asked = asyncio.create_task(run(client, "Held"))
        (first,) = await until(lambda: executions(client), "the first is accepted")
        assert (await refusal(run(client, "Echo")))[:2] == ("RESOURCE_EXHAUSTED", "TOO_MANY_EXECUTIONS")
        await client.call("StopExecution", messages.StopExecutionRequest(execution_id=first.id))
        await asked


async def test_what_a_run_was_given_is_in_no_plan(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        fill(built)
        await built.add_replica()
        async with running(built.bus, RUNS):
            client = built.client()
            for text in ("first", "second", "third"):
                await run(client, "Echo", inputs={"text": text, "secret": "open sesame"})
        plans = [row["plan"] for row in await rows.fetch("SELECT plan FROM plans")]
        assert len(plans) == 1
        assert not any(word in plans[0] for word in (b"first", b"second", b"third", b"sesame"))


async def test_a_run_survives_the_replica_that_took_it(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        fill(built)
        first = await built.add_replica()
        async with running(built.bus, RUNS) as runner:
            client = built.client()
            asked = asyncio.create_task(run(client, "Held", inputs={"text": "x"}, request_id="survivor"))
            await until(lambda: runner.held, "the block runs")
            (begun,) = await executions(client)
            await first.close()
            built.replicas.remove(first)
            await asyncio.wait([asked])
            assert asked.cancelled() or asked.exception() is not None
            await built.add_replica()
            await finish(runner, "alive")
            again = await run(built.client(), "Held", inputs={"text": "x"}, request_id="survivor")
        assert again.execution.id == begun.id
        assert outputs(again) == {"result": ["alive"]}


async def test_any_replica_runs_a_block_and_tells_of_it(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        fill(built)
        await built.add_replica()
        await built.add_replica()
        shared = "SELECT count(DISTINCT owner) = 2 FROM partitions"
        await until(lambda: rows.fetchval(shared), "both replicas hold partitions")
        subjects: list[str] = []
        await built.bus.subscribe("blockyard.event.>", lambda delivery: subjects.append(delivery.subject))
        async with running(built.bus, RUNS) as runner:
            asked = asyncio.create_task(run(built.client(), "Held"))
            (begun,) = await until(lambda: executions(built.client(replica=1)), "it is accepted")
            watching: list[asyncio.Task[list[Event]]] = [
                asyncio.create_task(built.client(replica=at).events(begun.id)) for at in range(2)
            ]
            await until(lambda: runner.held, "the block runs")
            await finish(runner, 1)
            one, other = await asyncio.gather(*watching)
            assert outputs(await asked) == {"result": [1]}
        assert one == other
        assert one[-1].kind == EventKind.EVENT_KIND_EXECUTION_COMPLETED
        expected = f"blockyard.event.anna.block.{begun.id}"
        await until(lambda: expected in subjects, "its events are in the stream")
        assert set(subjects) == {expected}


async def test_a_run_of_a_block_that_must_not_run_twice_waits_for_a_person(postgres: PostgresServer) -> None:
    async with house(postgres, lease_seconds=30) as built:
        fill(built)
        await built.add_replica()
        client = built.client()
        async with running(built.bus, RUNS) as runner:
            asked = asyncio.create_task(run(client, "Once"))
            await until(lambda: runner.ran, "the block runs")
            (listed,) = await executions(client)
            await ambiguous(client, listed.id)
            decision = {
                "execution_id": listed.id,
                "node_execution": runner.ran[0].node_execution,
                "decision": messages.DECISION_COMPLETE,
            }
            wrong = messages.ResumeNodeRequest(**decision, outputs_json=b'{"no_such_pin": [1]}')
            found = await refusal(client.call("ResumeNode", wrong))
            assert found == ("INVALID_ARGUMENT", "INVALID_REQUEST", ["outputs_json.no_such_pin"])
            right = messages.ResumeNodeRequest(**decision, outputs_json=b'{"result": ["sent"]}')
            await client.call("ResumeNode", right)
            assert outputs(await asked) == {"result": ["sent"]}


async def test_without_the_graph_service_a_client_is_told_to_try_again(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        await built.add_replica(graph_address="127.0.0.1:1")
        assert await refusal(run(built.client(), "Echo")) == ("UNAVAILABLE", "UNAVAILABLE", [])
