"""`blockyard credentials`: what unlocks things outside, kept in the vault."""

from datetime import datetime

import click

from blockyard.cli.connecting import connect_account
from blockyard.cli.listing import first, limit_option, page_size
from blockyard.cli.output import Output, as_json, when
from blockyard.cli.secret_input import read_headers, read_secret, secret_file_option
from blockyard.cli.times import future
from blockyard.client import (
    ApiKeySecret,
    CredentialRecord,
    CredentialState,
    CredentialType,
    HostHeadersSecret,
    TestVerdict,
    UserPasswordSecret,
)
from blockyard.client.credential_records import CredentialSecret
from blockyard.client.credentials import UNCHANGED, Unchanged
from blockyard.errors import BlockyardError, CredentialInUse

TYPES = [one.name.lower() for one in CredentialType if one.value > 0]
KEPT = [name for name in TYPES if name != "oauth2"]

header_option = click.option(
    "--header", "headers", multiple=True, metavar="NAME", help="A header; its value is asked for."
)


@click.group()
def credentials() -> None:
    """Keeps, lists, tests, connects and deletes credentials. Secrets go into the vault; nothing shows them again."""


credentials.add_command(connect_account)


@credentials.command(name="add")
@click.argument("provider")
@click.option("--title", required=True, help="Name for it.")
@click.option("--type", "kind", default="api_key", show_default=True, type=click.Choice(KEPT), help="Its kind.")
@click.option("--username", default="", help="With user_password: the user name.")
@click.option("--host", default="", help="With host_scoped: api.example.com or *.example.com, either with :PORT.")
@header_option
@click.option("--expires", default="", metavar="WHEN", help="A date, or a span from now such as 90d.")
@secret_file_option
@as_json
@click.pass_obj
def add_credential(
    output: Output,
    provider: str,
    title: str,
    kind: str,
    username: str,
    host: str,
    headers: tuple[str, ...],
    expires: str,
    secret_file: str | None,
    json_wanted: bool,
) -> None:
    """Keeps a secret for PROVIDER. It is asked for without an echo, or read with --secret-file."""
    expiry = future("--expires", expires) if expires else None
    _refuse_strangers(kind, username, host, headers)
    secret = _read(kind, username, host, headers, secret_file)

    async def work() -> None:
        async with output.client() as client:
            credential = await client.credentials.create(provider, secret, title=title, expires=expiry)
        _tell(output, "kept", credential, json_wanted)

    output.run(work())


@credentials.command(name="list")
@click.option("--provider", default="", help="Only of this provider.")
@click.option(
    "--type", "kind", default="", type=click.Choice(["", *TYPES]), show_choices=False, help="Only of this kind."
)
@limit_option
@as_json
@click.pass_obj
def list_credentials(output: Output, provider: str, kind: str, limit: int, json_wanted: bool) -> None:
    """Lists your credentials, newest first."""
    wanted = CredentialType[kind.upper()] if kind else CredentialType.UNSPECIFIED

    async def work() -> None:
        async with output.client() as client:
            pages = client.credentials.list(provider=provider, type=wanted, page_size=page_size(limit))
            found = await first(pages, limit)
        if json_wanted:
            output.json(found)
            return
        rows = [
            [c.id, c.provider, c.type.name.lower(), c.title, c.state.name.lower(), when(c.last_used)] for c in found
        ]
        empty = "You have no credentials yet: `blockyard credentials add PROVIDER --title NAME`."
        output.table(["ID", "PROVIDER", "TYPE", "TITLE", "STATE", "LAST USED"], rows, empty)

    output.run(work())


@credentials.command(name="show")
@click.argument("credential_id")
@as_json
@click.pass_obj
def show_credential(output: Output, credential_id: str, json_wanted: bool) -> None:
    """Shows all of a credential but its secret."""

    async def work() -> None:
        async with output.client() as client:
            credential = await client.credentials.get(credential_id)
        if json_wanted:
            output.json(credential)
        else:
            _show(output, credential)

    output.run(work())


@credentials.command(name="update")
@click.argument("credential_id")
@click.option("--title", help="A new name.")
@click.option("--expires", metavar="WHEN", help="A new expiry, a date or a span such as 90d; `never` takes it away.")
@click.option("--secret", "replace", is_flag=True, help="Replace the secret: it is asked for.")
@click.option("--username", default="", help="With user_password: the new user name; by default the old one.")
@click.option("--host", default="", help="With host_scoped: the new host; by default the old one.")
@header_option
@secret_file_option
@as_json
@click.pass_obj
def update_credential(
    output: Output,
    credential_id: str,
    title: str | None,
    expires: str | None,
    replace: bool,
    username: str,
    host: str,
    headers: tuple[str, ...],
    secret_file: str | None,
    json_wanted: bool,
) -> None:
    """Changes title or expiry, or replaces the secret. Runs that have the old secret keep it."""
    replaced = replace or secret_file is not None
    if not replaced and (username or host or headers):
        raise click.UsageError("--username, --host and --header are parts of a secret: give --secret or --secret-file")
    if title is None and expires is None and not replaced:
        raise click.UsageError("say what is to change: --title, --expires, --secret or --secret-file")
    expiry = _changed_expiry(expires)

    async def known() -> CredentialRecord:
        async with output.client() as client:
            return await client.credentials.get(credential_id)

    secret, version = None, 0
    if replaced:
        old = output.run(known())
        # Not within a loop of asyncio, which would keep the first Ctrl-C from the prompt.
        secret, version = _replacement(old, username, host, headers, secret_file), old.version

    async def work() -> None:
        async with output.client() as client:
            credential = await client.credentials.update(
                credential_id, title=title, secret=secret, expires=expiry, version=version
            )
        _tell(output, "updated", credential, json_wanted)

    output.run(work())


@credentials.command(name="delete")
@click.argument("credential_id")
@click.option("--force", is_flag=True, help="Delete it though it is in use: the nodes that name it fail.")
@as_json
@click.pass_obj
def delete_credential(output: Output, credential_id: str, force: bool, json_wanted: bool) -> None:
    """Deletes a credential. One that graphs or executions name is refused, with the places."""

    async def work() -> None:
        async with output.client() as client:
            try:
                uses = await client.credentials.delete(credential_id, force=force)
            except CredentialInUse as error:
                message = f"{error.message.rstrip('.')}. --force deletes it all the same."
                raise CredentialInUse(message, reason=error.reason, violations=error.violations) from error
        if json_wanted:
            output.json({"credential_id": credential_id, "uses": uses})
            return
        output.line(f"deleted {credential_id}")
        for use in uses:
            output.line(f"was used by {use}")

    output.run(work())


@credentials.command(name="test")
@click.argument("credential_id")
@as_json
@click.pass_obj
def test_credential(output: Output, credential_id: str, json_wanted: bool) -> None:
    """Asks the provider whether it takes a credential. Ends with 1 if it does not."""

    async def work() -> None:
        async with output.client() as client:
            tested = await client.credentials.test(credential_id)
        if json_wanted:
            output.json(tested)
        elif tested.verdict is not TestVerdict.INVALID:
            known = "valid" if tested.verdict is TestVerdict.VALID else "not known"
            output.line(f"{known}: {tested.message}" if tested.message else known)
        if tested.verdict is TestVerdict.INVALID:
            raise BlockyardError(f"the credential is not valid: {tested.message}")

    output.run(work())


@credentials.command(name="providers")
@as_json
@click.pass_obj
def list_providers(output: Output, json_wanted: bool) -> None:
    """Lists the providers that the vault is configured for."""

    async def work() -> None:
        async with output.client() as client:
            found = await client.credentials.providers()
        if json_wanted:
            output.json(found)
            return
        rows = [
            [
                one.name,
                one.title,
                ", ".join(kind.name.lower() for kind in one.types),
                "yes" if one.oauth_configured else "",
                "yes" if one.testable else "",
            ]
            for one in found
        ]
        output.table(["PROVIDER", "TITLE", "TYPES", "CONNECT", "TEST"], rows, "No providers.")

    output.run(work())


def _refuse_strangers(kind: str, username: str, host: str, headers: tuple[str, ...]) -> None:
    """Options of another kind are mistakes, and those of this one must be there."""
    if (kind == "user_password") != bool(username):
        raise click.UsageError("--username is for --type user_password, which needs it")
    if (kind == "host_scoped") != bool(host):
        raise click.UsageError("--host is for --type host_scoped, which needs it")
    if headers and kind != "host_scoped":
        raise click.UsageError("--header is for --type host_scoped")


def _read(kind: str, username: str, host: str, headers: tuple[str, ...], file: str | None) -> CredentialSecret:
    if kind == "user_password":
        return UserPasswordSecret(username, read_secret("Password", file))
    if kind == "host_scoped":
        return HostHeadersSecret(host, read_headers(headers, file))
    return ApiKeySecret(read_secret("API key", file))


def _replacement(
    old: CredentialRecord, username: str, host: str, headers: tuple[str, ...], file: str | None
) -> CredentialSecret:
    """A new secret of the kind of the old one, whose names stay where no others are given."""
    if old.type is CredentialType.OAUTH2:
        raise BlockyardError(f"connect it again: blockyard credentials connect {old.provider} --credential {old.id}")
    kind = old.type.name.lower()
    if kind == "user_password":
        username = username or old.account_name
    if kind == "host_scoped":
        host, headers = host or old.host, headers or (() if file else old.header_names)
    _refuse_strangers(kind, username, host, headers)
    return _read(kind, username, host, headers, file)


def _changed_expiry(text: str | None) -> datetime | Unchanged | None:
    if text is None:
        return UNCHANGED
    return None if text == "never" else future("--expires", text)


def _tell(output: Output, what: str, credential: CredentialRecord, json_wanted: bool) -> None:
    if json_wanted:
        output.json(credential)
    else:
        output.line(f"{what} {credential.id}")


def _show(output: Output, credential: CredentialRecord) -> None:
    is_active = credential.state is CredentialState.ACTIVE
    output.fields(
        [
            ("id", credential.id),
            ("provider", credential.provider),
            ("type", credential.type.name.lower()),
            ("title", credential.title),
            ("account", credential.account_name),
            ("scopes", " ".join(credential.scopes)),
            ("host", credential.host),
            ("headers", ", ".join(credential.header_names)),
            ("state", credential.state.name.lower()),
            ("reason", "" if is_active else credential.state_reason),
            ("version", str(credential.version)),
            ("expires", when(credential.expires)),
            ("created", when(credential.created)),
            ("updated", when(credential.updated)),
            ("last used", when(credential.last_used)),
            ("uses", f"{credential.uses:,}"),
        ]
    )
