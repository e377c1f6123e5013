"""`blockyard presets`: inputs and credentials of a graph's starts, kept under a name."""

import json

import click

from blockyard.cli.inputs import credentials_option, parse_credentials, parse_inputs, with_hints
from blockyard.cli.listing import first, limit_option, page_size
from blockyard.cli.output import Output, as_json, when
from blockyard.client.presets import PresetRecord
from blockyard.errors import InvalidArgument

input_options = (
    click.option(
        "-i",
        "--input",
        "pairs",
        multiple=True,
        metavar="NAME=VALUE",
        help="An input; JSON where it parses, else text; @FILE is a file's text. NAME@FILE gives a file of any kind.",
    ),
    click.option("--inputs", "inputs_file", metavar="FILE", help="A JSON object of inputs; - is standard input."),
)


@click.group()
def presets() -> None:
    """Makes, lists, shows, changes and deletes presets. `blockyard run --preset ID` starts one."""


@presets.command(name="create")
@click.argument("graph_id")
@click.argument("name")
@input_options[0]
@input_options[1]
@credentials_option
@click.option("--version", default=0, type=click.IntRange(0), metavar="N", help="By default the active one of then.")
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
@as_json
@click.pass_obj
def create_preset(
    output: Output,
    graph_id: str,
    name: str,
    pairs: tuple[str, ...],
    inputs_file: str | None,
    credential_pairs: tuple[str, ...],
    version: int,
    description: str,
    json_wanted: bool,
) -> None:
    """Makes the preset NAME of the graph GRAPH_ID; inputs that it leaves out are given at the start."""
    inputs, credentials = parse_inputs(pairs, inputs_file), parse_credentials(credential_pairs)

    async def work() -> None:
        async with output.client() as client:
            try:
                preset = await client.presets.create(
                    graph_id, name, inputs, version=version, description=description, credentials=credentials
                )
            except InvalidArgument as error:
                raise with_hints(error, pairs) from error
        if json_wanted:
            output.json(preset)
        else:
            output.line(f"created {preset.id}")
            output.line(f"blockyard run --preset {preset.id}", "dim")

    output.run(work())


@presets.command(name="list")
@click.option("--graph", "graph_id", default="", metavar="ID", help="Of this graph alone.")
@limit_option
@as_json
@click.pass_obj
def list_presets(output: Output, graph_id: str, limit: int, json_wanted: bool) -> None:
    """Lists your presets, newest first."""

    async def work() -> None:
        async with output.client() as client:
            found = await first(client.presets.list(graph_id=graph_id, page_size=page_size(limit)), limit)
        if json_wanted:
            output.json(found)
            return
        rows = [[one.id, one.name, one.graph_id, _version(one), when(one.updated)] for one in found]
        headers = ["ID", "NAME", "GRAPH", "VERSION", "UPDATED"]
        output.table(headers, rows, "You have no presets yet: `blockyard presets create GRAPH_ID NAME`.")

    output.run(work())


@presets.command(name="show")
@click.argument("preset_id")
@as_json
@click.pass_obj
def show_preset(output: Output, preset_id: str, json_wanted: bool) -> None:
    """Shows a preset with its inputs."""

    async def work() -> None:
        async with output.client() as client:
            preset = await client.presets.get(preset_id)
        if json_wanted:
            output.json(preset)
            return
        output.fields(
            [
                ("id", preset.id),
                ("name", preset.name),
                ("description", preset.description),
                ("graph", f"{preset.graph_id}, version {_version(preset)}"),
                ("updated", when(preset.updated)),
            ]
        )
        output.line()
        rows = [[name, json.dumps(value, ensure_ascii=False)] for name, value in preset.inputs.items()]
        rows += [[f"credentials {name}", value] for name, value in preset.credentials.items()]
        output.table(["INPUT", "VALUE"], rows, "It gives no inputs.")

    output.run(work())


@presets.command(name="update")
@click.argument("preset_id")
@input_options[0]
@input_options[1]
@credentials_option
@click.option("--name", metavar="TEXT", help="A new name.")
@click.option("--description", metavar="TEXT", help="A new description.")
@click.option(
    "--version", type=click.IntRange(0), metavar="N", help="Another version of the graph; 0 is the active one."
)
@as_json
@click.pass_obj
def update_preset(
    output: Output,
    preset_id: str,
    pairs: tuple[str, ...],
    inputs_file: str | None,
    credential_pairs: tuple[str, ...],
    name: str | None,
    description: str | None,
    version: int | None,
    json_wanted: bool,
) -> None:
    """Changes a preset. Inputs that are given replace all that it had, and so do credentials."""
    inputs = parse_inputs(pairs, inputs_file) if pairs or inputs_file else None
    credentials = parse_credentials(credential_pairs) if credential_pairs else None
    if all(given is None for given in (inputs, credentials, name, description, version)):
        raise click.UsageError("nothing to change: give a name, a description, a version, inputs or credentials")

    async def work() -> None:
        async with output.client() as client:
            try:
                preset = await client.presets.update(
                    preset_id,
                    name=name,
                    description=description,
                    version=version,
                    inputs=inputs,
                    credentials=credentials,
                )
            except InvalidArgument as error:
                raise with_hints(error, pairs) from error
        if json_wanted:
            output.json(preset)
        else:
            output.line(f"updated {preset.id}")

    output.run(work())


@presets.command(name="delete")
@click.argument("preset_id")
@click.pass_obj
def delete_preset(output: Output, preset_id: str) -> None:
    """Deletes a preset. Executions that were started with it go on."""

    async def work() -> None:
        async with output.client() as client:
            await client.presets.delete(preset_id)
        output.line(f"deleted {preset_id}")

    output.run(work())


def _version(preset: PresetRecord) -> str:
    return str(preset.graph_version or "active")
