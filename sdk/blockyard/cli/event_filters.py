"""Options of commands that take some events of a user's executions and not others."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from blockyard.events import EventKind

KINDS = [kind.name.lower() for kind in EventKind if kind is not EventKind.UNSPECIFIED]

F = TypeVar("F", bound=Callable[..., Any])  # any command: click's own decorators are as wide


def event_filter_options(command: F) -> F:
    """Adds --graph, --execution and --kind, as `graphs`, `executions` and `kinds`; each may be given several times."""
    for option in (
        click.option(
            "--kind",
            "kinds",
            multiple=True,
            type=click.Choice(KINDS, case_sensitive=False),
            metavar="KIND",
            help="Only these kinds: execution_completed, node_failed, ...",
        ),
        click.option("--execution", "executions", multiple=True, metavar="ID", help="Only events of these executions."),
        click.option(
            "--graph", "graphs", multiple=True, metavar="ID", help="Only events of executions of these graphs."
        ),
    ):
        command = option(command)
    return command


def event_kinds(names: Iterable[str]) -> list[EventKind]:
    """The kinds that --kind names."""
    return [EventKind[name.upper()] for name in names]
