"""What runners send, as the engine takes it in."""

import pytest
from blockyard.runner.v1.result_pb2 import Finish, Outcome, Output, Result, ResultBatch

from services.execution.engine import Output as Taken
from services.execution.engine.plan import Reason
from services.execution.intake import foreign_batches, reported

NO_JSON = (b"", b"NaN", b"{", b"1 2", b'"\xff"', b"1e400", b"[" * 501 + b"]" * 501)


@pytest.mark.parametrize("value", NO_JSON)
def test_an_output_that_is_no_json_fails_its_run_and_those_before_it_count(value: bytes) -> None:
    outputs = [Output(pin="a", value=b"1"), Output(pin="b\x00", index=3, value=value), Output(pin="c", value=b"2")]
    finish = Finish(outcome=Outcome.OUTCOME_COMPLETED, outputs=3, duration_us=7, stats=b'{"cost":1}')
    taken = reported(Result(outputs=outputs, finish=finish))
    assert taken.outputs == (Taken("a", 0, b"1"),)
    assert taken.finish is not None
    assert (taken.finish.failed, taken.finish.outputs, taken.finish.reason) == (True, 1, Reason.OUTPUT_INVALID)
    assert (taken.finish.duration_us, taken.finish.stats) == (7, b'{"cost":1}')
    assert "value 3" in taken.finish.error
    assert "\x00" not in taken.finish.error


def test_an_output_that_is_no_json_ends_a_run_that_goes_on() -> None:
    taken = reported(Result(outputs=[Output(pin="a", value=b"NaN")], running=True))
    assert taken.finish is not None
    assert (taken.finish.failed, taken.finish.outputs) == (True, 0)


@pytest.mark.parametrize(
    "value", [b"null", b' [1, {"a": "\xc3\xa9"}] ', b"[" * 500 + b"]" * 500, b'"' + b"[{" * 900 + b'"']
)
def test_json_is_taken_as_it_is(value: bytes) -> None:
    taken = reported(Result(outputs=[Output(pin="a", value=value)]))
    assert (taken.outputs, taken.finish) == ((Taken("a", 0, value),), None)


def test_who_is_passed_a_part_of_a_batch_does_not_know_its_number() -> None:
    results = [Result(execution_id=bytes(16), node_execution=number, partition=number // 2) for number in range(4)]
    batch = ResultBatch(runner_id="runner", batch=7, pool="default", results=results)
    parts = dict(foreign_batches(batch, results))
    assert {partition: (part.batch, len(part.results)) for partition, part in parts.items()} == {0: (0, 2), 1: (0, 2)}
    whole = ResultBatch(runner_id="runner", batch=7, pool="default", results=results[:2])
    assert [(at, part) for at, part in foreign_batches(whole, results[:2])] == [(0, whole)]
