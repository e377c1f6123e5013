"""`blockyard blocks new`: the start of a package of blocks."""

from pathlib import Path

import click

from blockyard.cli.new_package import names_for, write_package
from blockyard.cli.output import Output


@click.command(name="new")
@click.argument("name")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Where to write it; by default a folder of that name here. It must be empty, or not there.",
)
@click.pass_obj
def new_package(output: Output, name: str, folder: Path | None) -> None:
    """Writes a package with a block of your own, and its test, to start from: NAME such as my-blocks."""
    names = names_for(name)
    place = folder if folder is not None else Path(names.project)
    for path in write_package(names, place):
        output.line(f"wrote {path}")
    output.line()
    output.line(f"Check it: cd {place} && blockyard blocks test --packages {names.module}")
