"""Ids of users, and the caller of the present request."""

import asyncio
import contextvars

import pytest

from services.common import identity
from services.common.identity import Caller
from services.common.permissions import Permission, Role

SECRET = "s" * 32


@pytest.mark.parametrize(
    "user_id",
    ["ada", "auth0|5f7c8ec7c33c6c004bbafe82", "f:0190:ada", "ada@example.org", "ada#EXT#@t.example", "a=b+c~"],
)
def test_ids_as_identity_providers_give_them_are_ids_of_users(user_id: str) -> None:
    assert identity.is_user_id(user_id)


@pytest.mark.parametrize(
    "user_id",
    [
        *("", " ", "a b", "a\n", "a/b", "a\\b", "a*", "a>b", "a<b", "a'b", 'a"b', "a`b", "a%b", "\x7f", "é"),
        *("a" * 101, "service:graph", "service:"),
    ],
)
def test_what_would_mean_something_in_a_subject_a_path_or_a_log_is_no_id(user_id: str) -> None:
    assert not identity.is_user_id(user_id)
    with pytest.raises(ValueError, match="no user id"):
        identity.user_token(SECRET, user_id, "user", 60)


@pytest.mark.parametrize("thing", [None, 7, ["ada"], {"ada": 1}, b"ada"])
def test_what_is_no_text_is_no_id(thing: object) -> None:
    assert not identity.is_user_id(thing)


async def test_each_request_has_its_own_caller() -> None:
    async def call(user_id: str) -> str:
        identity.set_caller(Caller(user_id, Role.USER))
        await asyncio.sleep(0)
        return identity.current_caller().user_id

    assert await asyncio.gather(*(call(name) for name in ("ada", "ben"))) == ["ada", "ben"]


async def test_outside_of_a_request_nobody_calls() -> None:
    async def look() -> Caller:
        return identity.current_caller()

    with pytest.raises(LookupError):
        await asyncio.get_running_loop().create_task(look(), context=contextvars.Context())


def test_a_caller_may_do_what_both_role_and_key_allow() -> None:
    key = frozenset({Permission.READ_GRAPHS, Permission.READ_AUDIT})

    assert Caller("ada", Role.VIEWER, "id", key).permissions == {Permission.READ_GRAPHS}
    assert Permission.WRITE_GRAPHS in Caller("ada", Role.USER).permissions


def test_secrets_are_not_printed() -> None:
    assert "hidden" not in repr(identity.Secrets("hidden", "hidden", "hidden"))
