"""`blockyard webhooks`: addresses that are sent what your executions do."""

from datetime import timedelta

import click

from blockyard.cli.event_filters import event_filter_options, event_kinds
from blockyard.cli.listing import first, limit_option, page_size
from blockyard.cli.output import Output, as_json, when
from blockyard.cli.times import past, span
from blockyard.client.webhooks import AttemptRecord, DeliveryRecord, DeliveryState, WebhookRecord, WebhookState


@click.group()
def webhooks() -> None:
    """Makes, lists, changes and tries webhooks: addresses that are sent what your executions do."""


@webhooks.command(name="create")
@click.argument("url")
@event_filter_options
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
@as_json
@click.pass_obj
def create_webhook(
    output: Output,
    url: str,
    graphs: tuple[str, ...],
    executions: tuple[str, ...],
    kinds: tuple[str, ...],
    description: str,
    json_wanted: bool,
) -> None:
    """Makes a webhook to URL and shows its secret, which is not shown again. It is sent what happens from now on."""

    async def work() -> None:
        async with output.client() as client:
            made, secret = await client.webhooks.create(
                url, graphs=graphs, executions=executions, kinds=event_kinds(kinds), description=description
            )
        if json_wanted:
            output.json({"webhook": made, "secret": secret})
        else:
            output.line(f"created {made.id}")
            output.line(f"secret  {secret}")
            output.line("It is not shown again. Requests are verified with it: https://www.standardwebhooks.com", "dim")

    output.run(work())


@webhooks.command(name="list")
@limit_option
@as_json
@click.pass_obj
def list_webhooks(output: Output, limit: int, json_wanted: bool) -> None:
    """Lists your webhooks, newest first."""

    async def work() -> None:
        async with output.client() as client:
            found = await first(client.webhooks.list(page_size=page_size(limit)), limit)
        if json_wanted:
            output.json(found)
            return
        rows = [[one.id, one.url, one.state.name, str(one.pending), when(one.last_success)] for one in found]
        headers = ["ID", "URL", "STATE", "WAITING", "LAST SUCCESS"]
        output.table(headers, rows, "You have no webhooks yet: `blockyard webhooks create URL`.")

    output.run(work())


@webhooks.command(name="show")
@click.argument("webhook_id")
@as_json
@click.pass_obj
def show_webhook(output: Output, webhook_id: str, json_wanted: bool) -> None:
    """Shows a webhook, and how it is doing."""

    async def work() -> None:
        async with output.client() as client:
            _show(output, await client.webhooks.get(webhook_id), json_wanted)

    output.run(work())


@webhooks.command(name="update")
@click.argument("webhook_id")
@click.option("--url", metavar="URL", help="Another address.")
@click.option("--description", metavar="TEXT", help="A new description.")
@click.option(
    "--state", type=click.Choice([one.name.lower() for one in WebhookState], case_sensitive=False), help="A new state."
)
@event_filter_options
@click.option("--all-events", is_flag=True, help="No filter any more.")
@as_json
@click.pass_obj
def update_webhook(
    output: Output,
    webhook_id: str,
    url: str | None,
    description: str | None,
    state: str | None,
    graphs: tuple[str, ...],
    executions: tuple[str, ...],
    kinds: tuple[str, ...],
    all_events: bool,
    json_wanted: bool,
) -> None:
    """Changes a webhook. A filter that is given replaces all of the one before."""
    filtered = bool(graphs or executions or kinds)
    if all_events and filtered:
        raise click.UsageError("--all-events goes with no filter")
    replaced = filtered or all_events
    if not replaced and url is None and description is None and state is None:
        raise click.UsageError("nothing to change: give an address, a description, a state or a filter")

    async def work() -> None:
        async with output.client() as client:
            changed = await client.webhooks.update(
                webhook_id,
                url=url,
                description=description,
                state=WebhookState[state.upper()] if state else None,
                graphs=graphs if replaced else None,
                executions=executions if replaced else None,
                kinds=event_kinds(kinds) if replaced else None,
            )
        if json_wanted:
            output.json(changed)
        else:
            output.line(f"updated {changed.id}")

    output.run(work())


@webhooks.command(name="delete")
@click.argument("webhook_id")
@click.pass_obj
def delete_webhook(output: Output, webhook_id: str) -> None:
    """Deletes a webhook with what waits for it."""

    async def work() -> None:
        async with output.client() as client:
            await client.webhooks.delete(webhook_id)
        output.line(f"deleted {webhook_id}")

    output.run(work())


@webhooks.command(name="rotate")
@click.argument("webhook_id")
@click.option(
    "--overlap", default="1d", show_default=True, metavar="SPAN", help="The secret before signs too for so long."
)
@as_json
@click.pass_obj
def rotate_secret(output: Output, webhook_id: str, overlap: str, json_wanted: bool) -> None:
    """Gives a webhook a new secret and shows it; it is not shown again."""
    live: timedelta = span("--overlap", overlap)

    async def work() -> None:
        async with output.client() as client:
            secret = await client.webhooks.rotate(webhook_id, live)
            if json_wanted:
                output.json({"webhook": await client.webhooks.get(webhook_id), "secret": secret})
            else:
                output.line(secret)

    output.run(work())


@webhooks.command(name="deliveries")
@click.argument("webhook_id")
@click.option(
    "--state", type=click.Choice([one.name.lower() for one in DeliveryState], case_sensitive=False), help="Only these."
)
@limit_option
@as_json
@click.pass_obj
def list_deliveries(output: Output, webhook_id: str, state: str | None, limit: int, json_wanted: bool) -> None:
    """Lists what a webhook was sent and will be, newest first. --json has all attempts."""

    async def work() -> None:
        wanted = DeliveryState[state.upper()] if state else None
        async with output.client() as client:
            log = client.webhooks.deliveries(webhook_id, state=wanted, page_size=page_size(limit))
            found = await first(log, limit)
        if json_wanted:
            output.json(found)
            return
        headers = ["ID", "EVENT", "TYPE", "STATE", "ATTEMPTS", "LAST ANSWER", "NEXT"]
        output.table(headers, list(map(_row, found)), "Nothing was sent yet.")

    output.run(work())


@webhooks.command(name="retry")
@click.argument("webhook_id")
@click.argument("delivery_id")
@click.pass_obj
def retry_delivery(output: Output, webhook_id: str, delivery_id: str) -> None:
    """Sends a delivery now that has failed, or waits."""

    async def work() -> None:
        async with output.client() as client:
            await client.webhooks.retry(webhook_id, delivery_id)
        output.line(f"{delivery_id} is sent again")

    output.run(work())


@webhooks.command(name="replay")
@click.argument("webhook_id")
@click.option("--since", metavar="TIME", help="What happened since then: 2h, 2027-01-31T12:00.")
@click.option("--after", default="", metavar="CURSOR", help="What happened behind a cursor, such as resume_cursor.")
@as_json
@click.pass_obj
def replay_webhook(output: Output, webhook_id: str, since: str | None, after: str, json_wanted: bool) -> None:
    """Sends again what happened since some time or place, with the same ids; `show` tells how far it is."""
    if (since is None) == (not after):
        raise click.UsageError("give one of --since and --after")
    begin = past("--since", since) if since is not None else None

    async def work() -> None:
        async with output.client() as client:
            _show(output, await client.webhooks.replay(webhook_id, after=after, since=begin), json_wanted)

    output.run(work())


@webhooks.command(name="test")
@click.argument("webhook_id")
@as_json
@click.pass_obj
def try_webhook(output: Output, webhook_id: str, json_wanted: bool) -> None:
    """Sends a ping and says what came of it; ends with 1 if it was not taken."""

    async def work() -> AttemptRecord:
        async with output.client() as client:
            return await client.webhooks.test(webhook_id)

    attempt = output.run(work())
    if json_wanted:
        output.json(attempt)
    else:
        output.line(f"{attempt.error or f'answered {attempt.status}'}, after {attempt.seconds:.3f} s")
    if attempt.error:
        raise SystemExit(1)


def _show(output: Output, webhook: WebhookRecord, json_wanted: bool) -> None:
    if json_wanted:
        output.json(webhook)
        return
    output.fields(
        [
            ("id", webhook.id),
            ("url", webhook.url),
            ("description", webhook.description),
            ("state", webhook.state.name),
            ("why", webhook.disable_message or webhook.disable_reason.lower()),
            ("graphs", ", ".join(webhook.graphs)),
            ("executions", ", ".join(webhook.executions)),
            ("kinds", ", ".join(kind.name.lower() for kind in webhook.kinds)),
            ("waiting", str(webhook.pending)),
            ("last success", when(webhook.last_success)),
            ("failing since", when(webhook.failing_since)),
            ("replay", webhook.replay),
            ("resume cursor", webhook.resume_cursor),
            ("two secrets until", when(webhook.previous_secret_expires)),
        ]
    )


def _row(delivery: DeliveryRecord) -> list[str]:
    last = delivery.attempts[-1] if delivery.attempts else None
    said = "" if last is None else last.error or str(last.status)
    return [
        delivery.id,
        delivery.event_id,
        delivery.event_type,
        delivery.state.name,
        str(last.number if last is not None else 0),
        said,
        when(delivery.next_attempt),
    ]
