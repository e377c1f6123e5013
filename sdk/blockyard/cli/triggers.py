"""`blockyard triggers`: addresses at which webhooks of others start graphs."""

from datetime import timedelta

import click

from blockyard.cli.inputs import (
    credentials_option,
    parse_credentials,
    parse_inputs,
    parse_json,
    parse_labels,
    with_hints,
)
from blockyard.cli.listing import first, limit_option, page_size
from blockyard.cli.output import Output, as_json, when
from blockyard.cli.presets import input_options
from blockyard.client.triggers import NewTrigger, TriggerKind, TriggerRecord, TriggerStart
from blockyard.errors import InvalidArgument

SHOWN = 20
"""Deliveries that are shown with a trigger."""

event_option = click.option(
    "--event",
    "events",
    multiple=True,
    metavar="NAME",
    help="An event that starts something, such as push or pull_request.opened; by default all do.",
)
condition_option = click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="PLACE=VALUE",
    help="What the payload must have, such as data.state=open; JSON where it parses, else text.",
)


@click.group()
def triggers() -> None:
    """Makes, lists, shows, changes and deletes triggers: addresses at which webhooks start graphs."""


@triggers.command(name="create")
@click.argument("graph_id", required=False, default="")
@click.option("--preset", default="", metavar="ID", help="A preset to start with, of whose graph GRAPH_ID is.")
@click.option("--kind", default="generic", show_default=True, type=click.Choice(["generic", "github"]))
@click.option("--name", default="", metavar="TEXT", help="A name.")
@event_option
@condition_option
@input_options[0]
@input_options[1]
@click.option("--version", default=0, type=click.IntRange(0), metavar="N", help="By default the active one of then.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label of the executions.")
@credentials_option
@click.option(
    "--secret-credential",
    default="",
    metavar="ID",
    help="A credential that holds the sender's secret, where the sender has drawn it.",
)
@as_json
@click.pass_obj
def create_trigger(
    output: Output,
    graph_id: str,
    preset: str,
    kind: TriggerKind,
    name: str,
    events: tuple[str, ...],
    conditions: tuple[str, ...],
    pairs: tuple[str, ...],
    inputs_file: str | None,
    version: int,
    labels: tuple[str, ...],
    credential_pairs: tuple[str, ...],
    secret_credential: str,
    json_wanted: bool,
) -> None:
    """Makes a trigger of the graph GRAPH_ID, which has an input `payload`, and prints its secret, this once."""
    if not graph_id and not preset:
        raise click.UsageError("say what to start: the id of a graph, or --preset ID")
    start = TriggerStart(
        graph_id,
        parse_inputs(pairs, inputs_file),
        preset=preset,
        version=version,
        labels=parse_labels(labels),
        credentials=parse_credentials(credential_pairs),
    )
    wanted = _conditions(conditions)

    async def work() -> None:
        async with output.client() as client:
            try:
                made = await client.triggers.create(
                    start,
                    kind=kind,
                    name=name,
                    events=events,
                    conditions=wanted,
                    secret_credential=secret_credential,
                )
            except InvalidArgument as error:
                raise with_hints(error, pairs) from error
        _tell_secret(output, made, json_wanted)

    output.run(work())


@triggers.command(name="list")
@click.option("--graph", "graph_id", default="", metavar="ID", help="Of this graph alone.")
@limit_option
@as_json
@click.pass_obj
def list_triggers(output: Output, graph_id: str, limit: int, json_wanted: bool) -> None:
    """Lists your triggers, newest first."""

    async def work() -> None:
        async with output.client() as client:
            found = await first(client.triggers.list(page_size=page_size(limit), graph_id=graph_id), limit)
        if json_wanted:
            output.json(found)
            return
        rows = [[one.id, one.name, one.kind, _what(one), ", ".join(one.events), _state(one)] for one in found]
        headers = ["ID", "NAME", "KIND", "STARTS", "EVENTS", "STATE"]
        output.table(headers, rows, "You have no triggers yet: `blockyard triggers create GRAPH_ID`.")

    output.run(work())


@triggers.command(name="show")
@click.argument("trigger_id")
@as_json
@click.pass_obj
def show_trigger(output: Output, trigger_id: str, json_wanted: bool) -> None:
    """Shows a trigger and what came to it of late."""

    async def work() -> None:
        async with output.client() as client:
            trigger = await client.triggers.get(trigger_id)
            deliveries = await first(client.triggers.deliveries(trigger_id, page_size=SHOWN), SHOWN)
        if json_wanted:
            output.json({"trigger": trigger, "deliveries": deliveries})
            return
        output.fields(
            [
                ("id", trigger.id),
                ("name", trigger.name),
                ("kind", trigger.kind),
                ("address", f"POST {trigger.path}"),
                ("starts", _what(trigger)),
                ("inputs", ", ".join(trigger.inputs)),
                ("events", ", ".join(trigger.events)),
                ("where", ", ".join(f"{path}={value!r}" for path, value in trigger.conditions.items())),
                ("state", _state(trigger)),
                ("secret", _secret(trigger)),
                ("updated", when(trigger.updated)),
            ]
        )
        output.line()
        rows = [
            [when(one.received), one.outcome, one.event, one.delivery_id, one.execution_id or one.reason]
            for one in deliveries
        ]
        output.table(["RECEIVED", "OUTCOME", "EVENT", "DELIVERY", "EXECUTION"], rows, "Nothing has come to it yet.")

    output.run(work())


@triggers.command(name="update")
@click.argument("trigger_id")
@click.option("--name", metavar="TEXT", help="A new name.")
@event_option
@click.option("--no-events", is_flag=True, help="Every event starts something.")
@condition_option
@click.option("--no-where", is_flag=True, help="Nothing is asked of the payload.")
@click.option(
    "--secret-credential",
    metavar="ID",
    help='A credential that holds the sender\'s secret; "" for a secret of its own, which `rotate` prints.',
)
@as_json
@click.pass_obj
def update_trigger(
    output: Output,
    trigger_id: str,
    name: str | None,
    events: tuple[str, ...],
    no_events: bool,
    conditions: tuple[str, ...],
    no_where: bool,
    secret_credential: str | None,
    json_wanted: bool,
) -> None:
    """Changes a trigger. Events that are given replace all that it had, and so do conditions."""
    if (no_events and events) or (no_where and conditions):
        raise click.UsageError("--no-events goes with no --event, and --no-where with no --where")
    new_events = events if events or no_events else None
    new_conditions = _conditions(conditions) if conditions or no_where else None
    if name is None and new_events is None and new_conditions is None and secret_credential is None:
        raise click.UsageError("nothing to change: give a name, events, conditions or a credential")

    async def work() -> None:
        async with output.client() as client:
            trigger = await client.triggers.update(
                trigger_id,
                name=name,
                events=new_events,
                conditions=new_conditions,
                secret_credential=secret_credential,
            )
        if json_wanted:
            output.json(trigger)
        else:
            output.line(f"updated {trigger.id}")

    output.run(work())


@triggers.command(name="disable")
@click.argument("trigger_id")
@click.pass_obj
def disable_trigger(output: Output, trigger_id: str) -> None:
    """Lets a trigger take no webhooks; senders are told so."""
    _switch(output, trigger_id, disabled=True)


@triggers.command(name="enable")
@click.argument("trigger_id")
@click.pass_obj
def enable_trigger(output: Output, trigger_id: str) -> None:
    """Lets a trigger take webhooks again."""
    _switch(output, trigger_id, disabled=False)


@triggers.command(name="rotate")
@click.argument("trigger_id")
@click.option(
    "--keep-hours",
    default=24.0,
    show_default=True,
    type=click.FloatRange(0, 720),
    help="For how long the present secret stays valid.",
)
@as_json
@click.pass_obj
def rotate_secret(output: Output, trigger_id: str, keep_hours: float, json_wanted: bool) -> None:
    """Makes another secret for a trigger and prints it, this once."""

    async def work() -> None:
        async with output.client() as client:
            made = await client.triggers.rotate(trigger_id, timedelta(hours=keep_hours))
        _tell_secret(output, made, json_wanted)

    output.run(work())


@triggers.command(name="delete")
@click.argument("trigger_id")
@click.pass_obj
def delete_trigger(output: Output, trigger_id: str) -> None:
    """Deletes a trigger: its address is unknown from then on. Executions that it has started go on."""

    async def work() -> None:
        async with output.client() as client:
            await client.triggers.delete(trigger_id)
        output.line(f"deleted {trigger_id}")

    output.run(work())


def _switch(output: Output, trigger_id: str, *, disabled: bool) -> None:
    async def work() -> None:
        async with output.client() as client:
            await client.triggers.update(trigger_id, disabled=disabled)
        output.line(f"{'disabled' if disabled else 'enabled'} {trigger_id}")

    output.run(work())


def _tell_secret(output: Output, made: NewTrigger, json_wanted: bool) -> None:
    secret = made.secret.get_secret_value()
    if json_wanted:
        output.json({"trigger": made.record, "secret": secret})
        return
    click.echo(f"Trigger {made.record.id}: senders post to {made.record.path}", err=True)
    if not secret:
        click.echo(f"Its secret is in credential {made.record.secret_credential_id}.", err=True)
        return
    click.echo("Its secret is shown this once:", err=True)
    # Alone on standard output, for `blockyard triggers create ... > secret`.
    click.echo(secret)


def _conditions(pairs: tuple[str, ...]) -> dict[str, object]:
    wanted: dict[str, object] = {}
    for pair in pairs:
        place, equals, text = pair.partition("=")
        if not equals or not place:
            raise click.BadParameter(f"{pair!r} is not of the form PLACE=VALUE", param_hint="--where")
        try:
            wanted[place] = parse_json("--where", text)
        except click.BadParameter:
            wanted[place] = text
    return wanted


def _what(trigger: TriggerRecord) -> str:
    preset = f"preset {trigger.preset_id}" if trigger.preset_id else ""
    graph = f"graph {trigger.graph_id}" if trigger.graph_id else ""
    version = f" version {trigger.graph_version}" if trigger.graph_version else ""
    return ", ".join(filter(None, [graph + version if graph else "", preset]))


def _state(trigger: TriggerRecord) -> str:
    if trigger.secret_lost:
        return "its secret is lost: rotate it"
    return "disabled" if trigger.disabled else "enabled"


def _secret(trigger: TriggerRecord) -> str:
    if trigger.secret_credential_id:
        return f"in credential {trigger.secret_credential_id}"
    until = trigger.previous_secret_expires
    kept = f"; the one before is valid until {when(until)}" if until else ""
    return f"number {trigger.secret_generation}{kept}"
