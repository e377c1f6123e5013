"""Puts the commands together, and turns what goes wrong into a sentence and an exit code.

Exit codes: 0 done; 1 refused or failed; 2 wrong usage, or not known where Blockyard is; 3 the execution did not
complete; 130 interrupted.
"""

import os
import sys
from typing import Any

import click

from blockyard.cli.admin import admin
from blockyard.cli.audit import audit
from blockyard.cli.blocks import blocks
from blockyard.cli.credentials import credentials
from blockyard.cli.credits import credits_group
from blockyard.cli.demo import demo
from blockyard.cli.dev import dev
from blockyard.cli.doctor import doctor
from blockyard.cli.events import events
from blockyard.cli.executions import executions
from blockyard.cli.graphs import graphs
from blockyard.cli.importing import export_graph, import_graph
from blockyard.cli.keys import keys
from blockyard.cli.notifications import notifications
from blockyard.cli.output import Output
from blockyard.cli.presets import presets
from blockyard.cli.run import run
from blockyard.cli.schedules import schedules
from blockyard.cli.triggers import triggers
from blockyard.cli.users import users
from blockyard.cli.webhooks import webhooks
from blockyard.errors import BlockyardError, ExecutionEnded, NotConfigured

FAILED, NOT_CONFIGURED, NOT_COMPLETED, INTERRUPTED = 1, 2, 3, 130


def _exit_code(error: BlockyardError) -> int:
    if isinstance(error, NotConfigured):
        return NOT_CONFIGURED
    return NOT_COMPLETED if isinstance(error, ExecutionEnded) else FAILED


def _untold(sentence: str, places: list[str]) -> list[str]:
    """The places of an error; none where there is one alone, and it says what the sentence has said."""
    said = places[0].partition(": ")[2] if len(places) == 1 else ""
    return [] if said and said in sentence else places


class _Application(click.Group):
    """The group that catches the errors of all its commands."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BlockyardError as error:
            reason = f" [{error.reason}]" if error.reason else ""
            first, *places = str(error).split("\n")
            click.echo("\n".join([f"Error: {first}{reason}", *_untold(first, places)]), err=True)
            ctx.exit(_exit_code(error))
        except (KeyboardInterrupt, click.Abort):  # Abort is what Ctrl-C makes of a question
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:  # `blockyard blocks list | head`: the reader has seen enough; click would end with 1
            _drop_output()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # here, since it imports a parser of mails

    try:
        installed = version("blockyard")
    except PackageNotFoundError:
        installed = "(not installed)"
    return f"blockyard {installed}, Python {sys.version.split()[0]}"


def _say_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(_version())
        ctx.exit()


@click.group(cls=_Application, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--address", metavar="HOST:PORT", help="Where Blockyard is; by default the stack of `blockyard dev`.")
@click.option(
    "--timeout", default=10.0, show_default=True, type=click.FloatRange(0.1), help="Seconds that a call may take."
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_version,
    help="Show the version and exit.",
)
@click.pass_context
def application(ctx: click.Context, address: str | None, timeout: float) -> None:
    """Runs agent workflows: graphs of blocks, executed durably.

    Where Blockyard is and who calls comes from BLOCKYARD_ADDRESS and BLOCKYARD_TOKEN, else from the stack that
    `blockyard dev` runs on this machine.
    """
    ctx.obj = Output(address, timeout)


@application.command(name="version")
def show_version() -> None:
    """Shows the version of this program."""
    click.echo(_version())


for _command in (
    demo,
    dev,
    doctor,
    run,
    graphs,
    presets,
    schedules,
    triggers,
    import_graph,
    export_graph,
    blocks,
    executions,
    events,
    webhooks,
    credentials,
    keys,
    notifications,
    credits_group,
    users,
    audit,
    admin,
):
    application.add_command(_command)


def main() -> None:
    """Entry point of the program."""
    try:
        try:
            application(prog_name="blockyard")
        finally:
            if sys.stdout is not None:  # it is when it was closed: `>&-`
                sys.stdout.flush()  # here, where what goes wrong can still be told
    except BrokenPipeError:  # as above, but what was left is written at the end alone
        _drop_output()
        sys.exit(0)
    except OSError as error:
        _drop_output()
        click.echo(f"Error: {error.filename or 'the output'}: {error.strerror or error}", err=True)
        sys.exit(FAILED)


def _drop_output() -> None:
    """Lets the interpreter's last flush go nowhere: what it holds cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
