"""`blockyard notifications`: what one is told by e-mail."""

import calendar
from collections.abc import Callable

import click

from blockyard.cli.output import Output, as_json
from blockyard.client import MailFrequency, MailKind, NotificationPreferences

DAYS = [name.lower() for name in calendar.day_name]
FREQUENCIES = [one.name.lower() for one in MailFrequency]
OPTIONS = {
    "finished": MailKind.EXECUTION_FINISHED,
    "failed": MailKind.EXECUTION_FAILED,
    "waiting": MailKind.WAITING_FOR_YOU,
    "low-balance": MailKind.LOW_BALANCE,
    "credential-revoked": MailKind.CREDENTIAL_REVOKED,
    "webhook-disabled": MailKind.WEBHOOK_DISABLED,
    "schedule-paused": MailKind.SCHEDULE_PAUSED,
    "submission-reviewed": MailKind.SUBMISSION_REVIEWED,
}
"""Kinds by the name of their option."""


def _kinds(command: Callable[..., None]) -> Callable[..., None]:
    """An option for each kind."""
    for option, kind in reversed(OPTIONS.items()):
        help = kind.name.replace("_", " ").capitalize() + "."
        command = click.option(f"--{option}", type=click.Choice(FREQUENCIES), help=help)(command)
    return command


@click.group()
def notifications() -> None:
    """Shows and sets what you are told by e-mail."""


@notifications.command(name="show")
@as_json
@click.pass_obj
def show_preferences(output: Output, json_wanted: bool) -> None:
    """Shows how often mails of each kind are sent."""

    async def work() -> None:
        async with output.client() as client:
            found = await client.notifications.get()
        _tell(output, found, json_wanted)

    output.run(work())


@notifications.command(name="set")
@_kinds
@click.option("--hour", type=click.IntRange(0, 23), help="Hour of digests, in the time zone of your account.")
@click.option("--day", type=click.Choice(DAYS), help="Day of the weekly digest.")
@click.option("--all", "everything", type=click.Choice(FREQUENCIES), help="Every kind that is not named.")
@as_json
@click.pass_obj
def set_preferences(
    output: Output, /, hour: int | None, day: str | None, everything: str | None, json_wanted: bool, **kinds: str | None
) -> None:
    """Sets how often mails of kinds are sent; what is not named stays."""
    chosen = {kind: kinds[option.replace("-", "_")] or everything for option, kind in OPTIONS.items()}
    mails = {kind: MailFrequency[word.upper()] for kind, word in chosen.items() if word is not None}
    if not mails and hour is None and day is None:
        raise click.UsageError("Say what to set, for example --failed daily or --hour 7.")

    async def work() -> None:
        async with output.client() as client:
            number = DAYS.index(day) + 1 if day is not None else None
            found = await client.notifications.update(mails or None, digest_hour=hour, digest_day=number)
        _tell(output, found, json_wanted)

    output.run(work())


def _tell(output: Output, found: NotificationPreferences, json_wanted: bool) -> None:
    if json_wanted:
        shown = {kind.name: frequency.name for kind, frequency in found.mails.items()}
        times = {"digest_hour": found.digest_hour, "digest_day": found.digest_day}
        output.json(
            {"mails": shown, **times, "mail_enabled": found.mail_enabled, "address_refusal": found.address_refusal}
        )
        return
    rows = [[option, found.mails[kind].name.lower()] for option, kind in OPTIONS.items() if kind in found.mails]
    output.table(["MAILS", "HOW OFTEN"], rows, "")
    click.echo(f"Digests at {found.digest_hour}:00, weekly ones on {DAYS[found.digest_day - 1].capitalize()}.")
    if not found.mail_enabled:
        click.echo("This installation sends no mails: its operator has set no mail server.", err=True)
    if found.address_refusal:
        click.echo(f"Nothing is sent to your address any more: {found.address_refusal}", err=True)
