"""What the client makes of the answers of RunBlock."""

from blockyard.client import BlockRun, ExecutionStatus, MissingCredentials
from blockyard.execution.v1 import block_run_pb2, execution_pb2
from blockyard.execution.v1.execution_service_pb2 import RunBlockResponse
from google.protobuf.struct_pb2 import Struct


def test_an_answer_with_requirements_is_no_run() -> None:
    setup = block_run_pb2.SetupRequirements(
        block_id="b",
        block_name="MailBlock",
        message="MailBlock needs credentials.",
        readiness=block_run_pb2.SetupReadiness(missing_inputs=["to"]),
        missing_credentials={
            "credentials": block_run_pb2.MissingCredentials(
                providers=["smtp"], types=["user_password"], scopes=["send"], description="The account."
            )
        },
        execution_modes=[block_run_pb2.EXECUTION_MODE_IMMEDIATE, 99],  # type: ignore[list-item]  # open enum
    )
    setup.input_schema.update({"type": "object", "properties": {"to": {"minLength": 1}}})

    run = BlockRun.from_proto(RunBlockResponse(setup_requirements=setup))

    assert (run.execution, run.node, run.outputs, run.error, run.completed) == (None, None, {}, "", False)
    assert run.setup is not None
    assert (run.setup.block_name, run.setup.missing_inputs) == ("MailBlock", ("to",))
    assert run.setup.message == "MailBlock needs credentials."
    assert not run.setup.ready_to_run
    assert not run.setup.has_all_credentials
    wanted = MissingCredentials(("smtp",), ("user_password",), ("send",), "The account.")
    assert run.setup.missing_credentials == {"credentials": wanted}
    assert run.setup.input_schema == {"type": "object", "properties": {"to": {"minLength": 1}}}
    assert run.setup.execution_modes == ("IMMEDIATE", "UNKNOWN")


def test_a_run_that_goes_on_has_its_execution_alone() -> None:
    running = execution_pb2.Execution(id="e", status=execution_pb2.EXECUTION_STATUS_RUNNING)
    run = BlockRun.from_proto(RunBlockResponse(execution=running))
    assert run.execution is not None
    assert (run.execution.id, run.execution.status) == ("e", ExecutionStatus.RUNNING)
    assert (run.node, run.setup, run.outputs, run.completed) == (None, None, {}, False)


def test_a_run_that_has_ended_has_outputs_and_stats() -> None:
    stats = Struct()
    stats.update({"tokens": 12})
    node = execution_pb2.NodeExecution(outputs_json=b'{"item": [9007199254740993, 2]}', stats=stats)
    ended = execution_pb2.Execution(id="e", status=execution_pb2.EXECUTION_STATUS_COMPLETED)
    run = BlockRun.from_proto(RunBlockResponse(execution=ended, node_execution=node))
    assert run.completed
    assert run.outputs == {"item": [9007199254740993, 2]}
    assert run.stats == {"tokens": 12}
