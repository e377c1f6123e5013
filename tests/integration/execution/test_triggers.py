"""Triggers over gRPC and PostgreSQL: what owners store, and what becomes of what is posted."""

import asyncio
import json
import time
import uuid
from typing import Any

import asyncpg
import grpc
import pytest
from blockyard.dev.postgres import PostgresServer
from blockyard.execution.v1 import trigger_service_pb2 as messages
from blockyard.execution.v1.start_template_pb2 import StartTemplate
from blockyard.execution.v1.trigger_pb2 import TRIGGER_KIND_GENERIC, TRIGGER_KIND_GITHUB, PayloadCondition, Trigger
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Value
from pydantic import SecretStr
from structlog.testing import capture_logs

from services.common import migrate
from tests.integration.execution.hooks import Hook, Hooks, outcome, trigger
from tests.integration.execution.house import House, house
from tests.integration.execution.test_bad_input import Refused, refusal
from tests.integration.execution.test_presets import keep
from tests.integration.execution.vault import MemoryVault, serving
from tests.overlapping import let_overlap
from tests.stack.postgres import fresh_database
from tests.waiting import until

ONE, OTHER = str(uuid.UUID(int=6)), str(uuid.UUID(int=7))
NOT_AUTHENTIC: Refused = ("UNAUTHENTICATED", "WEBHOOK_NOT_AUTHENTIC", [])


def listening(built: House, graph_id: str = "graph", user_id: str = "anna") -> None:
    """A graph that a webhook begins."""
    graph = built.graph(graph_id, user_id)
    graph.input("payload", {"type": "object"}, required=True)
    graph.input("note", {"type": "string"})
    graph.node("one", "work")
    graph.link("payload.result", "one.a")
    built.catalogue.add(graph)


@pytest.fixture(scope="module")
def built(runner: asyncio.Runner, postgres: PostgresServer) -> Any:
    context = house(postgres, trigger_payload_bytes=10_000, trigger_deliveries=5)
    opened = runner.run(context.__aenter__())
    runner.run(opened.add_replica())
    listening(opened)
    yield opened
    runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def hooks(built: House) -> Hooks:
    return Hooks.of(built)


async def inputs_of(built: House, execution_id: str) -> Any:
    return json.loads((await built.client().get(execution_id)).inputs_json)


async def test_a_delivery_starts_what_the_trigger_says(built: House, hooks: Hooks) -> None:
    start = StartTemplate(graph_id="graph", inputs_json=b'{"note": "constant"}', labels={"team": "a"}, priority=7)
    hook = await hooks.create(name="mine", start=start)
    assert len(hook.trigger.id) == 32
    assert hook.trigger.path == f"/api/hooks/{hook.trigger.id}"

    answer = await hook.deliver({"type": "made", "id": 2**53 + 1})
    assert outcome(answer) == "STARTED"
    execution = await built.client().get(answer.execution_id)
    assert json.loads(execution.inputs_json) == {
        "note": "constant",
        "payload": {"type": "made", "id": 2**53 + 1},
    }
    assert (dict(execution.labels), execution.priority) == ({"team": "a", "trigger": hook.trigger.id}, 7)
    [delivery] = await hook.listed()
    assert (delivery.delivery_id, delivery.event, outcome(delivery)) == ("msg", "made", "STARTED")
    assert (delivery.execution_id, delivery.receipts) == (answer.execution_id, 1)


async def test_the_secret_itself_will_do_and_deliveries_without_an_id_are_all_new(hooks: Hooks) -> None:
    hook = await hooks.create()
    bearer = {"authorization": f"Bearer {hook.secret.get_secret_value()}"}
    first, second = [await hook.post(b"{}", bearer) for _ in range(2)]
    assert (outcome(first), outcome(second)) == ("STARTED", "STARTED")
    assert first.execution_id != second.execution_id
    keyed = [await hook.post(b"{}", {**bearer, "idempotency-key": "k" * 300}) for _ in range(2)]
    assert [outcome(one) for one in keyed] == ["STARTED", "DUPLICATE"]
    assert keyed[0].execution_id == keyed[1].execution_id


async def test_who_does_not_know_the_secret_is_told_nothing(built: House, hooks: Hooks) -> None:
    hook, other = await hooks.create(), await hooks.create()
    body, now = b'{"a": 1}', int(time.time())
    right = hook.signed(body, "msg", now)
    for headers in (
        {},
        other.signed(body, "msg", now),
        {**right, "webhook-id": "other"},
        hook.signed(body, "msg", now - 301),
        hook.signed(body, "msg", now + 400),
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic YTpi"},
        hook.of_github("push", body),
    ):
        assert await refusal(hook.post(body, headers)) == NOT_AUTHENTIC
    assert await refusal(hook.post(b"no JSON", {})) == NOT_AUTHENTIC
    [*refused] = await hook.listed()
    assert {(outcome(one), one.delivery_id, one.event) for one in refused} == {("REFUSED", "", "")}
    assert len(refused) <= 6
    assert outcome(await hook.post(body, right)) == "STARTED"
    # What was refused pushes out nothing that was not.
    assert len(await hook.listed()) == len(refused) + 1

    nowhere = Hook(hooks, Trigger(id="0" * 32), hook.secret)
    assert await refusal(nowhere.post(body, right)) == ("NOT_FOUND", "TRIGGER_NOT_FOUND", [])
    nowhere.trigger.id = "no id"
    assert await refusal(nowhere.post(body, right)) == ("NOT_FOUND", "TRIGGER_NOT_FOUND", [])


async def test_a_replayed_delivery_starts_nothing_again(hooks: Hooks) -> None:
    hook = await hooks.create()
    first = await hook.deliver({"n": 1})
    again = await hook.deliver({"n": 1})
    assert (outcome(again), again.execution_id) == ("DUPLICATE", first.execution_id)
    [delivery] = await hook.listed()
    assert (outcome(delivery), delivery.receipts) == ("STARTED", 2)


async def test_a_hundred_deliveries_of_one_id_at_once_are_one_execution(built: House, hooks: Hooks) -> None:
    hook = await hooks.create()
    answers = await asyncio.gather(*(hook.deliver({"n": number}, "one") for number in range(100)))
    assert len({one.execution_id for one in answers}) == 1
    assert sorted(outcome(one) for one in answers) == ["DUPLICATE"] * 99 + ["STARTED"]
    assert await count(built, hook) == 1
    assert [one.receipts for one in await hook.listed()] == [100]


async def count(built: House, hook: Hook) -> int:
    """Executions that a trigger has started."""
    connection = await asyncpg.connect(built.database_url)
    try:
        number: int = await connection.fetchval(
            "SELECT count(*) FROM execution.executions WHERE labels ->> 'trigger' = $1", hook.trigger.id
        )
    finally:
        await connection.close()
    return number


async def test_no_start_of_a_user_takes_the_place_of_a_delivery(built: House, hooks: Hooks) -> None:
    hook = await hooks.create()
    connection = await asyncpg.connect(built.database_url)
    try:
        await hook.deliver({})
        taken = await connection.fetchval(
            "SELECT request_id FROM execution.executions WHERE labels ->> 'trigger' = $1", hook.trigger.id
        )
    finally:
        await connection.close()
    forged = built.client().start(inputs={"payload": {}}, request_id=taken)
    assert await refusal(forged) == ("INVALID_ARGUMENT", "INVALID_REQUEST", ["request_id"])


async def test_what_is_posted_must_be_a_json_object_of_some_size(hooks: Hooks) -> None:
    hook = await hooks.create()
    bearer = {"authorization": f"Bearer {hook.secret.get_secret_value()}"}
    for body in (b"", b"[]", b"{", b'{"a": ' + b"[" * 80 + b"]" * 80 + b"}"):
        assert await refusal(hook.post(body, bearer)) == ("INVALID_ARGUMENT", "WEBHOOK_INVALID", [])
    # Too large is told to anybody, since nothing is looked at.
    assert await refusal(hook.post(b" " * 10_001, {})) == ("INVALID_ARGUMENT", "WEBHOOK_INVALID", [])
    code, _, _ = await refusal(hook.post(b" " * (50 << 20), bearer))
    assert code == "RESOURCE_EXHAUSTED"
    # Deeper than inputs may be: the owner reads it in the list.
    deep = b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}"
    assert (await refusal(hook.post(deep, bearer)))[1] == "TRIGGER_START_FAILED"
    assert outcome(await hook.post(b"{}", bearer)) == "STARTED"


async def test_github_is_answered_as_it_expects(built: House, hooks: Hooks) -> None:
    hook = await hooks.create("github", events=["push", "pull_request.opened"])
    assert outcome(await hook.deliver_as_github("ping", {"zen": "Keep it logically awesome."})) == "PING"
    assert outcome(await hook.deliver_as_github("issues", {"action": "opened"}, "a")) == "FILTERED"
    assert outcome(await hook.deliver_as_github("pull_request", {"action": "closed"}, "b")) == "FILTERED"
    opened = await hook.deliver_as_github("pull_request", {"action": "opened"}, "c")
    pushed = await hook.deliver_as_github("push", {"ref": "refs/heads/main"}, "d")
    assert (outcome(opened), outcome(pushed)) == ("STARTED", "STARTED")
    assert await inputs_of(built, pushed.execution_id) == {"payload": {"ref": "refs/heads/main"}}
    assert outcome(await hook.deliver_as_github("push", {"ref": "refs/heads/main"}, "d")) == "DUPLICATE"
    form = b"payload=%7B%22ref%22%3A1%7D"
    sent = await hook.post(form, hook.of_github("push", form, "e"), "application/x-www-form-urlencoded")
    assert await inputs_of(built, sent.execution_id) == {"payload": {"ref": 1}}
    tampered = hook.of_github("push", form)
    assert await refusal(hook.post(form + b" ", tampered)) == NOT_AUTHENTIC
    assert (
        await refusal(hook.post(b"{}", {"authorization": f"Bearer {hook.secret.get_secret_value()}"})) == NOT_AUTHENTIC
    )
    # The latest five alone are kept, and one.
    assert [one.delivery_id for one in await hook.listed()][:5] == ["", "", "e", "d", "c"]
    assert len([one for one in await hook.listed() if outcome(one) != "REFUSED"]) <= 6


async def test_conditions_filter_too(hooks: Hooks) -> None:
    condition = PayloadCondition(path="data.0.state", equals=Value(string_value="open\0"))
    hook = await hooks.create(conditions=[condition])
    assert list(hook.trigger.conditions) == [condition]
    assert outcome(await hook.deliver({"data": [{"state": "closed"}]}, "a")) == "FILTERED"
    assert outcome(await hook.deliver({"data": [{"state": "open\0"}]}, "b")) == "STARTED"


async def test_a_disabled_trigger_takes_nothing_and_says_so_to_those_who_know_it(hooks: Hooks) -> None:
    hook = await hooks.create(disabled=True)
    assert await refusal(hook.deliver({})) == ("FAILED_PRECONDITION", "TRIGGER_DISABLED", [])
    assert await refusal(hook.post(b"{}", {})) == NOT_AUTHENTIC
    change = messages.UpdateTriggerRequest(
        trigger=Trigger(id=hook.trigger.id), update_mask=FieldMask(paths=["disabled"])
    )
    assert (await hooks.call("UpdateTrigger", change)).trigger.disabled is False
    assert outcome(await hook.deliver({})) == "STARTED"
    [delivery] = [one for one in await hook.listed() if one.delivery_id]
    assert (outcome(delivery), delivery.reason, delivery.receipts) == ("STARTED", "", 2)


async def test_a_start_that_is_refused_is_told_to_the_owner_alone(built: House, hooks: Hooks) -> None:
    listening(built, "other")
    hook = await hooks.create(start=StartTemplate(graph_id="other"))
    first = await hook.deliver({}, "before")
    del built.catalogue.graphs["other"]
    assert await refusal(hook.deliver({}, "after")) == ("FAILED_PRECONDITION", "TRIGGER_START_FAILED", [])
    # What was started before stays that, whatever became of the graph.
    again = await hook.deliver({}, "before")
    assert (outcome(again), again.execution_id) == ("DUPLICATE", first.execution_id)
    failed = next(one for one in await hook.listed() if one.delivery_id == "after")
    assert (outcome(failed), failed.reason) == ("FAILED", "There is no graph other.")

    listening(built, "other")
    built.catalogue.away.add("other")
    code, _, _ = await refusal(hook.deliver({}, "later"))
    assert code == "UNAVAILABLE"
    built.catalogue.away.clear()
    assert outcome(await hook.deliver({}, "later")) == "STARTED"


async def test_a_start_is_refused_with_its_reason_whatever_that_quotes(built: House, hooks: Hooks) -> None:
    graph = built.graph("strings")
    graph.input("payload", {"type": "object", "additionalProperties": {"type": "string"}})
    built.catalogue.add(graph)
    hook = await hooks.create(start=StartTemplate(graph_id="strings"))
    assert (await refusal(hook.deliver({"a\0b": 7})))[1] == "TRIGGER_START_FAILED"
    [failed] = await hook.listed()
    assert (outcome(failed), "inputs.payload" in failed.reason) == ("FAILED", True)


async def test_a_new_secret_leaves_the_one_before_valid_for_its_time(hooks: Hooks) -> None:
    hook = await hooks.create()
    request = messages.RotateTriggerSecretRequest(trigger_id=hook.trigger.id, keep_previous=Duration(seconds=3600))
    answer = await hooks.call("RotateTriggerSecret", request)
    rotated = Hook(hooks, answer.trigger, type(hook.secret)(answer.secret))
    assert rotated.secret != hook.secret
    assert (answer.trigger.secret_generation, answer.trigger.HasField("previous_secret_expire_time")) == (2, True)
    assert outcome(await hook.deliver({}, "old")) == "STARTED"
    assert outcome(await rotated.deliver({}, "new")) == "STARTED"

    request.keep_previous.Clear()
    answer = await hooks.call("RotateTriggerSecret", request)
    assert not answer.trigger.HasField("previous_secret_expire_time")
    for old in (hook, rotated):
        assert await refusal(old.deliver({}, "old")) == NOT_AUTHENTIC
    for seconds in (-1, 31 * 24 * 3600):
        request.keep_previous.seconds = seconds
        assert (await refusal(hooks.call("RotateTriggerSecret", request)))[2] == ["keep_previous"]


async def test_what_is_wrong_with_a_trigger_is_named(built: House, hooks: Hooks) -> None:
    graph = built.graph("deaf")
    graph.input("note", {"type": "string"})
    built.catalogue.add(graph)

    async def fields(written: Trigger) -> list[str]:
        return (await refusal(hooks.call("CreateTrigger", messages.CreateTriggerRequest(trigger=written))))[2]

    assert await fields(Trigger(start=StartTemplate(graph_id="graph"))) == ["trigger.kind"]
    assert await fields(Trigger(kind=TRIGGER_KIND_GENERIC)) == ["trigger.start"]
    assert await fields(trigger(start=StartTemplate(graph_id="deaf"))) == ["trigger.start.inputs.payload"]
    given = StartTemplate(graph_id="graph", inputs_json=b'{"payload": {}}')
    assert await fields(trigger(start=given)) == ["trigger.start.inputs.payload"]
    bad = StartTemplate(graph_id="graph", inputs_json=b'{"note": 1, "other": 2}')
    assert await fields(trigger(start=bad)) == ["trigger.start.inputs.other", "trigger.start.inputs.note"]
    conditions = [PayloadCondition(path="a..b"), PayloadCondition(path="a", equals=Value(string_value="x" * 2_000))]
    assert await fields(trigger(events=[""], conditions=conditions, name="x" * 201)) == [
        "trigger.name",
        "trigger.events[0]",
        "trigger.conditions[0].path",
        "trigger.conditions[0].equals",
        "trigger.conditions[1]",
    ]
    assert (await refusal(hooks.create(start=StartTemplate(graph_id="none"))))[1] == "GRAPH_NOT_FOUND"


async def test_triggers_are_stored_changed_listed_and_deleted(built: House) -> None:
    dora, bert = Hooks.of(built, user_id="anna"), Hooks.of(built, user_id="bert")
    older = await dora.create(name="older")
    first = await dora.create("generic", "once", name="first")
    again = await dora.create("generic", "once", name="first")
    assert (again.trigger, again.secret) == (first.trigger, first.secret)
    reused = dora.create("generic", "once", name="other")
    assert (await refusal(reused))[1] == "REQUEST_ID_REUSED"

    page = await dora.call("ListTriggers", messages.ListTriggersRequest(page_size=1))
    assert [one.id for one in page.triggers] == [first.trigger.id]
    rest = await dora.call("ListTriggers", messages.ListTriggersRequest(page_token=page.next_page_token))
    assert rest.triggers[0].id == older.trigger.id

    bad = Trigger(id=first.trigger.id, start=StartTemplate(graph_id="graph", inputs_json=b'{"note": 1}'))
    change = messages.UpdateTriggerRequest(trigger=bad, update_mask=FieldMask(paths=["start"]))
    assert (await refusal(dora.call("UpdateTrigger", change)))[2] == ["trigger.start.inputs.note"]
    change.update_mask.paths[:] = ["kind"]
    assert (await refusal(dora.call("UpdateTrigger", change)))[2] == ["update_mask"]
    other = Trigger(id=first.trigger.id, kind=TRIGGER_KIND_GITHUB)
    assert (await refusal(dora.call("UpdateTrigger", messages.UpdateTriggerRequest(trigger=other))))[2] == [
        "trigger.kind"
    ]
    idle = messages.UpdateTriggerRequest(trigger=Trigger(id=first.trigger.id, kind=TRIGGER_KIND_GENERIC))
    assert (await dora.call("UpdateTrigger", idle)).trigger.update_time == first.trigger.update_time
    same = Trigger(id=first.trigger.id, name="first", kind=TRIGGER_KIND_GENERIC)
    await dora.call("UpdateTrigger", messages.UpdateTriggerRequest(trigger=same))
    change.trigger.start.inputs_json = b'{"note": "new"}'
    change.update_mask.paths[:] = ["start"]
    changed = (await dora.call("UpdateTrigger", change)).trigger
    assert (changed.name, changed.start.inputs_json) == ("first", b'{"note":"new"}')

    key = first.trigger.id
    for request in (
        messages.GetTriggerRequest(trigger_id=key),
        messages.DeleteTriggerRequest(trigger_id=key),
        messages.RotateTriggerSecretRequest(trigger_id=key),
        messages.ListTriggerDeliveriesRequest(trigger_id=key),
        change,
    ):
        method = type(request).__name__.removesuffix("Request")
        assert (await refusal(bert.call(method, request)))[1] == "TRIGGER_NOT_FOUND"
    await dora.call("DeleteTrigger", messages.DeleteTriggerRequest(trigger_id=key))
    assert (await refusal(first.deliver({})))[1] == "TRIGGER_NOT_FOUND"


async def test_a_trigger_starts_with_a_preset_as_it_is_then(built: House, hooks: Hooks) -> None:
    keep(built, note="first")
    hook = await hooks.create(start=StartTemplate(preset_id="preset"))
    keep(built, note="second")
    answer = await hook.deliver({"n": 1})
    assert await inputs_of(built, answer.execution_id) == {"payload": {"n": 1}, "note": "second"}
    keep(built, note=7)
    assert (await refusal(hook.deliver({}, "next")))[1] == "TRIGGER_START_FAILED"
    failed = next(one for one in await hook.listed() if outcome(one) == "FAILED")
    assert "inputs.note" in failed.reason
    assert "(the preset gives it)" in failed.reason


async def test_triggers_are_listed_by_graph_and_deliveries_by_page(built: House) -> None:
    listening(built, ONE, "erin")
    listening(built, OTHER, "erin")
    erin = Hooks.of(built, user_id="erin")
    first = await erin.create(name="first", start=StartTemplate(graph_id=ONE))
    second = await erin.create(name="second", start=StartTemplate(graph_id=OTHER))

    async def of_graph(graph_id: str) -> list[str]:
        request = messages.ListTriggersRequest(graph_id=graph_id)
        return [one.name for one in (await erin.call("ListTriggers", request)).triggers]

    assert [await of_graph(one) for one in (OTHER, ONE, "")] == [["second"], ["first"], ["second", "first"]]
    moved = Trigger(id=first.trigger.id, start=StartTemplate(graph_id=OTHER))
    await erin.call("UpdateTrigger", messages.UpdateTriggerRequest(trigger=moved))
    renamed = Trigger(id=second.trigger.id, name="renamed")
    await erin.call("UpdateTrigger", messages.UpdateTriggerRequest(trigger=renamed))
    assert await of_graph(OTHER) == ["renamed", "first"]

    for message_id in ("a", "b", "c"):
        await second.deliver({}, message_id)
    request = messages.ListTriggerDeliveriesRequest(trigger_id=second.trigger.id, page_size=2)
    page = await erin.call("ListTriggerDeliveries", request)
    request.page_token = page.next_page_token
    rest = await erin.call("ListTriggerDeliveries", request)
    assert [one.delivery_id for one in [*page.deliveries, *rest.deliveries]] == ["c", "b", "a"]
    assert rest.next_page_token == ""
    request.trigger_id = first.trigger.id
    assert (await refusal(erin.call("ListTriggerDeliveries", request)))[2] == ["page_token"]


async def test_a_trigger_whose_graph_was_never_noted_is_listed_by_it_once_it_was_changed(
    built: House, hooks: Hooks
) -> None:
    keep(built, "early", note="first")
    made = (await hooks.create(start=StartTemplate(preset_id="early"))).trigger
    connection = await asyncpg.connect(built.database_url)

    async def is_listed_once_renamed(name: str) -> bool:
        await connection.execute("UPDATE execution.triggers SET graph_id = '' WHERE trigger_id = $1", made.id)
        change = messages.UpdateTriggerRequest(trigger=Trigger(id=made.id, name=name))
        assert (await hooks.call("UpdateTrigger", change)).trigger.name == name
        request = messages.ListTriggersRequest(graph_id="graph")
        return made.id in [one.id for one in (await hooks.call("ListTriggers", request)).triggers]

    try:
        assert await is_listed_once_renamed("second")
        # Which graph it is cannot be told, or not now: it is renamed all the same.
        keep(built, "early", note=7)
        assert not await is_listed_once_renamed("third")
        keep(built, "early", note="first")
        built.catalogue.away.add("")
        assert not await is_listed_once_renamed("fourth")
    finally:
        built.catalogue.away.clear()
        await connection.close()


async def test_a_trigger_is_taken_as_fast_as_it_may_and_has_a_limit(postgres: PostgresServer) -> None:
    async with house(
        postgres, trigger_rate="1/hour burst 2", user_triggers=1, trigger_keys=f"{'new' * 11}, {'old' * 11}"
    ) as built:
        await built.add_replica()
        listening(built)
        hooks = Hooks.of(built)
        hook = await hooks.create()
        assert await refusal(hooks.create()) == ("RESOURCE_EXHAUSTED", "LIMIT_REACHED", [])
        for message_id in ("a", "b"):
            assert outcome(await hook.deliver({}, message_id)) == "STARTED"
        # Whoever has no secret does not use it up, and is not told of it.
        assert await refusal(hook.post(b"{}", {})) == NOT_AUTHENTIC
        assert (await refusal(hook.deliver({}, "c")))[:2] == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")

        # The key of its secret is gone.
        await built.add_replica(trigger_keys="other" * 7)
        shown = await Hooks.of(built, 1).call("GetTrigger", messages.GetTriggerRequest(trigger_id=hook.trigger.id))
        assert shown.trigger.secret_lost
        keyless = Hook(Hooks.of(built, 1), hook.trigger, hook.secret)
        with capture_logs() as logs:
            for number in range(30):
                assert await refusal(keyless.deliver({}, f"d{number}")) == NOT_AUTHENTIC
        # Anybody who knows the address can have as many refused.
        assert 0 < len([one for one in logs if one["log_level"] == "error"]) < 20


async def test_a_limit_holds_for_triggers_that_are_made_at_once(postgres: PostgresServer) -> None:
    async with house(postgres, user_triggers=3) as built:
        await built.add_replica()
        listening(built)
        hooks = Hooks.of(built)
        await let_overlap(built.database_url, "execution.triggers")
        results = await asyncio.gather(*(hooks.create() for _ in range(8)), return_exceptions=True)
        codes = [result.code() for result in results if isinstance(result, grpc.aio.AioRpcError)]
        assert codes == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 5


async def test_a_service_that_dies_between_start_and_answer_is_asked_again_and_starts_nothing_more(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built:
        await built.add_replica()
        await built.add_replica()
        listening(built)
        hook = await Hooks.of(built).create()
        connection = await asyncpg.connect(built.database_url)
        try:
            async with connection.transaction():
                # The note of the delivery waits, after the start and before the answer.
                await connection.execute("LOCK TABLE execution.trigger_deliveries IN ACCESS EXCLUSIVE MODE")
                lost = asyncio.ensure_future(hook.deliver({"n": 1}, "msg"))
                await until(lambda: count(built, hook), "the start")
                assert not lost.done()
                await built.replicas[0].resources.aclose()
            assert (await refusal(lost))[0] in ("UNAVAILABLE", "CANCELLED")
        finally:
            await connection.close()
        again = await Hook(Hooks.of(built, 1), hook.trigger, hook.secret).deliver({"n": 1}, "msg")
        assert outcome(again) == "DUPLICATE"
        assert await count(built, hook) == 1
        await built.replicas.pop(0).channel.close()


async def test_a_delivery_whose_start_is_durable_is_answered_so_though_it_cannot_be_noted(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built:
        await built.add_replica()
        listening(built)
        hook = await Hooks.of(built).create()
        connection = await asyncpg.connect(built.database_url)
        try:
            await connection.execute("ALTER TABLE execution.trigger_deliveries RENAME TO elsewhere")
        finally:
            await connection.close()
        # Without an id: sent again, it would start another one.
        bearer = {"authorization": f"Bearer {hook.secret.get_secret_value()}"}
        answer = await hook.post(b"{}", bearer)
        assert (outcome(answer), await count(built, hook)) == ("STARTED", 1)


async def test_a_sender_that_draws_the_secret_itself_is_known_by_a_credential(postgres: PostgresServer) -> None:
    vault = MemoryVault()
    drawn, githubs = str(uuid.uuid4()), str(uuid.uuid4())
    vault.secrets = {drawn: "whsec_" + "c2VjcmV0" * 4, githubs: "whsec_of github"}
    async with serving(vault) as address, house(postgres, credentials_address=address) as built:
        await built.add_replica()
        listening(built)
        hooks = Hooks.of(built)
        made = await hooks.create(secret_credential_id=drawn.upper())
        assert (made.trigger.secret_credential_id, made.secret.get_secret_value()) == (drawn, "")
        hook = Hook(hooks, made.trigger, SecretStr(vault.secrets[drawn]))
        assert outcome(await hook.deliver({}, "a")) == "STARTED"
        bearer = {"authorization": f"Bearer {vault.secrets[drawn]}"}
        assert outcome(await hook.post(b"{}", bearer)) == "STARTED"
        assert await refusal(hook.deliver({}, "b", int(time.time()) - 400)) == NOT_AUTHENTIC
        assert await refusal(Hook(hooks, made.trigger, SecretStr("other")).deliver({}, "c")) == NOT_AUTHENTIC
        of_github = await hooks.create("github", secret_credential_id=githubs)
        sender = Hook(hooks, of_github.trigger, SecretStr(vault.secrets[githubs]))
        assert outcome(await sender.deliver_as_github("push", {})) == "STARTED"

        rotation = messages.RotateTriggerSecretRequest(trigger_id=made.trigger.id)
        assert (await refusal(hooks.call("RotateTriggerSecret", rotation)))[2] == ["trigger_id"]
        assert (await refusal(hooks.create(secret_credential_id="none")))[2] == ["trigger.secret_credential_id"]
        vault.away = True
        assert (await refusal(hook.deliver({}, "d")))[0] == "UNAVAILABLE"
        vault.away = False
        del vault.secrets[drawn]
        assert await refusal(hook.deliver({}, "e")) == NOT_AUTHENTIC
        assert "there is no such credential" in (await hook.listed())[0].reason

        change = messages.UpdateTriggerRequest(
            trigger=Trigger(id=made.trigger.id), update_mask=FieldMask(paths=["secret_credential_id"])
        )
        assert (await hooks.call("UpdateTrigger", change)).trigger.secret_credential_id == ""
        fresh = await hooks.call("RotateTriggerSecret", rotation)
        assert outcome(await Hook(hooks, made.trigger, SecretStr(fresh.secret)).deliver({}, "f")) == "STARTED"


async def test_the_migration_finds_the_graphs_of_triggers_that_are_there(postgres: PostgresServer) -> None:
    with fresh_database(postgres.url) as url:
        await asyncio.to_thread(migrate.migrate, url, ["execution"], {"execution": None})
        rows = await asyncpg.connect(url, server_settings={"search_path": "execution"})
        await rows.execute("ALTER TABLE triggers DROP COLUMN graph_id")
        await rows.execute("ALTER TABLE partitions DROP COLUMN unsent")
        await rows.execute("UPDATE alembic_version SET version_num = '0007'")
        await rows.execute("DELETE FROM migration_history WHERE revision > '0007'")
        insert = """
            INSERT INTO triggers (trigger_id, user_id, kind, name, template, events, conditions, disabled, key_id)
            VALUES ($1, 'anna', 1, '', $2, '{}', '[]', false, '')
        """
        await rows.execute(insert, "a", StartTemplate(graph_id=ONE, preset_id=OTHER).SerializeToString())
        await rows.execute(insert, "b", StartTemplate(preset_id=OTHER).SerializeToString())

        await asyncio.to_thread(migrate.migrate, url, ["execution"], {"execution": None})

        found = await rows.fetch("SELECT trigger_id, graph_id FROM triggers ORDER BY trigger_id")
        assert [tuple(row) for row in found] == [("a", ONE), ("b", "")]
        await rows.close()
