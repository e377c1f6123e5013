"""`blockyard keys`: API keys, for programs."""

import click

from blockyard.cli.listing import first, limit_option, page_size
from blockyard.cli.output import Output, as_json, when
from blockyard.cli.times import future
from blockyard.client import ApiKeyRecord
from blockyard.client.account_records import PERMISSIONS


@click.group()
def keys() -> None:
    """Makes, lists and revokes API keys. BLOCKYARD_TOKEN takes a key as it takes a token."""


@keys.command(name="create")
@click.argument("name")
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    type=click.Choice(list(PERMISSIONS)),
    metavar="NAME",
    help="What it may do, such as read_graphs; by default all that you may.",
)
@click.option("--expires", default="", metavar="WHEN", help="A date, or a span from now such as 90d; by default never.")
@as_json
@click.pass_obj
def create_key(output: Output, name: str, permissions: tuple[str, ...], expires: str, json_wanted: bool) -> None:
    """Makes an API key and prints it, this once."""
    expiry = future("--expires", expires) if expires else None

    async def work() -> None:
        async with output.client() as client:
            made = await client.account.create_key(name, permissions=permissions, expires=expiry)
        key = made.key.get_secret_value()
        if json_wanted:
            output.json({"api_key": made.record, "key": key})
            return
        # The key alone on standard output, for `blockyard keys create ci > key`.
        click.echo(f"API key {made.record.id}. It is shown this once; revoke it with\n", err=True, nl=False)
        click.echo(f"  blockyard keys revoke {made.record.id}", err=True)
        click.echo(key)

    output.run(work())


@keys.command(name="list")
@click.option("--user", "user_id", default="", metavar="ID", help="Whose; for administrators.")
@limit_option
@as_json
@click.pass_obj
def list_keys(output: Output, user_id: str, limit: int, json_wanted: bool) -> None:
    """Lists API keys, newest first, without the keys."""

    async def work() -> None:
        async with output.client() as client:
            found = await first(client.account.list_keys(user_id=user_id, page_size=page_size(limit)), limit)
        if json_wanted:
            output.json(found)
            return
        rows = [[k.id, k.name, k.prefix, when(k.last_used), _end(k), ", ".join(k.permissions)] for k in found]
        headers = ["ID", "NAME", "PREFIX", "LAST USED", "ENDS", "PERMISSIONS"]
        output.table(headers, rows, "No API keys yet: `blockyard keys create NAME`.")

    output.run(work())


@keys.command(name="revoke")
@click.argument("api_key_id")
@as_json
@click.pass_obj
def revoke_key(output: Output, api_key_id: str, json_wanted: bool) -> None:
    """Revokes an API key, by its id as `keys list` gives it. Within 5 seconds nobody can call with it."""

    async def work() -> None:
        async with output.client() as client:
            revoked = await client.account.revoke_key(api_key_id)
        if json_wanted:
            output.json(revoked)
        else:
            output.line(f"revoked {revoked.id} ({revoked.name})")

    output.run(work())


def _end(key: ApiKeyRecord) -> str:
    return f"revoked {when(key.revoked)}" if key.revoked else when(key.expires)
