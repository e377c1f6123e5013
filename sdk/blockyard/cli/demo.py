"""`blockyard demo`: starts a stack, runs the airports workflow on it, shows the result, and leaves nothing behind."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from blockyard.cli.dev import stack_errors
from blockyard.cli.following import follow_execution, show_end
from blockyard.cli.output import Output, as_json, duration
from blockyard.cli.run import node_names, raise_unless_completed
from blockyard.client import Client, Execution, Results, connect
from blockyard.errors import BlockyardError
from blockyard.graphs import load_graph

GRAPH = Path("examples/airports.yaml")
DATA = Path("examples/data/airports.csv")


@dataclass(frozen=True, slots=True)
class Point:
    """Where the airports are to be near to."""

    latitude: float
    longitude: float
    radius_km: float


@click.command()
@click.option("--latitude", default=39.7392, show_default=True, type=click.FloatRange(-90, 90), help="Of the point.")
@click.option(
    "--longitude", default=-104.9903, show_default=True, type=click.FloatRange(-180, 180), help="Of the point."
)
@click.option("--radius", default=2500.0, show_default=True, type=click.FloatRange(0), help="In kilometres.")
@as_json
@click.pass_obj
def demo(output: Output, latitude: float, longitude: float, radius: float, json_wanted: bool) -> None:
    """Runs a workflow over 3,376 airports on a stack of its own, from start to end.

    Starts PostgreSQL, NATS, the services and two runners in a temporary folder, runs some 20,000 node executions with
    live progress, prints a row of summary a state and the five airports nearest to the point, and stops everything.
    """
    folder = _examples()
    with stack_errors():
        output.run(_demo(output, folder, Point(latitude, longitude, radius), json_wanted))


async def _demo(output: Output, folder: Path, point: Point, json_wanted: bool) -> None:
    from blockyard.dev.signals import on_ending_signals, this_task
    from blockyard.dev.stack import Stack  # needs the servers' wheels, see stack_errors

    on_ending_signals(this_task().cancel, this_task().cancel)
    began = time.monotonic()

    def report(text: str) -> None:
        if not json_wanted:
            output.line(text, "dim")

    with _temporary_home() as home:
        try:
            async with Stack(home, report=report):
                report(f"the stack is up after {duration(time.monotonic() - began)}")
                async with connect(home=home) as client:
                    execution, results = await _run(output, client, folder, point, json_wanted)
                report("stopping the stack")
        finally:
            # A thread that is still copying the database's template would make the folder again.
            await asyncio.get_running_loop().shutdown_default_executor()
    if json_wanted:
        output.json({"execution": execution, "results": results})
        return
    show_results(output, execution, results, point)


async def _run(
    output: Output, client: Client, folder: Path, point: Point, json_wanted: bool
) -> tuple[Execution, Results]:
    graph = await client.graphs.create(load_graph(folder / GRAPH))
    inputs = {
        "csv": (folder / DATA).read_text(encoding="utf-8"),
        "latitude": point.latitude,
        "longitude": point.longitude,
        "radius_km": point.radius_km,
    }
    handle = await client.executions.start(graph.id, inputs)
    if json_wanted:
        ended = await handle.wait()
    else:
        await follow_execution(output, handle.watch(), node_names(graph.content))
        ended = await handle.get()
    raise_unless_completed(ended)
    return ended, await handle.results()


def show_results(output: Output, execution: Execution, results: Results, point: Point) -> None:
    """Prints what came out."""
    states: list[dict[str, Any]] = results["states"][0]
    nearest: list[dict[str, Any]] = results["nearest"][0]
    output.line()
    output.line(f"Airports within {point.radius_km:,.0f} km of {point.latitude}, {point.longitude}, by state", "bold")
    rows = [
        [
            str(state["key"]),
            f"{state['count']:,}",
            f"{state['min']:,.1f}",
            f"{state['mean']:,.1f}",
            f"{state['max']:,.1f}",
        ]
        for state in states
    ]
    output.table(["STATE", "AIRPORTS", "NEAREST KM", "MEAN KM", "FARTHEST KM"], rows, "None.")
    output.line()
    output.line("The five nearest", "bold")
    rows = [[one["airport"], one["state"], f"{one['distance_km']:,.1f}", f"{one['miles']:,}"] for one in nearest]
    output.table(["AIRPORT", "STATE", "KM", "MILES"], rows, "None.")
    output.line()
    show_end(output, execution.status.name, _figures(execution, sum(state["count"] for state in states)))


def _figures(execution: Execution, airports: int) -> str:
    seconds = (execution.ended - execution.created).total_seconds() if execution.ended and execution.created else 0.0
    rate = f", {execution.node_executions / seconds:,.0f} a second" if seconds else ""
    return f"{airports:,} airports, {execution.node_executions:,} node executions in {duration(seconds)}{rate}"


def _examples() -> Path:
    """The folder that holds examples/: the one the program is called in, else the clone that this package is from."""
    for folder in (Path.cwd(), *Path(__file__).resolve().parents):
        if (folder / GRAPH).is_file() and (folder / DATA).is_file():
            return folder
    raise BlockyardError(f"{GRAPH} is not here: the demo runs from a clone of Blockyard, with ./task demo")


@contextlib.contextmanager
def _temporary_home() -> Iterator[Path]:
    """A folder for the stack that is gone afterwards."""
    # The server of the database may still be letting go of a file when its folder goes.
    with tempfile.TemporaryDirectory(prefix="blockyard-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
