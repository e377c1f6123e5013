"""`blockyard audit`: who did what, for administrators."""

import click

from blockyard.account.v1 import account_service_pb2
from blockyard.cli.listing import first, limit_option, page_size
from blockyard.cli.output import Output, as_json, when
from blockyard.cli.times import past
from blockyard.credentials.v1 import credentials_service_pb2
from blockyard.execution.v1 import execution_service_pb2
from blockyard.graph.v1 import block_service_pb2, graph_service_pb2

SERVICES = [
    service
    for file in (
        account_service_pb2,
        block_service_pb2,
        credentials_service_pb2,
        execution_service_pb2,
        graph_service_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
]
WHOLE_NAMES: dict[str, str] = {service.name: service.full_name for service in SERVICES} | {
    method.name: f"{service.full_name}/{method.name}" for service in SERVICES for method in service.methods
}
"""Of services and of their methods, whose names differ from one service to the next."""


@click.group()
def audit() -> None:
    """Reads the audit log. For administrators."""


@audit.command(name="list")
@click.option("--actor", default="", metavar="ID", help="Only of this user or service.")
@click.option("--action", default="", metavar="NAME", help="Only this method, or actions that begin with this.")
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
    """Lists entries, newest first. --json has all of each: address, API key, request id, details."""
    start = past("--since", since) if since else None
    end = past("--until", until) if until else None

    async def work() -> None:
        async with output.client() as client:
            pages = client.audit.list(
                actor=actor, action=_whole(action), resource=resource, start=start, end=end, page_size=page_size(limit)
            )
            found = await first(pages, limit)
        if json_wanted:
            output.json(found)
            return
        rows = [[when(e.time), e.actor, _short(e.action), e.outcome, e.resource] for e in found]
        output.table(["TIME", "ACTOR", "ACTION", "OUTCOME", "RESOURCE"], rows, "No entries.")

    output.run(work())


def _short(action: str) -> str:
    """A method by its name alone: DeleteCredential. Terminals have no room for more."""
    return action.rpartition("/")[2]


def _whole(action: str) -> str:
    """What is asked for as the log has it: a method or a service with its package."""
    service, slash, method = action.partition("/")
    return WHOLE_NAMES.get(service, service) + slash + method
