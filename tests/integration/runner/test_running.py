"""What a runner says of the runs of tasks that go as they should, or fail."""

import uuid
from typing import Any

import psutil
import pytest
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.graph.v1.block_pb2 import EFFECT_ONCE
from blockyard.runner.v1.result_pb2 import Outcome

from tests.integration.runner.house import WORKER, House
from tests.waiting import until


async def test_a_pure_block_answers_with_its_outputs_and_its_end_in_one_item(shared_house: House) -> None:
    owner = shared_house.owner

    ended = await owner.run(shared_house.block("EchoBlock"), value={"a": [1, 2.5, None]})

    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_COMPLETED
    assert ended.values == {("value", 0): {"a": [1, 2.5, None]}}
    results = [result for result in owner.batches[-1].results if result.run_id == ended.run_id]
    assert len(results) == 1
    assert results[0].started_ms > 0


async def test_tasks_of_one_message_are_answered_together(shared_house: House) -> None:
    owner, block = shared_house.owner, shared_house.block("EchoBlock")
    tasks = [owner.task(block, value=number) for number in range(16)]
    before = len(owner.batches)

    await owner.send(*tasks, together=True)
    ended = [await owner.end_of(task) for task in tasks]

    assert [run.on("value") for run in ended] == [[number] for number in range(16)]
    assert len(owner.batches) - before <= 3


async def test_a_pure_block_that_suspends_is_run_as_a_task(shared_house: House) -> None:
    block = shared_house.block("SleepyEchoBlock")

    first = await shared_house.owner.run(block, value=1)
    second = await shared_house.owner.run(block, value=2)

    assert (first.on("value"), second.on("value")) == ([1], [2])


@pytest.mark.parametrize("count", [0, 1_000, 60_000])
async def test_all_items_of_a_fan_out_arrive_in_order(shared_house: House, count: int) -> None:
    ended = await shared_house.owner.run(shared_house.block("CountingBlock"), count=count)

    assert ended.finish is not None
    assert ended.finish.outputs == count
    assert ended.on("value") == list(range(count))


async def test_outputs_go_out_while_the_run_goes_on_and_it_is_told_that_it_does(shared_house: House) -> None:
    owner = shared_house.owner
    task = owner.task(shared_house.block("StreamingBlock"), count=3, seconds=60)
    await owner.send(task)

    await owner.until(
        lambda: any(run.running and len(run.values) == 3 for run in owner.runs.get(task.node_execution, {}).values()),
        "three outputs of a run that goes on",
    )

    assert owner.ended(task) is None
    owner.drop(task)


@pytest.mark.parametrize(
    ("how", "reason", "message"),
    [
        ("pin", NodeErrorReason.NODE_ERROR_REASON_BLOCK_ERROR, "as the author says"),
        ("raise", NodeErrorReason.NODE_ERROR_REASON_BLOCK_ERROR, "as the author says"),
        ("exit", NodeErrorReason.NODE_ERROR_REASON_BLOCK_ERROR, "SystemExit: 3"),
        ("cancel", NodeErrorReason.NODE_ERROR_REASON_BLOCK_ERROR, "CancelledError"),
        ("set", NodeErrorReason.NODE_ERROR_REASON_OUTPUT_INVALID, "outputs.value: "),
        ("", NodeErrorReason.NODE_ERROR_REASON_BLOCK_ERROR, "KeyError: 'missing'"),
    ],
)
async def test_a_failure_has_its_reason_and_its_earlier_outputs(
    shared_house: House, how: str, reason: "NodeErrorReason.ValueType", message: str
) -> None:
    ended = await shared_house.owner.run(shared_house.block("FailingBlock"), text=how)

    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_FAILED
    assert ended.finish.reason == reason
    assert ended.finish.error.startswith(message)
    assert ended.on("value") == ["before"]


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("InterruptedBlock", Outcome.OUTCOME_RETURNED),
        ("InterruptedComputationBlock", Outcome.OUTCOME_RETURNED),
        ("InterruptedPaymentBlock", Outcome.OUTCOME_FAILED),
    ],
)
async def test_a_run_whose_ground_went_away_goes_back_unless_it_may_not_be_repeated(
    shared_house: House, name: str, outcome: "Outcome.ValueType"
) -> None:
    ended = await shared_house.owner.run(shared_house.block(name))

    assert ended.finish is not None
    assert ended.finish.outcome == outcome
    assert ended.finish.reason == NodeErrorReason.NODE_ERROR_REASON_RUNNER_LOST
    assert ended.finish.error == "the sandbox was evicted"


async def test_inputs_that_do_not_fit_are_told_by_pin(shared_house: House) -> None:
    ended = await shared_house.owner.run(shared_house.block("CountingBlock"), count=-1)

    assert ended.finish is not None
    assert ended.finish.reason == NodeErrorReason.NODE_ERROR_REASON_INPUT_INVALID
    assert ended.finish.error.startswith("inputs.count: ")


async def test_dynamic_inputs_are_folded_and_selectors_yield_beside_their_pin(shared_house: House) -> None:
    inputs: dict[str, Any] = {"value_#_name": "Anna", "value_#_list_$_1": 7}
    selectors = ["value_#_name", "value_#_list_$_1", "value_#_absent"]

    ended = await shared_house.owner.run(shared_house.block("EchoBlock"), selectors=selectors, **inputs)

    assert ended.values == {
        ("value", 0): {"name": "Anna", "list": [None, 7]},
        ("value_#_name", 0): "Anna",
        ("value_#_list_$_1", 0): 7,
    }
    assert ended.finish is not None
    assert ended.finish.outputs == 3


async def test_a_plain_generator_runs_in_a_thread(shared_house: House) -> None:
    ended = await shared_house.owner.run(shared_house.block("ThreadBlock"), count=500)

    assert ended.on("value") == list(range(500))


async def test_a_cpu_bound_block_runs_in_a_process_and_reports_its_stats(shared_house: House) -> None:
    owner = shared_house.owner

    ended = await owner.run(shared_house.block("ProcessBlock"), count=3)

    task_id = f"{uuid.UUID(bytes=owner.execution)}-{owner.numbers}"
    assert ended.on("value") == [0, 1, 2, task_id]
    assert ended.finish is not None
    assert ended.finish.stats == b'{"asked":1}'


@pytest.mark.parametrize(
    ("how", "message"),
    [("fail", "ValueError: in the process"), ("die", "ProcessDied: the process of the block ended with exit code 7")],
)
async def test_a_failure_in_a_process_is_the_runs_alone(shared_house: House, how: str, message: str) -> None:
    block = shared_house.block("ProcessBlock")

    ended = await shared_house.owner.run(block, text=how)
    next_one = await shared_house.owner.run(block)

    assert ended.finish is not None
    assert ended.finish.error == message
    assert ended.on("value") == [0]
    assert next_one.finish is not None
    assert next_one.finish.outcome == Outcome.OUTCOME_COMPLETED


async def test_a_task_whose_process_died_before_it_began_runs_in_another_one(broken_house: House) -> None:
    owner = broken_house.owner
    runner = await broken_house.add_runner()
    await until(lambda: runner.running(WORKER), "a process that waits for runs")
    [waiting] = map(psutil.Process, runner.running(WORKER))
    task = owner.task(broken_house.block("ProcessBlock"))

    waiting.suspend()
    await owner.send(task)
    await owner.beats_after(lambda beat: bool(beat.holdings), "the task is with the process that does nothing")
    waiting.kill()
    ended = await owner.end_of(task)

    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_COMPLETED


async def test_a_task_for_which_no_process_starts_goes_back_with_the_reason(broken_house: House) -> None:
    owner, block = broken_house.owner, broken_house.block("ProcessBlock")
    broken_house.breaks.write_text("process_worker 9")
    await (await broken_house.add_runner()).lose_template()

    ended = await owner.run(block)
    broken_house.breaks.unlink()
    next_one = await owner.run(block)

    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_RETURNED
    # A reason is what its owner bounds the sends of a task by.
    assert ended.finish.error == "the block could not begin: the process of the block ended with exit code 9"
    assert next_one.finish is not None
    assert next_one.finish.outcome == Outcome.OUTCOME_COMPLETED


async def test_a_claimed_task_for_which_no_process_starts_fails_since_nobody_else_may_run_it(
    broken_house: House,
) -> None:
    owner = broken_house.owner
    broken_house.breaks.write_text("process_worker 9")
    await (await broken_house.add_runner()).lose_template()

    ended = await owner.run(broken_house.block("ProcessBlock"), effect=EFFECT_ONCE)

    assert len(owner.claims) == 1
    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_FAILED
    assert ended.finish.reason == NodeErrorReason.NODE_ERROR_REASON_RUNNER_LOST


async def test_a_task_for_another_schema_goes_back(shared_house: House) -> None:
    ended = await shared_house.owner.run(shared_house.block("EchoBlock"), schema_hash="another")

    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_RETURNED
    assert ended.finish.reason == NodeErrorReason.NODE_ERROR_REASON_BLOCK_UNAVAILABLE
    assert "another schema" in ended.finish.error


async def test_large_values_travel_through_the_blob_store(shared_house: House) -> None:
    owner, block = shared_house.owner, shared_house.block("EchoBlock")
    text = "x" * (300 << 10)

    first = await owner.run(block, value=text)
    reference = first.values[("value", 0)]
    second = await owner.run(block, value={"inside": [reference]}, selectors=["value_#_inside"])

    assert reference["blockyard:blob"]["size"] == len(text) + 2
    # The task's folder has the name that the execution service gives it too.
    execution_id = uuid.UUID(bytes=owner.execution)
    assert reference["blockyard:blob"]["key"].startswith(f"{execution_id}/{execution_id}-{owner.numbers - 1}/")
    # Both the value and its part are large again, and the reference that went in was resolved.
    assert second.values[("value", 0)]["blockyard:blob"]["size"] > len(text)
    assert second.values[("value_#_inside", 0)]["blockyard:blob"]["size"] == len(text) + 4


async def test_a_missing_blob_fails_the_run_with_its_reason(shared_house: House) -> None:
    reference = {"blockyard:blob": {"key": "not/there", "size": 3, "sha256": "0" * 64}}

    ended = await shared_house.owner.run(shared_house.block("EchoBlock"), value=reference)

    assert ended.finish is not None
    assert ended.finish.reason == NodeErrorReason.NODE_ERROR_REASON_VALUE_MISSING
