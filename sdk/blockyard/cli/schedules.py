"""`blockyard schedules`: starts that come by the clock."""

import json
from datetime import datetime
from typing import get_args
from zoneinfo import ZoneInfo

import click

from blockyard.cli.inputs import credentials_option, parse_credentials, parse_inputs, parse_labels, with_hints
from blockyard.cli.listing import first, limit_option, page_size
from blockyard.cli.output import Output, as_json, when
from blockyard.cli.presets import input_options
from blockyard.cli.times import future
from blockyard.client.schedule_records import CatchUpPolicy, FiringRecord, OverlapPolicy, ScheduleRecord
from blockyard.errors import InvalidArgument

count_option = click.option(
    "-n", "--count", default=5, show_default=True, type=click.IntRange(1, 100), help="How many of the next times."
)


@click.group()
def schedules() -> None:
    """Makes, lists, shows, changes, pauses, resumes and deletes schedules."""


@schedules.command(name="create")
@click.argument("cron")
@click.argument("graph_id", default="", required=False)
@input_options[0]
@input_options[1]
@credentials_option
@click.option("--preset", default="", metavar="ID", help="A preset; the graph may then be left out.")
@click.option("--version", default=0, type=click.IntRange(0), metavar="N", help="By default the active one of then.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label of the executions.")
@click.option("--name", default="", metavar="TEXT", help="A name for it.")
@click.option("--zone", "time_zone", default="UTC", show_default=True, metavar="ZONE", help="Such as Europe/Berlin.")
@click.option("--jitter", "jitter_seconds", default=0, type=click.IntRange(0), metavar="SECONDS", help="At most.")
@click.option("--from", "start", metavar="TIME", help="Nothing is due before: 2027-01-31, 2027-01-31T12:00 or 90d.")
@click.option("--until", "end", metavar="TIME", help="Nothing is due after.")
@click.option(
    "--overlap",
    default="skip",
    show_default=True,
    type=click.Choice(get_args(OverlapPolicy)),
    help="What becomes of a due time while an execution of it runs.",
)
@click.option("--queue-limit", default=0, type=click.IntRange(0), metavar="N", help="How many wait; by default 10.")
@click.option(
    "--catch-up",
    default="none",
    show_default=True,
    type=click.Choice(get_args(CatchUpPolicy)),
    help="What becomes of due times that nobody was there to start.",
)
@click.option("--catch-up-limit", default=0, type=click.IntRange(0), metavar="N", help="How many; by default 10.")
@click.option("--dry-run", is_flag=True, help="Check it and show its next times only.")
@as_json
@click.pass_obj
def create_schedule(
    output: Output,
    cron: str,
    graph_id: str,
    pairs: tuple[str, ...],
    inputs_file: str | None,
    credential_pairs: tuple[str, ...],
    preset: str,
    version: int,
    labels: tuple[str, ...],
    name: str,
    time_zone: str,
    jitter_seconds: int,
    start: str | None,
    end: str | None,
    overlap: OverlapPolicy,
    queue_limit: int,
    catch_up: CatchUpPolicy,
    catch_up_limit: int,
    dry_run: bool,
    json_wanted: bool,
) -> None:
    """Starts the graph GRAPH_ID, or a preset, whenever CRON is due: "30 6 * * 1-5" is 6:30 from Monday to Friday."""
    inputs, credentials = parse_inputs(pairs, inputs_file), parse_credentials(credential_pairs)
    if not graph_id and not preset:
        raise click.UsageError("say what is started: the id of a graph, or --preset")

    async def work() -> None:
        async with output.client() as client:
            try:
                schedule = await client.schedules.create(
                    cron,
                    graph_id,
                    inputs,
                    name=name,
                    time_zone=time_zone,
                    preset=preset,
                    version=version,
                    labels=parse_labels(labels),
                    credentials=credentials,
                    jitter_seconds=jitter_seconds,
                    start=future("--from", start) if start else None,
                    end=future("--until", end) if end else None,
                    overlap=overlap,
                    queue_limit=queue_limit,
                    catch_up=catch_up,
                    catch_up_limit=catch_up_limit,
                    validate_only=dry_run,
                )
            except InvalidArgument as error:
                raise with_hints(error, pairs) from error
        if json_wanted:
            output.json(schedule)
            return
        output.line("it would be due at" if dry_run else f"created {schedule.id}, due at")
        _show_next(output, schedule)

    output.run(work())


@schedules.command(name="list")
@click.option("--graph", "graph_id", default="", metavar="ID", help="Of this graph alone.")
@limit_option
@as_json
@click.pass_obj
def list_schedules(output: Output, graph_id: str, limit: int, json_wanted: bool) -> None:
    """Lists your schedules, newest first."""

    async def work() -> None:
        async with output.client() as client:
            found = await first(client.schedules.list(graph_id=graph_id, page_size=page_size(limit)), limit)
        if json_wanted:
            output.json(found)
            return
        rows = [
            [one.id, one.name, one.state.name, one.cron, one.time_zone, _in_zone(one, *one.next_times[:1]), _what(one)]
            for one in found
        ]
        headers = ["ID", "NAME", "STATE", "CRON", "ZONE", "NEXT", "STARTS"]
        output.table(headers, rows, 'You have no schedules yet: `blockyard schedules create "30 6 * * 1-5" GRAPH_ID`.')

    output.run(work())


@schedules.command(name="show")
@click.argument("schedule_id")
@as_json
@click.pass_obj
def show_schedule(output: Output, schedule_id: str, json_wanted: bool) -> None:
    """Shows a schedule, when it is due next, and what became of its last due times."""

    async def work() -> None:
        async with output.client() as client:
            schedule = await client.schedules.get(schedule_id)
        if json_wanted:
            output.json(schedule)
        else:
            _show(output, schedule)

    output.run(work())


@schedules.command(name="next")
@click.argument("schedule_id")
@count_option
@as_json
@click.pass_obj
def next_times(output: Output, schedule_id: str, count: int, json_wanted: bool) -> None:
    """Shows when a schedule is due next, in its time zone."""

    async def work() -> None:
        async with output.client() as client:
            schedule = await client.schedules.get(schedule_id, next_times=count)
        if json_wanted:
            output.json(schedule.next_times)
        else:
            _show_next(output, schedule)

    output.run(work())


@schedules.command(name="update")
@click.argument("schedule_id")
@click.option("--name", metavar="TEXT", help="A new name.")
@click.option("--cron", metavar="CRON", help="When it is due.")
@click.option("--zone", "time_zone", metavar="ZONE", help="Such as Europe/Berlin.")
@click.option("--jitter", "jitter_seconds", type=click.IntRange(0), metavar="SECONDS", help="At most.")
@click.option(
    "--overlap",
    type=click.Choice(get_args(OverlapPolicy)),
    help="What becomes of a due time while an execution of it runs.",
)
@click.option("--queue-limit", type=click.IntRange(1), metavar="N", help="How many wait.")
@click.option(
    "--catch-up",
    type=click.Choice(get_args(CatchUpPolicy)),
    help="What becomes of due times that nobody was there to start.",
)
@click.option("--catch-up-limit", type=click.IntRange(1), metavar="N", help="How many.")
@as_json
@click.pass_obj
def update_schedule(
    output: Output,
    schedule_id: str,
    name: str | None,
    cron: str | None,
    time_zone: str | None,
    jitter_seconds: int | None,
    overlap: OverlapPolicy | None,
    queue_limit: int | None,
    catch_up: CatchUpPolicy | None,
    catch_up_limit: int | None,
    json_wanted: bool,
) -> None:
    """Changes a schedule. What it starts stays: make another one for that."""
    given = (name, cron, time_zone, jitter_seconds, overlap, queue_limit, catch_up, catch_up_limit)
    if all(one is None for one in given):
        raise click.UsageError("nothing to change: give a name, a cron, a zone or another option")

    async def work() -> None:
        async with output.client() as client:
            schedule = await client.schedules.update(
                schedule_id,
                name=name,
                cron=cron,
                time_zone=time_zone,
                jitter_seconds=jitter_seconds,
                overlap=overlap,
                queue_limit=queue_limit,
                catch_up=catch_up,
                catch_up_limit=catch_up_limit,
            )
        if json_wanted:
            output.json(schedule)
            return
        output.line(f"updated {schedule_id}, due at")
        _show_next(output, schedule)

    output.run(work())


@schedules.command(name="pause")
@click.argument("schedule_id")
@click.pass_obj
def pause_schedule(output: Output, schedule_id: str) -> None:
    """Nothing is started until it is resumed; due times that wait are skipped."""

    async def work() -> None:
        async with output.client() as client:
            await client.schedules.pause(schedule_id)
        output.line(f"paused {schedule_id}")

    output.run(work())


@schedules.command(name="resume")
@click.argument("schedule_id")
@click.pass_obj
def resume_schedule(output: Output, schedule_id: str) -> None:
    """It goes on with the next due time; what passed meanwhile is not made up for."""

    async def work() -> None:
        async with output.client() as client:
            schedule = await client.schedules.resume(schedule_id)
        output.line(f"resumed {schedule_id}, due at")
        _show_next(output, schedule)

    output.run(work())


@schedules.command(name="delete")
@click.argument("schedule_id")
@click.pass_obj
def delete_schedule(output: Output, schedule_id: str) -> None:
    """Deletes a schedule. Executions that it has started go on."""

    async def work() -> None:
        async with output.client() as client:
            await client.schedules.delete(schedule_id)
        output.line(f"deleted {schedule_id}")

    output.run(work())


def _show(output: Output, schedule: ScheduleRecord) -> None:
    limits = {"queue": f", {schedule.queue_limit} at most"}
    output.fields(
        [
            ("id", schedule.id),
            ("name", schedule.name),
            ("state", schedule.state.name + (f": {schedule.pause_reason}" if schedule.pause_reason else "")),
            ("cron", f"{schedule.cron} ({schedule.time_zone})"),
            ("jitter", f"{schedule.jitter_seconds} s" if schedule.jitter_seconds else ""),
            ("starts", _what(schedule)),
            ("overlap", schedule.overlap + limits.get(schedule.overlap, "")),
            ("catch-up", schedule.catch_up + (f", {schedule.catch_up_limit} at most" * (schedule.catch_up == "all"))),
            ("from", when(schedule.start)),
            ("until", when(schedule.end)),
            ("next", _in_zone(schedule, *schedule.next_times)),
        ]
    )
    output.line()
    rows = [[name, json.dumps(value, ensure_ascii=False)] for name, value in schedule.inputs.items()]
    rows += [[f"credentials {name}", value] for name, value in schedule.credentials.items()]
    output.table(["INPUT", "VALUE"], rows, "It gives no inputs.")
    output.line()
    fired = [[_due(schedule, one), one.status.name, one.execution_id or one.reason] for one in schedule.firings]
    output.table(["DUE", "WHAT CAME OF IT", "EXECUTION OR REASON"], fired, "It has not been due yet.")


def _show_next(output: Output, schedule: ScheduleRecord) -> None:
    for time in schedule.next_times:
        output.line(_in_zone(schedule, time))
    if not schedule.next_times:
        output.line(f"Nothing is due: it is {schedule.state.name}.", "dim")


def _what(schedule: ScheduleRecord) -> str:
    if schedule.preset_id:
        return f"preset {schedule.preset_id}"
    return f"{schedule.graph_id}, version {schedule.graph_version or 'active'}"


def _due(schedule: ScheduleRecord, firing: FiringRecord) -> str:
    if firing.due is None:
        return ""
    through = f" and {firing.due_times - 1} more" if firing.due_times > 1 else ""
    return _in_zone(schedule, firing.due) + through


def _in_zone(schedule: ScheduleRecord, *times: datetime) -> str:
    """Times as the clocks of the schedule's zone show them."""
    zone = ZoneInfo(schedule.time_zone)
    return ", ".join(time.astimezone(zone).strftime("%Y-%m-%d %H:%M %z") for time in times)
