"""`blockyard credits`: what runs may cost, and have cost."""

import click

from blockyard.cli.listing import first, limit_option, page_size
from blockyard.cli.output import Output, as_json, when
from blockyard.cli.times import past
from blockyard.client import Client, CreditsRecord, CreditTransaction

MOST_CREDITS = 2**63 - 1
"""What a message holds."""

user_option = click.option("--user", "user_id", default="", metavar="ID", help="Whose; for administrators.")


@click.group(name="credits")
def credits_group() -> None:
    """Shows credits and what they were spent on; administrators give them."""


@credits_group.command(name="show")
@user_option
@as_json
@click.pass_obj
def show_credits(output: Output, user_id: str, json_wanted: bool) -> None:
    """Shows what is left."""

    async def work() -> None:
        async with output.client() as client:
            _tell(output, await client.credits.get(user_id), json_wanted)

    output.run(work())


@credits_group.command(name="top-up")
@click.argument("user_id")
@click.argument("amount", type=click.IntRange(-MOST_CREDITS, MOST_CREDITS))
@click.option("--note", default="", metavar="TEXT", help="Why.")
@click.option("--request-id", metavar="ID", help="The same id gives once, however often the command is run.")
@as_json
@click.pass_obj
def top_up(output: Output, user_id: str, amount: int, note: str, request_id: str | None, json_wanted: bool) -> None:
    """Gives a user credits. For administrators. To take some away, write `-- USER_ID -AMOUNT`."""

    async def work() -> None:
        async with output.client() as client:
            _tell(output, await client.credits.top_up(user_id, amount, note=note, request_id=request_id), json_wanted)

    output.run(work())


@credits_group.command(name="history")
@user_option
@limit_option
@as_json
@click.pass_obj
def list_transactions(output: Output, user_id: str, limit: int, json_wanted: bool) -> None:
    """Lists what came and went, newest first."""

    async def work() -> None:
        async with output.client() as client:
            found = await first(client.credits.transactions(user_id, page_size(limit)), limit)
        if json_wanted:
            output.json(found)
            return
        rows = [[when(t.time), t.kind.name.lower(), f"{t.amount:+,}", f"{t.balance:,}", _subject(t)] for t in found]
        output.table(["TIME", "KIND", "AMOUNT", "BALANCE", "FOR"], rows, "No credits came or went.")

    output.run(work())


@credits_group.command(name="spending")
@user_option
@click.option("--since", default="", metavar="WHEN", help="From this date, or a span ago such as 7d.")
@click.option("--until", default="", metavar="WHEN", help="Before this date, or a span ago.")
@as_json
@click.pass_obj
def show_spending(output: Output, user_id: str, since: str, until: str, json_wanted: bool) -> None:
    """Sums up what was spent, by block, the costliest first."""
    start = past("--since", since) if since else None
    end = past("--until", until) if until else None

    async def work() -> None:
        async with output.client() as client:
            spent = await client.credits.spending(user_id, start=start, end=end)
            names = {} if json_wanted or not spent.blocks else await _names(client)
        if json_wanted:
            output.json(spent)
            return
        rows = [[names.get(b.block_id, b.block_id), f"{b.charges:,}", f"{b.amount:,}"] for b in spent.blocks]
        output.table(["BLOCK", "RUNS", "CREDITS"], rows, "Nothing was spent.")
        if rows:
            output.line(f"{spent.amount:,} credits in all")

    output.run(work())


async def _names(client: Client) -> dict[str, str]:
    return {block.id: block.name async for block in client.blocks.list(page_size=1_000)}


def _subject(transaction: CreditTransaction) -> str:
    if transaction.execution_id:
        runs = f"{transaction.charges:,} node execution{'' if transaction.charges == 1 else 's'}"
        return f"execution {transaction.execution_id}, {runs}"
    return " ".join(part for part in (transaction.note, f"(by {transaction.actor})") if part)


def _tell(output: Output, credits: CreditsRecord, json_wanted: bool) -> None:
    if json_wanted:
        output.json(credits)
        return
    output.fields(
        [
            ("user", credits.user_id),
            ("balance", f"{credits.balance:,}"),
            ("held", f"{credits.held:,} of it, for executions that run" if credits.held else ""),
            ("spent", f"{credits.spent:,}"),
        ]
    )
    if not credits.enabled:
        output.line("Credits are not counted here: runs cost nothing.", "dim")
