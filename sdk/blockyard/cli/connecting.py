"""`blockyard credentials connect`: an account of a provider of OAuth 2, by way of the browser."""

import asyncio
import os
import sys
import webbrowser

import click

from blockyard.cli.loopback import listening
from blockyard.cli.output import Output, as_json
from blockyard.client import CredentialRecord


@click.command(name="connect")
@click.argument("provider")
@click.option(
    "--scope", "scopes", multiple=True, metavar="SCOPE", help="A scope to ask for; by default the usual ones."
)
@click.option("--title", default="", help="Name for it; by default the account's.")
@click.option("--credential", "credential_id", default="", metavar="ID", help="Give this one further scopes.")
@click.option("--no-browser", is_flag=True, help="Only print the address to open.")
@click.option(
    "--redirect-port",
    default=0,
    type=click.IntRange(0, 65_535),
    metavar="PORT",
    help="Port of 127.0.0.1 that the provider sends the browser to; by default a free one.",
)
@click.option(
    "--wait",
    "seconds",
    default=300.0,
    show_default=True,
    type=click.FloatRange(1, 600),
    metavar="SECONDS",
    help="How long to wait for the browser.",
)
@as_json
@click.pass_obj
def connect_account(
    output: Output,
    provider: str,
    scopes: tuple[str, ...],
    title: str,
    credential_id: str,
    no_browser: bool,
    redirect_port: int,
    seconds: float,
    json_wanted: bool,
) -> None:
    """Connects an account of PROVIDER by OAuth 2, with your browser.

    The browser must reach 127.0.0.1 of this machine. From another one, choose a --redirect-port and forward it:
    `ssh -L PORT:127.0.0.1:PORT`.
    """

    async def work() -> CredentialRecord:
        async with output.client() as client, listening(redirect_port) as callback:
            authorization = await client.credentials.connect(
                provider, callback.redirect_uri, scopes=scopes, title=title, credential_id=credential_id
            )
            callback.expect(authorization.state)
            click.echo(f"Open this address in your browser:\n\n  {authorization.url}\n", err=True)
            if not no_browser and _has_browser():
                await asyncio.to_thread(webbrowser.open, authorization.url)
            click.echo("Waiting for the browser to come back... (Ctrl-C gives up)", err=True)
            returned = await callback.wait(seconds)
            return await client.credentials.complete(
                authorization.state, returned.code, error=returned.error, issuer=returned.issuer
            )

    credential = output.run(work())
    if json_wanted:
        output.json(credential)
        return
    account = f" of {credential.account_name}" if credential.account_name else ""
    output.line(f"connected {credential.provider}{account}: {credential.id}")


def _has_browser() -> bool:
    """True on a desktop. Elsewhere a browser for terminals would take this one over."""
    if sys.platform in ("darwin", "win32"):
        return True
    return sys.stdout.isatty() and any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
