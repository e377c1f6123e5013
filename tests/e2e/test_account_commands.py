"""`blockyard keys`, `users`, `credits`, `notifications` and `audit` against the real stack."""

import asyncio
import uuid
from pathlib import Path

import blockyard
import pytest
from blockyard.dev import Stack
from blockyard.errors import CallError

from tests.e2e.commands import Shell
from tests.waiting import until


@pytest.fixture
def shell(home: Path, stack: Stack) -> Shell:
    return Shell(home)


def of_user(shell: Shell, stack: Stack, role: str = "user") -> tuple[str, Shell]:
    """A user that nobody knows yet, and the program as they run it."""
    user_id = f"user-{uuid.uuid4().hex[:12]}"
    return user_id, Shell(shell.home, stack.user_token(user_id, role))


async def refusal_of(home: Path, token: str) -> str:
    """Why a caller is refused; empty if they are not."""
    async with blockyard.connect(token=token, home=home) as client:
        try:
            await client.account.me()
        except CallError as error:
            return error.reason
    return ""


async def test_a_key_is_used_as_a_token_until_it_is_revoked(shell: Shell) -> None:
    made = (await shell("keys", "create", "<b>ci</b>", "--expires", "1d", "--json")).json
    key, api_key = made["key"], made["api_key"]
    assert key.startswith(f"by_{api_key['prefix']}_")
    assert api_key["name"] == "ci"

    assert (await Shell(shell.home, key)("users", "show", "--json")).json["id"] == "developer"
    listed = await shell("keys", "list")
    assert api_key["id"] in listed.output
    assert key not in listed.output

    assert (await shell("keys", "revoke", api_key["id"])).code == 0

    async def is_refused() -> bool:
        return await refusal_of(shell.home, key) == "API_KEY_INVALID"

    await until(is_refused, "the key is refused", 5)
    done = await Shell(shell.home, key)("graphs", "list")
    assert (done.code, done.output) == (1, "")
    assert "[API_KEY_INVALID]" in done.errors


async def test_a_key_does_what_it_was_made_for_alone(shell: Shell) -> None:
    made = (await shell("keys", "create", "reader", "--permission", "read_graphs", "--json")).json
    reader = Shell(shell.home, made["key"])
    assert (await reader("graphs", "list", "--json")).code == 0
    refused = await reader("keys", "create", "more")
    assert (refused.code, refused.output) == (1, "")
    assert "[PERMISSION_DENIED]" in refused.errors
    assert "[PERMISSION_DENIED]" in (await reader("users", "list")).errors


async def test_a_broken_key_is_refused_with_a_sentence(shell: Shell) -> None:
    keys = ("by_", "by_x_y", "by_abcdefgh_" + "x" * 40, "by__", "byby")
    for done in await asyncio.gather(*(Shell(shell.home, key)("graphs", "list") for key in keys)):
        assert done.code == 1
        assert done.errors.startswith("Error: ")
        assert "Traceback" not in done.errors


async def test_users_are_added_disabled_and_enabled(shell: Shell, stack: Stack) -> None:
    user_id, theirs = of_user(shell, stack)
    added = (await shell("users", "add", user_id, "--name", "Ada <i>L</i>", "--role", "viewer", "--json")).json
    assert (added["role"], added["name"], added["state"]) == ("VIEWER", "Ada L", "ACTIVE")
    assert (await shell("users", "add", user_id)).errors.rstrip().endswith("[USER_EXISTS]")
    assert (await theirs("users", "show", "--json")).json["role"] == "VIEWER"

    assert (await shell("users", "disable", user_id)).code == 0

    async def is_refused() -> bool:
        return await refusal_of(shell.home, theirs.token) == "USER_DISABLED"

    await until(is_refused, "the user is refused", 5)
    assert "disabled" in (await shell("users", "list", "--query", user_id)).output

    assert (await shell("users", "enable", user_id)).code == 0
    assert (await shell("users", "set-role", user_id, "user")).code == 0

    async def is_user() -> bool:
        done = await theirs("keys", "create", "mine")
        return done.code == 0

    await until(is_user, "the user may do what users do", 10)


ADMINISTRATION = [
    ("users", "list"),
    ("users", "show", "developer"),
    ("users", "set-role", "developer", "viewer"),
    ("credits", "top-up", "developer", "5"),
    ("credits", "show", "--user", "developer"),
    ("keys", "list", "--user", "developer"),
    ("audit", "list"),
    ("admin", "vault-keys"),
    ("admin", "rotate-keys", "--new"),
]


async def test_administration_is_refused_to_users(shell: Shell, stack: Stack) -> None:
    _, theirs = of_user(shell, stack)
    for done in await asyncio.gather(*(theirs(*command) for command in ADMINISTRATION)):
        assert (done.code, done.output) == (1, ""), done.errors
        assert "[PERMISSION_DENIED]" in done.errors or "[USER_NOT_FOUND]" in done.errors, done.errors


async def test_credits_are_given_once_for_each_request_and_listed(shell: Shell, stack: Stack) -> None:
    user_id, theirs = of_user(shell, stack)
    assert (await theirs("users", "show")).code == 0
    for _ in range(2):
        topped = await shell("credits", "top-up", user_id, "1000", "--note", "May", "--request-id", "may", "--json")
        assert topped.json["balance"] == 1_000
    assert (await shell("credits", "top-up", "--json", "--", user_id, "-250")).json["balance"] == 750
    history = (await theirs("credits", "history", "--json")).json
    assert [(one["kind"], one["amount"], one["balance"]) for one in history] == [
        ("ADJUSTMENT", -250, 750),
        ("TOP_UP", 1_000, 1_000),
    ]
    assert history[1]["note"] == "May"
    assert "balance  750" in (await theirs("credits", "show")).output
    assert "Nothing was spent." in (await theirs("credits", "spending", "--since", "1d")).output
    assert (await shell("credits", "top-up", user_id, "0")).code == 1
    assert "[USER_NOT_FOUND]" in (await shell("credits", "top-up", f"{user_id}-x", "5")).errors


async def test_what_was_done_stands_in_the_audit_log(shell: Shell) -> None:
    made = (await shell("keys", "create", "audited", "--json")).json
    assert (await shell("keys", "revoke", made["api_key"]["id"])).code == 0

    async def entries() -> list[str]:
        listed = (
            await shell("audit", "list", "--actor", "developer", "--since", "1h", "--limit", "200", "--json")
        ).json
        assert made["key"] not in str(listed)
        return [entry["action"] for entry in listed if made["api_key"]["id"] in entry["resource"]]

    async def both_are_there() -> bool:
        return {one.rpartition("/")[2] for one in await entries()} >= {"CreateApiKey", "RevokeApiKey"}

    await until(both_are_there, "the audit log has both calls", 20)
    shown = await shell("audit", "list", "--limit", "5")
    assert shown.output.split("\n")[0].split() == ["TIME", "ACTOR", "ACTION", "OUTCOME", "RESOURCE"]
    nobody = await shell("audit", "list", "--actor", "nobody-at-all")
    assert nobody.output == "No entries.\n"


async def test_a_user_chooses_what_is_mailed(shell: Shell, stack: Stack) -> None:
    _, mine = of_user(shell, stack)

    shown = await mine("notifications", "show")
    done = await mine("notifications", "set", "--failed", "weekly", "--all", "off", "--hour", "7", "--day", "sunday")
    found = (await mine("notifications", "show", "--json")).json
    nothing = await mine("notifications", "set")

    assert "failed" in shown.output
    assert "This installation sends no mails" in shown.errors
    assert "Digests at 7:00, weekly ones on Sunday." in done.output
    assert (found["digest_hour"], found["digest_day"], found["mail_enabled"]) == (7, 7, False)
    assert {kind for kind, frequency in found["mails"].items() if frequency != "OFF"} == {"EXECUTION_FAILED"}
    assert (nothing.code, "Say what to set" in nothing.errors) == (2, True)
