"""`blockyard graphs`: stored graphs."""

from pathlib import Path

import click

from blockyard.cli.output import Output, as_json, when
from blockyard.client import GraphRecord
from blockyard.errors import BlockyardError
from blockyard.graphs import load_graph, save_graph


@click.group()
def graphs() -> None:
    """Lists, shows, creates, checks, draws and deletes graphs."""


@graphs.command(name="list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many at most.")
@as_json
@click.pass_obj
def list_graphs(output: Output, limit: int, json_wanted: bool) -> None:
    """Lists your graphs, newest first."""

    async def work() -> None:
        found = []
        async with output.client() as client:
            async for graph in client.graphs.list(page_size=min(limit, 1_000)):
                found.append(graph)
                if len(found) >= limit:
                    break
        if json_wanted:
            output.json(found)
            return
        rows = [[g.id, g.name, str(g.version), when(g.updated)] for g in found]
        output.table(
            ["ID", "NAME", "VERSION", "UPDATED"], rows, "You have no graphs yet: `blockyard graphs create FILE`."
        )

    output.run(work())


@graphs.command(name="show")
@click.argument("graph_id")
@click.option("--version", default=0, type=click.IntRange(0), metavar="N", help="By default the active one.")
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it to a file, .yaml or .json.",
)
@as_json
@click.pass_obj
def show_graph(output: Output, graph_id: str, version: int, file: Path | None, json_wanted: bool) -> None:
    """Shows a graph with its nodes and links."""

    async def work() -> None:
        async with output.client() as client:
            graph = await client.graphs.get(graph_id, version)
            blocks = {block.id: block.name async for block in client.blocks.list(page_size=1_000)}
        if file:
            save_graph(graph.content, file)
            output.line(f"wrote {file}")
            return
        if json_wanted:
            output.json(graph)
            return
        output.fields(
            [
                ("id", graph.id),
                ("name", graph.name),
                ("description", graph.description),
                ("version", f"{graph.version} of {graph.latest_version}, active is {graph.active_version}"),
                ("inputs", ", ".join(graph.input_schema.get("properties", {}))),
                ("outputs", ", ".join(graph.output_schema.get("properties", {}))),
                ("credentials", ", ".join(field.name for field in graph.content.credentials_fields)),
                ("updated", when(graph.updated)),
            ]
        )
        output.line()
        output.table(
            ["NODE", "BLOCK"], [[node.id, blocks.get(node.block_id, node.block_id)] for node in graph.content.nodes]
        )
        output.line()
        links = [
            [f"{link.source_node_id}.{link.source_pin}", f"{link.sink_node_id}.{link.sink_pin}", "static" * link.static]
            for link in graph.content.links
        ]
        output.table(["FROM", "TO", ""], links, "It has no links.")

    output.run(work())


@graphs.command(name="create")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@as_json
@click.pass_obj
def create_graph(output: Output, file: Path, json_wanted: bool) -> None:
    """Stores the graph in FILE (.yaml or .json)."""
    content = load_graph(file)

    async def work() -> None:
        async with output.client() as client:
            graph = await client.graphs.create(content)
        for warning in graph.warnings:
            click.echo(f"Warning: {warning}", err=True)
        if json_wanted:
            output.json(graph)
        else:
            output.line(f"created {graph.id} (version {graph.version})")

    output.run(work())


@graphs.command(name="update")
@click.argument("graph_id")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@as_json
@click.pass_obj
def update_graph(output: Output, graph_id: str, file: Path, json_wanted: bool) -> None:
    """Stores the graph in FILE as a new version of GRAPH_ID, and makes it the active one."""
    content = load_graph(file)

    async def work() -> None:
        async with output.client() as client:
            graph = await client.graphs.update(graph_id, content)
        for warning in graph.warnings:
            click.echo(f"Warning: {warning}", err=True)
        if json_wanted:
            output.json(graph)
        else:
            output.line(f"updated {graph.id} (version {graph.version})")

    output.run(work())


@graphs.command(name="validate")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@as_json
@click.pass_obj
def validate_graph(output: Output, file: Path, json_wanted: bool) -> None:
    """Checks the graph in FILE without storing it."""
    content = load_graph(file)

    async def work() -> None:
        async with output.client() as client:
            found = await client.graphs.validate(content)
        if json_wanted:
            output.json(found)
        else:
            for error in found.errors:
                output.line(f"error: {error}", "red")
            for warning in found.warnings:
                output.line(f"warning: {warning}", "yellow")
        if found.errors:
            count = len(found.errors)
            raise BlockyardError(f"{file}: {count} error{'s' * (count != 1)}", reason="GRAPH_INVALID")
        if not json_wanted:
            output.line(f"{file} is a valid graph", "green")

    output.run(work())


@graphs.command(name="picture")
@click.argument("graph_id")
@click.option("--version", default=0, type=click.IntRange(0), metavar="N", help="By default the active one.")
@click.pass_obj
def draw_graph(output: Output, graph_id: str, version: int) -> None:
    """Draws a graph as a Mermaid flowchart."""

    async def work() -> None:
        async with output.client() as client:
            click.echo(await client.graphs.picture(graph_id, version))

    output.run(work())


@graphs.command(name="delete")
@click.argument("graph_id")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete_graph(output: Output, graph_id: str, yes: bool) -> None:
    """Deletes a graph with all its versions. Executions that run go on."""

    async def known() -> GraphRecord:
        async with output.client() as client:
            return await client.graphs.get(graph_id)

    graph = output.run(known())
    if not yes:
        # Not within a loop of asyncio, which would keep the first Ctrl-C from the question.
        click.confirm(f"Delete graph {graph.name!r} with {graph.latest_version} version(s)?", abort=True)

    async def work() -> None:
        async with output.client() as client:
            await client.graphs.delete(graph_id)
        output.line(f"deleted {graph_id}")

    output.run(work())
