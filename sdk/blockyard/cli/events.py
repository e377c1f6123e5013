"""`blockyard events`: what executions do, event by event."""

import click

from blockyard.cli.event_filters import event_filter_options, event_kinds
from blockyard.cli.output import Output, as_json, jsonable, short
from blockyard.cli.results import value_text
from blockyard.events import Event


@click.group()
def events() -> None:
    """Shows the events of executions."""


@events.command(name="tail")
@click.argument("execution_id")
@click.option("--after", default=0, type=click.IntRange(0), metavar="N", help="Only events with a higher sequence.")
@click.option("-f", "--follow", is_flag=True, help="Go on with those to come, until the execution ends.")
@as_json
@click.pass_obj
def tail_events(output: Output, execution_id: str, after: int, follow: bool, json_wanted: bool) -> None:
    """Prints the events of an execution; with --json one JSON object a line."""

    async def work() -> None:
        async with output.client() as client:
            if follow:
                source = client.executions.watch(execution_id, after)
            else:
                source = client.executions.events(execution_id, after)
            async for event in source:
                if json_wanted:
                    output.json_line(event)
                else:
                    output.line(describe(event))

    output.run(work())


@events.command(name="follow")
@event_filter_options
@click.option("--after", default="", metavar="CURSOR", help="Go on after a cursor that --json has shown.")
@click.option("--user", default="", metavar="ID", help="Of another user, or * for all. For administrators.")
@as_json
@click.pass_obj
def follow_events(
    output: Output,
    executions: tuple[str, ...],
    graphs: tuple[str, ...],
    kinds: tuple[str, ...],
    after: str,
    user: str,
    json_wanted: bool,
) -> None:
    """Prints what your executions do, from now on, until Ctrl-C; of one execution alone, all of it until it ends.

    With --json each line is an event, and `cursor` in it is what to give as --after to go on behind it. Options that
    name something can be given several times.
    """

    async def work() -> None:
        async with output.client() as client:
            place = int(after) if after.isdigit() else after
            stream = client.events(executions, place, graph=graphs, kinds=event_kinds(kinds), user=user)
            async for event in stream:
                if json_wanted:
                    output.json_line({**jsonable(event), "cursor": stream.cursor})
                else:
                    output.line(f"{event.execution_id}  {describe(event)}")

    output.run(work())


def describe(event: Event) -> str:
    """An event on one line."""
    time = event.time.astimezone().strftime("%H:%M:%S.%f")[:-3] if event.time else ""
    parts = [f"{event.sequence:>6}", time, event.kind.name.lower()]
    if event.node_id:
        parts.append(f"{event.node_id}#{event.node_execution}")
    if event.attempt > 1:
        parts.append(f"attempt {event.attempt}")
    if event.pin:
        parts.append(f"{event.pin}[{event.index}] {value_text(event)}")
    if event.output_name:
        parts.append(f"{event.output_name} {value_text(event)}")
    if event.provisional:
        parts.append("(provisional)")
    if event.reason:
        parts.append(event.reason)
    if event.message and not event.absence:
        parts.append(short(event.message))
    return "  ".join(parts)
