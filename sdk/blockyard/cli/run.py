"""`blockyard run`: starts a graph, stored or from a file, and follows it if asked."""

import json
from pathlib import Path
from uuid import UUID

import click

from blockyard.cli.following import follow_execution, show_end, summary
from blockyard.cli.importing import tell_remarks
from blockyard.cli.inputs import (
    credentials_option,
    parse_credentials,
    parse_inputs,
    parse_labels,
    with_hints,
    with_way_out,
)
from blockyard.cli.output import Output, as_json, lasting
from blockyard.cli.results import given_so_far, show_results
from blockyard.client import Client, CreditsPolicy, Execution, ExecutionStatus, GraphRecord
from blockyard.errors import (
    BlockyardError,
    CredentialsMissing,
    ExecutionCancelled,
    ExecutionFailed,
    GraphFileError,
    InvalidArgument,
)
from blockyard.graph.v1 import graph_pb2
from blockyard.graphs import load_graph

GRAPH_SUFFIXES = (".json", ".yaml", ".yml")


@click.command()
@click.argument("graph", required=False, default="")
@click.option("--preset", default="", metavar="ID", help="A preset, whose inputs count where none are given here.")
@click.option(
    "-i",
    "--input",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="An input; JSON where it parses, else text; @FILE is a file's text. NAME@FILE gives a file of any kind.",
)
@click.option("--inputs", "inputs_file", metavar="FILE", help="A JSON object of inputs; - is standard input.")
@click.option(
    "--version",
    default=0,
    type=click.IntRange(0),
    metavar="N",
    help="Version of a stored graph; by default the active one.",
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label of the execution.")
@credentials_option
@click.option(
    "--credits-policy",
    default="wait",
    show_default=True,
    type=click.Choice(["wait", "fail"]),
    help="What becomes of it when your credits run out.",
)
@click.option("-f", "--follow", is_flag=True, help="Follow it to its end and print its results.")
@as_json
@click.pass_obj
def run(
    output: Output,
    graph: str,
    preset: str,
    pairs: tuple[str, ...],
    inputs_file: str | None,
    version: int,
    labels: tuple[str, ...],
    credential_pairs: tuple[str, ...],
    credits_policy: CreditsPolicy,
    follow: bool,
    json_wanted: bool,
) -> None:
    """Starts GRAPH: a file (.yaml, .json, an agent of AutoGPT), which is stored as a new graph first, or the id of a
    stored one. With --preset it may be left out.

    Ctrl-C while following stops following; the execution goes on.
    """
    inputs = parse_inputs(pairs, inputs_file)
    labels_by_key = parse_labels(labels)
    credentials = parse_credentials(credential_pairs)
    content = _content(graph, version, preset)
    started: list[str] = []

    async def work() -> None:
        async with output.client() as client:
            record = await _stored(client, graph, version, preset, content)
            try:
                execution = await client.executions.start(
                    record.id,
                    inputs,
                    preset=preset,
                    version=version,
                    labels=labels_by_key,
                    credentials=credentials,
                    credits_policy=credits_policy,
                )
            except InvalidArgument as error:
                raise with_hints(error, pairs) from error
            except CredentialsMissing as error:
                raise with_way_out(error) from error
            started.append(execution.id)
            if follow:
                await follow_to_end(output, client, execution.id, record.content, json_wanted)
            elif json_wanted:
                output.json(await execution.get())
            else:
                output.line(f"started {execution.id}")
                output.line(f"blockyard executions watch {execution.id}", "dim")

    try:
        output.run(work())
    except KeyboardInterrupt:
        stopped_following(started)
        raise


def _content(graph: str, version: int, preset: str) -> graph_pb2.Graph | bytes | None:
    """The graph in the file that is named, or the bytes of an agent of AutoGPT; None if an id or a preset is named."""
    if not graph and preset:
        return None
    if not graph:
        raise click.UsageError("say what to run: a file, the id of a stored graph, or --preset ID")
    if not graph.endswith(GRAPH_SUFFIXES) and not Path(graph).is_file():
        if not _is_id(graph):
            raise BlockyardError(f"{graph}: no such file, and no id of a stored graph (`blockyard graphs list`)")
        return None
    if version:
        raise click.UsageError("--version is for stored graphs; a file is stored as a new one")
    if preset:
        raise click.UsageError("--preset is of a stored graph; a file is stored as a new one")
    try:
        return load_graph(graph)
    except GraphFileError:
        data = Path(graph).read_bytes() if Path(graph).is_file() else b""
        if _is_agent(data):
            return data
        raise


def _is_agent(data: bytes) -> bool:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return False
    nodes = content.get("nodes") if isinstance(content, dict) else None
    return isinstance(nodes, list) and any(isinstance(node, dict) and "input_default" in node for node in nodes)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


async def _stored(
    client: Client, graph: str, version: int, preset: str, content: graph_pb2.Graph | bytes | None
) -> GraphRecord:
    if isinstance(content, bytes):
        made = await client.graphs.import_file(content)
        tell_remarks(made.remarks)
        record = made.graph
    elif content is not None:
        record = await client.graphs.create(content)
        for warning in record.warnings:
            click.echo(f"Warning: {warning}", err=True)
    elif preset:
        known = await client.presets.get(preset)
        record = await client.graphs.get(graph or known.graph_id, version or known.graph_version)
    else:
        record = await client.graphs.get(graph, version)
    return record


async def follow_to_end(
    output: Output, client: Client, execution_id: str, graph: graph_pb2.Graph, json_wanted: bool
) -> None:
    """Follows an execution, prints its results, and raises if it did not complete."""
    execution = client.executions.handle(execution_id)
    if json_wanted:
        ended = await execution.wait()
        given = await given_so_far(client.executions, execution_id)
        output.json({"execution": ended, "results": given.results, "absent_values": given.absent_values})
    else:
        progress = await follow_execution(output, execution.watch(), node_names(graph))
        ended = await execution.get()
        show_results(output, await given_so_far(client.executions, execution_id))
        took = (ended.ended - ended.created).total_seconds() if ended.ended and ended.created else 0.0
        show_end(output, ended.status.name, f"{execution.id}  {summary(progress, took)}")
    raise_unless_completed(ended)


def raise_unless_completed(execution: Execution) -> None:
    """Lets the program end with the exit code of an execution that did not complete."""
    reason = f": {execution.status_message}" if execution.status_message else ""
    if execution.status is ExecutionStatus.FAILED:
        raise ExecutionFailed(execution.id, f"the execution failed{reason}")
    if execution.status is ExecutionStatus.CANCELLED:
        raise ExecutionCancelled(
            execution.id, f"the execution was stopped after {lasting(execution.created, execution.ended)}"
        )


def node_names(graph: graph_pb2.Graph) -> dict[str, str]:
    """Names to show by node id, where a node has one of its own."""
    return {node.id: node.metadata.customized_name for node in graph.nodes if node.metadata.customized_name}


def stopped_following(started: list[str]) -> None:
    """Says after Ctrl-C what goes on."""
    for execution_id in started:
        click.echo(
            f"\nStopped following; the execution goes on. Follow it again with\n"
            f"  blockyard executions watch {execution_id}\nor stop it with\n  blockyard executions stop {execution_id}",
            err=True,
        )
