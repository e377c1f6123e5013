"""The plan of a run of one block, how its inputs are judged, and what of them is told."""

from typing import Any
from uuid import UUID

import pytest
from blockyard.event.v1.event_pb2 import EventBatch
from blockyard.feeds import FeedPlace
from blockyard.graph.v1.block_pb2 import Block, BlockType, Effect, RetryPolicy
from blockyard.runner.v1.heartbeat_pb2 import Heartbeat
from google.protobuf.duration_pb2 import Duration

from services.common.ids import new_id
from services.common.structs import to_struct
from services.execution import telling
from services.execution.block_plans import RunnableBlock
from services.execution.block_setup import fields_of, setup_of, taken_apart
from services.execution.dispatch import Dispatcher
from services.execution.engine import Machine, State, Topology
from services.execution.engine.facts import Started
from services.execution.engine.plan import NodeKind, decode_plan
from services.execution.feed import event_message, subject
from services.execution.live import Live
from services.execution.planning import Limits
from services.execution.records import FeedEntry
from services.execution.runners import Runners
from tests.unit.execution.test_dispatch import limits

LIMITS = Limits(max_node_executions=100, max_duration_ms=1000, timeout_ms=500)

PINS: dict[str, Any] = {
    "text": {"type": "string"},
    "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "times": {"type": "integer", "default": 1},
    "key": {"type": "string", "secret": True, "default": ""},
}
BLOCK = Block(
    id="b",
    name="WorkBlock",
    type=BlockType.BLOCK_TYPE_STANDARD,
    effect=Effect.EFFECT_ONCE,
    pool="big",
    many_pins=["item"],
    schema_hash="hash",
    retry=RetryPolicy(max_attempts=3),
    timeout=Duration(seconds=7),
    input_schema=to_struct({"type": "object", "properties": PINS, "required": ["text", "limit"]}),
)


def runnable(**inputs: Any) -> RunnableBlock:
    return RunnableBlock(BLOCK, inputs, LIMITS)


def live(block: RunnableBlock, user: str = "anna") -> Live:
    execution_id = new_id()
    machine = Machine(Topology(block.plan), State(1))
    return Live(execution_id.bytes, execution_id, 0, user, "", 0, 0, "", machine)


def test_the_plan_has_the_block_as_it_says_it_runs_and_a_node_for_each_pin_with_a_value() -> None:
    plan = decode_plan(runnable(text="a", limit=7, times=None).plan_bytes)
    work, *sources = plan.nodes
    assert (work.id, work.block_id, work.schema_hash, work.pool, work.kind) == ("block", "b", "hash", "big", 0)
    assert (work.effect, work.many_pins, work.retry.max_attempts, work.timeout_ms) == (3, ("item",), 3, 7000)
    assert [(node.id, node.kind) for node in sources] == [
        ("inputs.limit", NodeKind.INPUT),
        ("inputs.text", NodeKind.INPUT),
    ]
    assert [(link.source, link.sink, link.sink_pin) for link in plan.links] == [(1, 0, "limit"), (2, 0, "text")]
    assert (plan.max_node_executions, plan.max_duration_ms) == (100, 1000)


def test_runs_with_the_same_pins_share_a_plan() -> None:
    first = runnable(text="a", limit=1)
    assert runnable(limit=2, text="b", times=None).plan_hash == first.plan_hash
    assert runnable(limit=2, text="b", times=3).plan_hash != first.plan_hash


def test_none_is_a_value_where_a_required_pin_takes_it() -> None:
    block = runnable(text="a", limit=None)
    assert block.problems({"text": "a", "limit": None}) == []
    assert block.plan.nodes[0].constants == b'{"limit":null}'
    assert [node.id for node in block.plan.nodes] == ["block", "inputs.text"]


@pytest.mark.parametrize(
    ("inputs", "fields"),
    [
        ({}, ["inputs.text", "inputs.limit"]),
        ({"text": None, "limit": 1}, ["inputs.text"]),
        ({"text": 7, "limit": "x", "times": 1.5}, ["inputs.text", "inputs.limit", "inputs.times"]),
        ({"text": "a", "limit": 1, "colour": "red"}, ["inputs.colour"]),
        ({"text": "a", "limit": 1, "times": None}, []),
    ],
)
def test_what_is_wrong_is_named_by_pin(inputs: dict[str, Any], fields: list[str]) -> None:
    assert [problem.field for problem in runnable(**inputs).problems(inputs)] == fields


def test_a_secret_that_does_not_fit_is_not_shown() -> None:
    inputs = {"text": "a", "limit": 1, "key": 1234567}
    (problem,) = runnable(**inputs).problems(inputs)
    assert (problem.field, problem.description) == ("inputs.key", "does not fit the pin")


def test_a_secret_is_told_in_no_event() -> None:
    execution = live(runnable(text="a", limit=1, key="open sesame"))
    facts = Started({"text": b'"a"', "limit": b"1", "key": b'"open sesame"'})
    effects = execution.machine.apply([facts], 0)
    (node,) = effects.queued
    topology = execution.machine.topology
    assert topology.inputs(0, node.values) == b'{"key":"open sesame","limit":1,"text":"a"}'
    events = EventBatch.FromString(telling.event_batch(execution, effects, 0)).events
    told = {event.node_id: event.value for event in events if event.value}
    assert told == {"inputs.key": b'"***"', "inputs.limit": b"1", "inputs.text": b'"a"'}


def test_a_limit_of_graphs_is_none_of_single_runs() -> None:
    runners = Runners(silence=7.0)
    runners.hear(Heartbeat(runner_id="one", pool="big", slots=50), 0.0)
    dispatcher = Dispatcher(limits(graph=1), runners, "me")
    for user in ("anna", "anna", "bert"):
        execution = live(runnable(text="a", limit=1), user)
        effects = execution.machine.apply([Started({"text": b'"a"', "limit": b"1"})], 0)
        dispatcher.queue(execution, effects.queued[0].number, 1)
    assert sum(len(message.sent) for message in dispatcher.take(0.0)) == 3


def test_events_of_single_runs_have_a_subject_that_nats_takes() -> None:
    assert subject("anna", "", "one") == "blockyard.event.anna.block.one"
    batch = EventBatch(execution_id="one", user_id="anna")
    batch.events.add(sequence=1)
    entry = FeedEntry(1, UUID(int=1), batch.SerializeToString(), 1, 1)
    message = event_message(batch, entry, "EXECUTION_STARTED", FeedPlace(0, 0, 1))
    assert message.headers is not None
    assert message.headers["ce-source"] == "/executions/one"


CREDENTIALS = {"type": "object", "credentials_provider": ["github"], "credentials_types": ["api_key"]}


def block_with_credentials(*required: str) -> Block:
    pins = {"credentials": CREDENTIALS, "mail_credentials": CREDENTIALS, "text": {"type": "string"}}
    schema = {"type": "object", "properties": pins, "required": list(required)}
    return Block(id="b", name="WorkBlock", input_schema=to_struct(schema))


def test_a_setup_names_the_credentials_that_are_lacking_and_the_inputs_beside_them() -> None:
    block = block_with_credentials("credentials", "text")

    setup = setup_of(block, {"credentials"}, ["text"])

    assert list(setup.missing) == ["credentials"]
    assert setup.missing["credentials"].scopes == ()
    assert setup.missing_inputs == ("text",)
    assert setup.input_schema == {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    assert setup.message == "WorkBlock needs credentials that were not given: credentials (github: api_key)."


def test_several_credentials_are_all_named() -> None:
    block = block_with_credentials("credentials", "mail_credentials")

    setup = setup_of(block, {"credentials", "mail_credentials"}, [])

    assert list(setup.missing) == ["credentials", "mail_credentials"]
    assert "mail_credentials (github: api_key)" in setup.message


def test_a_reference_among_the_inputs_chooses_a_credential_and_is_no_input() -> None:
    block = block_with_credentials("credentials", "text")
    reference = {"id": "c1", "provider": "github", "type": "api_key"}

    inputs, chosen = taken_apart(block, {"credentials": reference, "text": "hello"})

    assert inputs == {"text": "hello"}
    assert chosen == {"credentials": "c1"}


def test_what_is_no_reference_stays_among_the_inputs_to_be_refused() -> None:
    inputs, chosen = taken_apart(block_with_credentials("credentials"), {"credentials": {"api_key": "k"}})

    assert inputs == {"credentials": {"api_key": "k"}}
    assert chosen == {}


def test_pins_that_want_credentials_are_fields_of_their_names() -> None:
    first, second = fields_of(block_with_credentials("credentials"), {})

    assert (first.name, first.required, list(first.providers), list(first.types)) == (
        "credentials",
        True,
        ["github"],
        ["api_key"],
    )
    assert (second.name, second.required) == ("mail_credentials", False)


def test_an_input_may_decide_the_provider_and_the_host() -> None:
    by_model = {
        "credentials_provider": ["openai", "anthropic"],
        "credentials_types": ["api_key"],
        "credentials_discriminator": "model",
        "credentials_discriminator_mapping": {"gpt": "openai", "claude": "anthropic"},
    }
    by_host = {
        "credentials_provider": ["http"],
        "credentials_types": ["host_scoped"],
        "credentials_discriminator": "url",
    }
    schema = {"type": "object", "properties": {"credentials": by_model, "web_credentials": by_host}}
    block = Block(id="b", name="WorkBlock", input_schema=to_struct(schema))

    decided = fields_of(block, {"model": "claude", "url": "https://api.example.com/x"})
    open_yet = fields_of(block, {})

    assert [list(field.providers) for field in decided] == [["anthropic"], ["http"]]
    assert [field.url for field in decided] == ["", "https://api.example.com/x"]
    assert list(open_yet[0].providers) == ["openai", "anthropic"]
