"""`blockyard users`: who may call, for administrators."""

import click

from blockyard.cli.listing import first, limit_option, page_size
from blockyard.cli.output import Output, as_json, when
from blockyard.client import UserRecord, UserRole, UserState

ROLES = [role.name.lower() for role in UserRole if role.value > 0]


@click.group()
def users() -> None:
    """Lists, adds and changes users. For administrators; `users show` without an id shows yourself."""


@users.command(name="list")
@click.option("--query", default="", metavar="TEXT", help="Only those whose id, name or e-mail address has this.")
@limit_option
@as_json
@click.pass_obj
def list_users(output: Output, query: str, limit: int, json_wanted: bool) -> None:
    """Lists users by id."""

    async def work() -> None:
        async with output.client() as client:
            found = await first(client.users.list(query, page_size(limit)), limit)
        if json_wanted:
            output.json(found)
            return
        rows = [[u.id, u.role.name.lower(), u.state.name.lower(), u.name, u.email, when(u.last_seen)] for u in found]
        output.table(["ID", "ROLE", "STATE", "NAME", "E-MAIL", "LAST SEEN"], rows, "No users.")

    output.run(work())


@users.command(name="show")
@click.argument("user_id", default="")
@as_json
@click.pass_obj
def show_user(output: Output, user_id: str, json_wanted: bool) -> None:
    """Shows a user; without an id, yourself."""

    async def work() -> None:
        async with output.client() as client:
            user = await (client.users.get(user_id) if user_id else client.account.me())
        _tell(output, user, json_wanted)

    output.run(work())


@users.command(name="add")
@click.argument("user_id")
@click.option("--name", default="", help="Name to show.")
@click.option("--email", default="", help="E-mail address.")
@click.option("--role", default="user", show_default=True, type=click.Choice(ROLES), help="What they may do.")
@click.option("--time-zone", default="", metavar="ZONE", help="Such as Europe/Berlin; by default UTC.")
@as_json
@click.pass_obj
def add_user(output: Output, user_id: str, name: str, email: str, role: str, time_zone: str, json_wanted: bool) -> None:
    """Adds a user before their first call. USER_ID is as their tokens will name them."""

    async def work() -> None:
        async with output.client() as client:
            user = await client.users.create(
                user_id, name=name, email=email, role=UserRole[role.upper()], time_zone=time_zone
            )
        _tell(output, user, json_wanted)

    output.run(work())


@users.command(name="set-role")
@click.argument("user_id")
@click.argument("role", type=click.Choice(ROLES))
@as_json
@click.pass_obj
def set_role(output: Output, user_id: str, role: str, json_wanted: bool) -> None:
    """Sets what a user may do. It takes effect within 5 seconds."""
    _set_access(output, user_id, json_wanted, role=UserRole[role.upper()])


@users.command(name="disable")
@click.argument("user_id")
@as_json
@click.pass_obj
def disable_user(output: Output, user_id: str, json_wanted: bool) -> None:
    """Refuses all calls of a user, by token and by key. What runs goes on."""
    _set_access(output, user_id, json_wanted, state=UserState.DISABLED)


@users.command(name="enable")
@click.argument("user_id")
@as_json
@click.pass_obj
def enable_user(output: Output, user_id: str, json_wanted: bool) -> None:
    """Lets a user call again."""
    _set_access(output, user_id, json_wanted, state=UserState.ACTIVE)


def _set_access(
    output: Output,
    user_id: str,
    json_wanted: bool,
    *,
    role: UserRole = UserRole.UNSPECIFIED,
    state: UserState = UserState.UNSPECIFIED,
) -> None:
    async def work() -> None:
        async with output.client() as client:
            user = await client.users.set_access(user_id, role=role, state=state)
        _tell(output, user, json_wanted)

    output.run(work())


def _tell(output: Output, user: UserRecord, json_wanted: bool) -> None:
    if json_wanted:
        output.json(user)
        return
    output.fields(
        [
            ("id", user.id),
            ("name", user.name),
            ("e-mail", user.email),
            ("role", user.role.name.lower()),
            ("state", user.state.name.lower()),
            ("time zone", user.time_zone),
            ("low balance", f"{user.low_balance:,}" if user.low_balance else ""),
            ("created", when(user.created)),
            ("last seen", when(user.last_seen)),
        ]
    )
