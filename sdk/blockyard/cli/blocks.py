"""`blockyard blocks`: the catalogue, and the way to the commands for authors of blocks."""

from collections.abc import Mapping
from typing import Any

import click

from blockyard.cli.block_packages import new_package
from blockyard.cli.block_runs import run_block
from blockyard.cli.block_tests import check_blocks
from blockyard.cli.output import Output, as_json, short
from blockyard.client import BlockRecord


@click.group()
def blocks() -> None:
    """Lists and shows the blocks that runners have registered; tests blocks, and starts packages of them."""


blocks.add_command(check_blocks)
blocks.add_command(new_package)
blocks.add_command(run_block)


@blocks.command(name="list")
@click.argument("query", nargs=-1)
@click.option("--category", default="", metavar="NAME", help="Only of this category, for example LOGIC.")
@as_json
@click.pass_obj
def list_blocks(output: Output, query: tuple[str, ...], category: str, json_wanted: bool) -> None:
    """Lists blocks; with words, those whose name, description or category contain each of them."""

    async def work() -> None:
        async with output.client() as client:
            found = [block async for block in client.blocks.list(" ".join(query), category.upper(), 1_000)]
        if json_wanted:
            output.json(found)
            return
        rows = [[block.name, ", ".join(block.categories), _description(block)] for block in found]
        output.table(["BLOCK", "CATEGORY", "DESCRIPTION"], rows, "No block fits.")

    output.run(work())


@blocks.command(name="show")
@click.argument("block")
@as_json
@click.pass_obj
def show_block(output: Output, block: str, json_wanted: bool) -> None:
    """Shows a block, by the name of its class or by id, with its pins."""

    async def work() -> None:
        async with output.client() as client:
            found = await client.blocks.get(block)
        if json_wanted:
            output.json(found)
            return
        output.fields(
            [
                ("name", found.name),
                ("id", found.id),
                ("description", _description(found)),
                ("categories", ", ".join(found.categories)),
                ("type", found.type),
                ("effect", found.effect),
                ("pool", found.pool),
                ("static output", "yes" if found.static_output else ""),
            ]
        )
        output.line()
        output.table(["INPUT", "TYPE", "DEFAULT", "DESCRIPTION"], _input_rows(found.input_schema), "It has no inputs.")
        output.line()
        output.table(["OUTPUT", "TYPE", "DESCRIPTION"], _output_rows(found), "It has no outputs.")

    output.run(work())


def _description(block: BlockRecord) -> str:
    unavailable = block.unavailable_reason or ("disabled" if block.disabled else "")
    return f"({unavailable}) {block.description}" if unavailable else block.description


def _input_rows(schema: Mapping[str, Any]) -> list[list[str]]:
    required = set(schema.get("required", ()))
    pins = sorted(schema.get("properties", {}).items(), key=lambda pin: (pin[0] not in required, pin[0]))
    return [
        [name, _type(pin), "required" if name in required else _default(pin), pin.get("description", "")]
        for name, pin in pins
    ]


def _output_rows(block: BlockRecord) -> list[list[str]]:
    pins = sorted(block.output_schema.get("properties", {}).items(), key=lambda pin: (pin[0] == "error", pin[0]))
    return [
        [name, _type(pin) + (", many" if name in block.many_pins else ""), pin.get("description", "")]
        for name, pin in pins
    ]


def _default(pin: Mapping[str, Any]) -> str:
    return "" if pin.get("default") is None else short(pin["default"], 30)


def _type(schema: Mapping[str, Any]) -> str:
    """A JSON schema's type in a word or two."""
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(member) for member in schema["anyOf"]))
    kind = str(schema.get("type", "any"))
    if kind == "array" and schema.get("items"):
        return f"list of {_type(schema['items'])}"
    return {"array": "list"}.get(kind, kind)
