"""`blockyard events`: what executions do, event by event."""

import click

from blockyard.cli.output import Output, as_json, short
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
