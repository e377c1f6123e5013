"""`blockyard admin`: the keys of the vault and the streams of NATS, for administrators."""

import asyncio
import time

import click

from blockyard.cli.output import Output, as_json, when
from blockyard.client import Client, Repair, Rotation
from blockyard.errors import BlockyardError, DeadlineExceeded, FieldViolation, Unavailable

LOOK_SECONDS = 1.0
"""Between two looks whether streams are whole."""
STANDSTILLS = 5
"""Calls in a row that wrap nothing, after which something is wrong."""


@click.group()
def admin() -> None:
    """Keeps Blockyard itself. For administrators."""


@admin.command(name="vault-keys")
@as_json
@click.pass_obj
def list_keys(output: Output, json_wanted: bool) -> None:
    """Lists the keys that wrap the secrets of the vault, newest first."""

    async def work() -> None:
        async with output.client() as client:
            found = await client.vault.list_keys()
        if json_wanted:
            output.json(found)
            return
        rows = [
            [k.id, "active" if k.active else "", f"{k.secrets:,}", "yes" if k.available else "no", when(k.created)]
            for k in found
        ]
        output.table(["ID", "STATE", "SECRETS", "USABLE", "SINCE"], rows, "No keys: no secret was kept yet.")

    output.run(work())


@admin.command(name="rotate-keys")
@click.option("--new", "create", is_flag=True, help="Make a new key first, where the keys' provider can do that.")
@click.option("--key", "key_id", default="", metavar="ID", help="Wrap by this key; by default by the active one.")
@click.option(
    "--batch", "batch_size", default=500, show_default=True, type=click.IntRange(1, 10_000), help="At a time."
)
@as_json
@click.pass_obj
def rotate_keys(output: Output, create: bool, key_id: str, batch_size: int, json_wanted: bool) -> None:
    """Wraps all secrets of the vault by another key. Reads go on meanwhile.

    Whatever breaks off, the same command without --new goes on where it was. It ends with 1 if secrets are left that
    cannot be read.
    """
    if create and key_id:
        raise click.UsageError("--new makes a key, and --key names one that is there: give one of them")
    reached: list[Rotation] = []

    async def work() -> None:
        async with output.client() as client:
            await _rotate(output, client, key_id, create, batch_size, reached, quiet=json_wanted)

    try:
        output.run(work())
    except (KeyboardInterrupt, BlockyardError):
        _say_how_to_go_on(reached, create)
        raise
    _finish(output, reached, json_wanted)


async def _rotate(
    output: Output,
    client: Client,
    key_id: str,
    create: bool,
    batch_size: int,
    reached: list[Rotation],
    *,
    quiet: bool,
) -> None:
    """Calls until nothing remains; notes each answer in `reached`."""
    standstills = 0
    while True:
        answer = await client.vault.rotate(key_id, create=create, batch_size=batch_size)
        reached.append(answer)
        key_id, create = answer.key_id, False
        if not quiet:
            done = sum(one.rewrapped for one in reached)
            click.echo(f"{done:,} wrapped by {key_id}, {answer.remaining:,} remain", err=True)
        if not answer.remaining:
            return
        standstills = 0 if answer.rewrapped else standstills + 1
        if standstills >= STANDSTILLS:
            raise BlockyardError(f"{answer.remaining:,} secrets remain, and none of them can be wrapped now")


def _say_how_to_go_on(reached: list[Rotation], create: bool) -> None:
    """What was wrapped stays so, and everything can be read, by whichever key."""
    if create and not reached:
        click.echo("A new key may have been made: `blockyard admin vault-keys` tells.", err=True)
    if reached:
        click.echo(
            f"\nThe rotation is not complete; all secrets can be read. Go on with\n"
            f"  blockyard admin rotate-keys --key {reached[-1].key_id}",
            err=True,
        )


def _finish(output: Output, reached: list[Rotation], json_wanted: bool) -> None:
    last, done = reached[-1], sum(one.rewrapped for one in reached)
    unreadable = sorted({one for answer in reached for one in answer.unreadable_credential_ids})
    if json_wanted:
        output.json({"key_id": last.key_id, "rewrapped": done, "unreadable_credential_ids": unreadable})
    else:
        output.line(f"all secrets that can be read are wrapped by {last.key_id}: {done:,} by this rotation")
    if unreadable:
        raise BlockyardError(
            f"{len(unreadable):,} credentials cannot be read, and stay as they are: restore the key that wraps them, "
            "or let their owners replace them",
            violations=[FieldViolation("", one) for one in unreadable],
        )


@admin.command()
@click.option(
    "--wait",
    "seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0),
    help="How long to wait until all is whole.",
)
@as_json
@click.pass_obj
def repair(output: Output, seconds: float, json_wanted: bool) -> None:
    """Makes the streams of NATS anew that are gone or are others than the settings say, and waits until they are whole.

    All that belongs into them is in PostgreSQL or with runners, and is sent again. It may be run at any time: where
    nothing is missing, nothing is done. It ends with 1 if something is still missing when the time is over.
    """
    done: dict[str, str] = {}
    """What became of each stream over all looks."""
    begun = time.monotonic()

    async def work() -> Repair | None:
        async with output.client() as client:
            while True:
                last = await _look(client)
                for stream in last.streams if last is not None else ():
                    if done.setdefault(stream.name, stream.repair) == "found":
                        done[stream.name] = stream.repair
                left = seconds - (time.monotonic() - begun)
                if (last is not None and last.whole) or left <= 0:
                    return last
                if not json_wanted:
                    click.echo(_missing(last), err=True)
                await asyncio.sleep(min(LOOK_SECONDS, left))

    last = output.run(work())
    if json_wanted:
        output.json({"whole": last is not None and last.whole, "repairs": done, "last": last})
    else:
        created = {one.name: when(one.created) for one in last.streams} if last is not None else {}
        for name, became in done.items():
            output.line(f"stream {name:<8} made {created.get(name, ''):<20} {_SAID.get(became, became)}")
    if last is None or not last.whole:
        raise BlockyardError(f"not whole after {seconds:g} s: {_missing(last)}; `blockyard doctor` says why")
    if not json_wanted:
        output.line(f"all is whole: {last.partitions} partitions take results, and every event is published")


_SAID = {"found": "was there", "changed": "has the right settings again", "made": "was missing"}


async def _look(client: Client) -> Repair | None:
    """None while NATS, or the execution service, is away or does not answer in time."""
    try:
        return await client.executions.repair_streams()
    except (Unavailable, DeadlineExceeded) as error:
        click.echo(str(error), err=True)
        return None


def _missing(last: Repair | None) -> str:
    if last is None:
        return "NATS or the execution service is away"
    missing = [
        f"{number:,} {what}"
        for number, what in (
            (last.unheld_partitions, "partitions are held by no replica"),
            (last.deaf_partitions, "partitions take no results yet"),
            (last.unpublished_turns, "turns have events to be published"),
        )
        if number
    ]
    return ", ".join(missing) or "streams were made, and are looked at again"
