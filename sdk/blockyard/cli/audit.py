"""`blockyard audit`: who did what, for administrators."""

import click

from blockyard.cli.listing import first, limit_option, page_size
from blockyard.cli.output import Output, as_json, when
from blockyard.cli.times import past


@click.group()
def audit() -> None:
    """Reads the audit log. For administrators."""


@audit.command(name="list")
@click.option("--actor", default="", metavar="ID", help="Only of this user or service.")
@click.option("--action", default="", metavar="TEXT", help="Only actions that begin with this.")
@click.option("--resource", default="", metavar="NAME", help="Only on this, such as credentials/ID.")
@click.option("--since", default="", metavar="WHEN", help="From this date, or a span ago such as 7d.")
@click.option("--until", default="", metavar="WHEN", help="Before this date, or a span ago.")
@limit_option
@as_json
@click.pass_obj
def list_entries(
    output: Output,
    actor: str,
    action: str,
    resource: str,
    since: str,
    until: str,
    limit: int,
    json_wanted: bool,
) -> None:
    """Lists entries, newest first."""
    start = past("--since", since) if since else None
    end = past("--until", until) if until else None

    async def work() -> None:
        async with output.client() as client:
            pages = client.audit.list(
                actor=actor, action=action, resource=resource, start=start, end=end, page_size=page_size(limit)
            )
            found = await first(pages, limit)
        if json_wanted:
            output.json(found)
            return
        rows = [[when(e.time), e.actor, _short(e.action), e.resource, e.outcome, e.address] for e in found]
        output.table(["TIME", "ACTOR", "ACTION", "RESOURCE", "OUTCOME", "ADDRESS"], rows, "No entries.")

    output.run(work())


def _short(action: str) -> str:
    """A method without its package: CredentialsService/DeleteCredential."""
    service, slash, method = action.rpartition("/")
    return f"{service.rpartition('.')[2]}/{method}" if slash else action
