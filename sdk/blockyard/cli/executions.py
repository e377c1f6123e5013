"""`blockyard executions`: runs of graphs."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from blockyard.cli.inputs import parse_json
from blockyard.cli.listing import first
from blockyard.cli.output import Output, as_json, lasting, short, when
from blockyard.cli.results import Given, given_so_far, show_results
from blockyard.cli.run import follow_to_end, stopped_following
from blockyard.client import AbsentResult, Client, Execution, ExecutionStatus, NodeExecution, NodeStatus
from blockyard.client.executions import UNCHANGED, Decision
from blockyard.graph.v1 import graph_pb2

Command = TypeVar("Command", bound=Callable[..., Any])

DONE: dict[Decision, str] = {
    "approve": "approved",
    "reject": "rejected",
    "retry": "runs again:",
    "complete": "taken as completed:",
    "fail": "taken as failed:",
}

STATUSES = [status.name.lower() for status in ExecutionStatus if status is not ExecutionStatus.UNSPECIFIED]


@click.group()
def executions() -> None:
    """Lists, shows, follows and stops executions."""


@executions.command(name="list")
@click.option("--graph", "graph_id", default="", metavar="ID", help="Only of this graph.")
@click.option("--status", "statuses", multiple=True, type=click.Choice(STATUSES), help="Only with this status.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many at most.")
@as_json
@click.pass_obj
def list_executions(output: Output, graph_id: str, statuses: tuple[str, ...], limit: int, json_wanted: bool) -> None:
    """Lists your executions, newest first."""

    async def work() -> None:
        async with output.client() as client:
            wanted = [ExecutionStatus[status.upper()] for status in statuses]
            pages = client.executions.list(graph_id=graph_id, statuses=wanted, page_size=min(limit, 1_000))
            found = await first(pages, limit)
        if json_wanted:
            output.json(found)
            return
        rows = [
            [e.id, e.status.name, when(e.created), lasting(e.created, e.ended), f"{e.node_executions:,}", _subject(e)]
            for e in found
        ]
        output.table(["ID", "STATUS", "STARTED", "TOOK", "NODES", "GRAPH"], rows, "No executions.")

    output.run(work())


@executions.command(name="show")
@click.argument("execution_id")
@click.option(
    "--nodes",
    "node_limit",
    default=20,
    show_default=True,
    type=click.IntRange(0),
    help="How many node executions at most.",
)
@as_json
@click.pass_obj
def show_execution(output: Output, execution_id: str, node_limit: int, json_wanted: bool) -> None:
    """Shows an execution with its results and node executions; of one that has not ended, also what it waits for."""

    async def work() -> None:
        async with output.client() as client:
            execution = await client.executions.get(execution_id)
            given = await _given(client, execution)
            nodes = await first(client.executions.nodes(execution_id, page_size=min(node_limit + 1, 1_000)), node_limit)
            waits = "" if execution.status.ended else (await client.executions.explain(execution_id)).summary
        if json_wanted:
            output.json(
                {
                    "execution": execution,
                    "waits_for": waits,
                    "results": given.results,
                    "absent_values": given.absent_values,
                    "node_executions": nodes,
                }
            )
            return
        _show_fields(output, execution, waits)
        show_results(output, given, 200)
        output.line()
        # Few blocks cost anything.
        costs = any("cost" in node.stats for node in nodes)
        headers = ["#", "NODE", "STATUS", "ATTEMPTS", "TOOK", *(["COST"] if costs else []), "ERROR"]
        output.table(headers, [_node_row(node, costs) for node in nodes], "No nodes yet.")
        if execution.node_executions > len(nodes):
            output.line(f"{len(nodes)} of {execution.node_executions:,} node executions; --nodes N shows more", "dim")
        for node in nodes if not execution.status.ended else ():
            _show_question(output, node)

    output.run(work())


@executions.command(name="watch")
@click.argument("execution_id")
@as_json
@click.pass_obj
def watch_execution(output: Output, execution_id: str, json_wanted: bool) -> None:
    """Follows an execution to its end. Ctrl-C stops following; the execution goes on."""

    async def work() -> None:
        async with output.client() as client:
            execution = await client.executions.get(execution_id)
            graph = graph_pb2.Graph()
            if execution.graph_id:
                graph = (await client.graphs.get(execution.graph_id, execution.graph_version)).content
            await follow_to_end(output, client, execution_id, graph, json_wanted)

    try:
        output.run(work())
    except KeyboardInterrupt:
        stopped_following([execution_id])
        raise


@executions.command(name="stop")
@click.argument("execution_ids", nargs=-1, required=True)
@as_json
@click.pass_obj
def stop_execution(output: Output, execution_ids: tuple[str, ...], json_wanted: bool) -> None:
    """Stops executions. What has ended stays as it is."""

    async def work() -> None:
        async with output.client() as client:
            stopped = [await _stop(output, client, one, json_wanted) for one in execution_ids]
        if json_wanted:
            output.json(stopped)

    output.run(work())


def _decides(decision: Decision, words: str) -> Callable[[Command], Command]:
    """An option that chooses a decision. All that are given are noted, so that two of them are refused."""
    return click.option(f"--{decision}", "decisions", flag_value=decision, multiple=True, help=words)


@executions.command(name="resume")
@click.argument("execution_id")
@click.argument("node_execution", type=click.IntRange(1))
@_decides("approve", "Let the data of an approval go on.")
@_decides("reject", "Send the data of an approval the other way.")
@_decides("retry", "Run again what may have run.")
@_decides("complete", "Take what may have run as completed, see --outputs.")
@_decides("fail", "Take it as failed.")
@click.option("--data", metavar="JSON", help="With --approve: the data as you have changed it.")
@click.option("--outputs", metavar="JSON", help='With --complete: lists of values by pin, {"pin": [value]}.')
@click.option("--message", default="", metavar="TEXT", help="What you have to say of it; with --fail, the error.")
@click.pass_obj
def resume_node(
    output: Output,
    execution_id: str,
    node_execution: int,
    decisions: tuple[Decision, ...],
    data: str | None,
    outputs: str | None,
    message: str,
) -> None:
    """Decides what becomes of a node execution that waits for a person. NODE_EXECUTION is its number, as
    `executions show` gives it."""
    if len(set(decisions)) != 1:
        raise click.UsageError("say what is to become of it, one of --approve, --reject, --retry, --complete, --fail")
    decision = decisions[0]
    if data is not None and decision != "approve":
        raise click.UsageError("--data is what goes on with --approve")
    if outputs is not None and decision != "complete":
        raise click.UsageError("--outputs are what the node has given with --complete")
    changed = UNCHANGED if data is None else parse_json("--data", data)
    given = None if outputs is None else parse_json("--outputs", outputs)

    async def work() -> None:
        async with output.client() as client:
            await client.executions.resume_node(
                execution_id, node_execution, decision, outputs=given, data=changed, message=message
            )
        output.line(f"{DONE[decision]} node execution {node_execution} of {execution_id}")

    output.run(work())


async def _stop(output: Output, client: Client, execution_id: str, json_wanted: bool) -> Execution:
    execution = await client.executions.stop(execution_id)
    if not json_wanted:
        ended = execution.status.ended
        output.line(f"{execution_id} {execution.status.name.lower() if ended else 'is being stopped'}")
    return execution


def _show_fields(output: Output, execution: Execution, waits: str) -> None:
    output.fields(
        [
            ("id", execution.id),
            ("graph", f"{execution.graph_id} version {execution.graph_version}" if execution.graph_id else ""),
            ("block", "" if execution.graph_id else execution.labels.get("block", "")),
            ("status", execution.status.name),
            ("message", execution.status_message),
            ("waits for", waits),
            ("started", when(execution.created)),
            ("took", lasting(execution.created, execution.ended)),
            ("node executions", f"{execution.node_executions:,}"),
            ("part of", execution.parent_execution_id),
            ("labels", ", ".join(f"{key}={value}" for key, value in execution.labels.items())),
            ("inputs", short(dict(execution.inputs)) if execution.inputs else ""),
        ]
    )
    output.line()


async def _given(client: Client, execution: Execution) -> Given:
    """The results of a graph; of a block that was run alone, its outputs."""
    if execution.graph_id:
        return await given_so_far(client.executions, execution.id)
    async for node in client.executions.nodes(execution.id, "block"):
        absent = [AbsentResult(a.pin, a.index, a.absence, a.message) for a in node.absent_values if not a.is_input]
        return Given(node.outputs, tuple(absent))
    return Given({})


def _show_question(output: Output, node: NodeExecution) -> None:
    """What a person has to decide about, and how that is told."""
    ambiguous = node.status is NodeStatus.AMBIGUOUS
    if not ambiguous and (
        node.status is not NodeStatus.WAITING or node.child_execution_id or "data" not in node.inputs
    ):
        return
    asked = "it is not known how it ended" if ambiguous else f"approve {short(node.inputs['data'])}?"
    choices = "--retry, --complete or --fail" if ambiguous else "--approve or --reject"
    output.line()
    output.line(f"{node.node_id} #{node.number}: {asked}", "bold")
    output.line(f"blockyard executions resume {node.execution_id} {node.number}, and one of {choices}", "dim")


def _subject(execution: Execution) -> str:
    """The graph that runs, or the block where there is none."""
    return execution.graph_id or f"block {execution.labels.get('block', '')}"


def _node_row(node: NodeExecution, costs: bool) -> list[str]:
    attempts = str(node.attempts) if node.attempts else ""
    remark = f"waits for {', '.join(node.missing_pins)}" if node.missing_pins else ""
    if node.child_execution_id:
        remark = f"execution {node.child_execution_id}"
    return [
        str(node.number) if node.number else "",
        node.node_id,
        node.status.name,
        attempts,
        lasting(node.started or node.queued, node.ended) if node.ended else "",
        *([str(node.stats.get("cost", ""))] if costs else []),
        short(node.error or remark, 120),
    ]
