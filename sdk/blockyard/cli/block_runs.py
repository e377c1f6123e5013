"""`blockyard blocks run`: runs one block without a graph."""

from dataclasses import asdict

import click

from blockyard.cli.inputs import credentials_option, parse_credentials, parse_inputs, with_hints
from blockyard.cli.output import Output, as_json, lasting, short
from blockyard.cli.results import LENGTH
from blockyard.client import BlockRun, ExecutionStatus, SetupRequirements
from blockyard.errors import BlockyardError, ExecutionCancelled, ExecutionFailed, FieldViolation, InvalidArgument


@click.command(name="run")
@click.argument("block")
@click.option(
    "-i",
    "--input",
    "pairs",
    multiple=True,
    metavar="PIN=VALUE",
    help="An input; JSON where it parses, else text; @FILE is a file's text. NAME@FILE gives a file of any kind.",
)
@click.option("--inputs", "inputs_file", metavar="FILE", help="A JSON object of inputs; - is standard input.")
@credentials_option
@click.option(
    "--wait",
    "seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0.1, 600),
    metavar="SECONDS",
    help="How long to wait for its end; it goes on after that.",
)
@as_json
@click.pass_obj
def run_block(
    output: Output,
    block: str,
    pairs: tuple[str, ...],
    inputs_file: str | None,
    credential_pairs: tuple[str, ...],
    seconds: float,
    json_wanted: bool,
) -> None:
    """Runs BLOCK, by the name of its class or by id, without a graph, and prints what it gives by output pin."""
    inputs = parse_inputs(pairs, inputs_file)
    credentials = parse_credentials(credential_pairs)

    async def work() -> BlockRun:
        async with output.client() as client:
            # Asked for first: the call itself would wait for a runner that nobody starts.
            found = await client.blocks.get(block)
            if found.unavailable_reason:
                raise BlockyardError(f"{found.name} cannot be run now: {found.unavailable_reason}")
            try:
                return await client.blocks.run(found.id, inputs, credentials=credentials, timeout=seconds)
            except InvalidArgument as error:
                raise with_hints(error, pairs) from error

    try:
        run = output.run(work())
    except KeyboardInterrupt:
        click.echo("\nStopped waiting; a run that has begun goes on: see blockyard executions list", err=True)
        raise
    if json_wanted:
        output.json(_document(run))
    else:
        _show(output, run)
    _raise_unless_completed(run, seconds)


def _document(run: BlockRun) -> dict[str, object]:
    if run.setup is not None:
        return {"setup_requirements": asdict(run.setup)}
    return {
        "execution": run.execution,
        "outputs": run.outputs,
        "absent_values": run.node.absent_values if run.node is not None else (),
        "outputs_truncated": run.node.outputs_truncated if run.node is not None else False,
        "error": run.error,
        "stats": run.stats,
    }


def _show(output: Output, run: BlockRun) -> None:
    absent = {(one.pin, one.index): one.message for one in run.node.absent_values} if run.node is not None else {}
    for pin, values in run.outputs.items():
        for index, value in enumerate(values):
            why = absent.get((pin, index))
            output.line(f"{pin} is absent: {why}" if why else f"{pin} = {short(value, LENGTH)}")
    if run.node is not None and run.node.outputs_truncated:
        output.line("there were more outputs: events have them all", "dim")
    if run.completed and run.execution is not None:
        cost = f"  cost {run.stats['cost']}" if "cost" in run.stats else ""
        output.line(f"{run.execution.id}  {lasting(run.execution.created, run.execution.ended)}{cost}", "dim")


def _raise_unless_completed(run: BlockRun, seconds: float) -> None:
    """Lets the program end with the exit code of what did not complete."""
    if run.setup is not None:
        raise BlockyardError(run.setup.message, violations=_wanted(run.setup))
    assert run.execution is not None  # the answer has one or the other
    execution = run.execution
    if execution.status is ExecutionStatus.FAILED:
        raise ExecutionFailed(execution.id, f"the block failed: {run.error or execution.status_message}")
    if execution.status is ExecutionStatus.CANCELLED:
        raise ExecutionCancelled(execution.id, f"the run was stopped: {execution.id}")
    if not run.completed:
        raise BlockyardError(
            f"the run has not ended after {seconds:g} s, and goes on; look at it with\n"
            f"  blockyard executions show {execution.id}\nor stop it with\n  blockyard executions stop {execution.id}"
        )


def _wanted(setup: SetupRequirements) -> list[FieldViolation]:
    wanted = [
        FieldViolation(f"inputs.{pin}", f"of {' or '.join(one.providers)}, type {' or '.join(one.types)}")
        for pin, one in setup.missing_credentials.items()
    ]
    return wanted + [FieldViolation(f"inputs.{pin}", "is required too") for pin in setup.missing_inputs]
