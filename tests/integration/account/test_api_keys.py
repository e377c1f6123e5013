"""API keys: what they may do, when they end, and that nobody learns one from what is kept."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest
from blockyard.account.v1 import account_pb2
from blockyard.account.v1 import account_service_pb2 as messages
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from services.account.api_keys import digest_of
from tests.integration.account.service import Caller, Service, replica
from tests.integration.graph.service import refusal
from tests.waiting import until


def at(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


async def own_id(caller: Caller) -> str:
    return (await caller.call("GetUser", messages.GetUserRequest())).user.id  # type: ignore[no-any-return]


async def reason(caller: Caller) -> str:
    """Why the caller is refused; empty if they are not."""
    try:
        await own_id(caller)
    except grpc.aio.AioRpcError as error:
        return refusal(error).reason
    return ""


async def test_a_key_is_shown_once_and_calls_as_its_maker(service: Service) -> None:
    maker = service.user("maker")

    made = await maker.make_key(name=" my  key ")

    assert re.fullmatch(r"by_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}", made.key)
    assert made.key.split("_")[1] == made.api_key.prefix
    assert (made.api_key.name, made.api_key.user_id) == ("my key", "maker")
    assert await own_id(service.holder_of(made.key)) == "maker"
    listed = await maker.call("ListApiKeys", messages.ListApiKeysRequest())
    assert made.key not in str(listed)


async def test_neither_key_nor_digest_is_in_any_table(service: Service) -> None:
    made = await service.user("hider").make_key()
    secret = made.key.split("_")[2]
    forms = [secret, secret.encode().hex(), digest_of(made.key).hex()]

    connection = await asyncpg.connect(service.database_url)
    try:
        tables = await connection.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('account', 'account_audit')"
        )
        rows = [
            str(row)
            for table in tables
            for row in await connection.fetch(
                f'SELECT x::text AS line FROM "{table["schemaname"]}"."{table["tablename"]}" x'
            )
        ]
    finally:
        await connection.close()

    assert any(made.api_key.prefix in row for row in rows)
    assert not [row for row in rows for form in forms if form in row]


async def test_a_key_may_do_what_it_was_made_for_and_nothing_else(service: Service) -> None:
    made = await service.user("narrow").make_key("READ_ACCOUNT")
    holder = service.holder_of(made.key)

    assert await own_id(holder) == "narrow"
    refused = await holder.refused("CreateApiKey", messages.CreateApiKeyRequest(name="more"))

    assert (refused.code, refused.reason) == (StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert "WRITE_ACCOUNT" in refused.message


async def test_a_key_may_do_no_more_than_who_makes_it(service: Service) -> None:
    user = service.user("modest")
    half = service.holder_of((await user.make_key("WRITE_ACCOUNT", "READ_ACCOUNT")).key)

    admins = await user.refused(
        "CreateApiKey", messages.CreateApiKeyRequest(name="x", permissions=[account_pb2.PERMISSION_MANAGE_USERS])
    )
    more = await half.refused(
        "CreateApiKey", messages.CreateApiKeyRequest(name="x", permissions=[account_pb2.PERMISSION_READ_GRAPHS])
    )
    same = await half.make_key()

    assert (admins.code, "MANAGE_USERS" in admins.message) == (StatusCode.PERMISSION_DENIED, True)
    assert (more.code, "READ_GRAPHS" in more.message) == (StatusCode.PERMISSION_DENIED, True)
    assert list(same.api_key.permissions) == [
        account_pb2.PERMISSION_READ_ACCOUNT,
        account_pb2.PERMISSION_WRITE_ACCOUNT,
    ]


async def test_a_key_loses_what_its_user_loses(service: Service) -> None:
    made = await service.admin("falling").make_key("MANAGE_USERS", "READ_ACCOUNT")
    holder = service.holder_of(made.key)
    await holder.call("ListUsers", messages.ListUsersRequest())

    await service.admin().call(
        "SetUserAccess", messages.SetUserAccessRequest(user_id="falling", role=account_pb2.USER_ROLE_VIEWER)
    )

    async def refused() -> bool:
        try:
            await holder.call("ListUsers", messages.ListUsersRequest())
        except grpc.aio.AioRpcError as error:
            return error.code() is StatusCode.PERMISSION_DENIED
        return False

    await until(refused, "the key may list users no more", seconds=5)


async def test_a_revoked_key_is_refused_within_five_seconds_on_every_replica(service: Service) -> None:
    maker = service.user("revoker")
    made = await maker.make_key()
    async with replica(service.database_url) as second:
        callers = [service.holder_of(made.key), second.holder_of(made.key)]
        busy = [asyncio.create_task(_until_refused(caller)) for caller in callers]
        await until(lambda: all(not task.done() for task in busy), "both replicas take the key")

        revoked = await maker.call("RevokeApiKey", messages.RevokeApiKeyRequest(api_key_id=made.api_key.id))
        at_ = time.monotonic()
        ends = await asyncio.gather(*busy)

    assert revoked.api_key.HasField("revoke_time")
    assert [why for why, _ in ends] == ["API_KEY_INVALID"] * 2
    assert max(end for _, end in ends) - at_ < 5


async def _until_refused(caller: Caller) -> tuple[str, float]:
    async def refused() -> str:
        return await reason(caller)

    why = await until(refused, "the key is refused", seconds=20)
    return str(why), time.monotonic()


async def test_a_key_can_be_revoked_twice_and_keeps_its_first_time(service: Service) -> None:
    maker = service.user("twice")
    made = await maker.make_key()
    request = messages.RevokeApiKeyRequest(api_key_id=made.api_key.id)

    first = await maker.call("RevokeApiKey", request)
    second = await maker.call("RevokeApiKey", request)

    assert first == second


async def test_a_key_ends_at_its_time(service: Service) -> None:
    maker = service.user("mortal")
    made = await maker.make_key(expire_time=at(datetime.now(UTC) + timedelta(seconds=2)))
    holder = service.holder_of(made.key)

    assert await own_id(holder) == "mortal"

    async def ended() -> bool:
        return await reason(holder) == "API_KEY_INVALID"

    await until(ended, "the key has ended", seconds=5)


async def test_a_key_that_a_key_made_ends_with_it(service: Service) -> None:
    end = at(datetime.now(UTC) + timedelta(hours=1))
    parent = service.holder_of((await service.user("parent").make_key(expire_time=end)).key)

    endless = await parent.make_key()
    later = await parent.make_key(expire_time=at(datetime.now(UTC) + timedelta(hours=9)))

    assert abs(endless.api_key.expire_time.ToSeconds() - end.ToSeconds()) <= 1
    assert later.api_key.expire_time == endless.api_key.expire_time


async def test_keys_that_a_key_made_are_revoked_with_it(service: Service) -> None:
    maker = service.user("grandparent")
    first = await maker.make_key()
    second = await service.holder_of(first.key).make_key()
    third = await service.holder_of(second.key).make_key()
    apart = await maker.make_key()

    await maker.call("RevokeApiKey", messages.RevokeApiKeyRequest(api_key_id=first.api_key.id))

    for made in (second, third):
        holder = service.holder_of(made.key)

        async def refused(holder: Caller = holder) -> bool:
            return await reason(holder) == "API_KEY_INVALID"

        await until(refused, "what the key made is refused", seconds=5)
    assert await own_id(service.holder_of(apart.key)) == "grandparent"


async def test_a_revoked_key_makes_no_key_that_outlives_it(service: Service) -> None:
    maker = service.user("robbed")
    stolen = await maker.make_key()
    thief = service.holder_of(stolen.key)
    assert await own_id(thief) == "robbed"

    # For some seconds the revoked key is still taken, as is known here; it makes nothing in them.
    await maker.call("RevokeApiKey", messages.RevokeApiKeyRequest(api_key_id=stolen.api_key.id))

    assert (await thief.refused("CreateApiKey", messages.CreateApiKeyRequest(name="x"))).reason == "API_KEY_INVALID"
    [left] = (await maker.call("ListApiKeys", messages.ListApiKeysRequest())).api_keys
    assert left.id == stolen.api_key.id


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a" * 101}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "x", "expire_time": Timestamp(seconds=1)}, "expire_time"),
        ({"name": "x", "expire_time": Timestamp(seconds=2**60)}, "expire_time"),
        ({"name": "x", "permissions": [99]}, "permissions[0]"),
        ({"name": "x", "permissions": [8, 0]}, "permissions[1]"),
    ],
)
async def test_a_key_that_does_not_fit_is_not_made(service: Service, fields: dict[str, Any], field: str) -> None:
    refused = await service.user("wrong").refused("CreateApiKey", messages.CreateApiKeyRequest(**fields))

    assert (refused.code, set(refused.fields)) == (StatusCode.INVALID_ARGUMENT, {field})


@pytest.mark.parametrize(
    "token",
    [
        "by_",
        "by_short_" + "a" * 43,
        "by_aaaaaaaa_" + "a" * 42,
        "by_aaaaaaaa_" + "a" * 44,
        "by_aaaaaaaa_" + "-" * 43,
        "by_aaaaaaaa_" + "a" * 43,
        "BY_aaaaaaaa_" + "a" * 43,
        "by_aaaaaaaa_" + "a" * 43 + "_x",
        "by_'; DROP T_" + "a" * 43,
    ],
)
async def test_what_is_no_key_is_refused(service: Service, token: str) -> None:
    refused = await service.holder_of(token).refused("GetUser", messages.GetUserRequest())

    assert refused.code is StatusCode.UNAUTHENTICATED
    assert refused.reason in ("API_KEY_INVALID", "TOKEN_INVALID")


async def test_a_wrong_secret_with_a_right_prefix_is_refused(service: Service) -> None:
    key = (await service.user("guessed").make_key()).key
    guess = key[:-1] + ("a" if key[-1] != "a" else "b")

    assert await reason(service.holder_of(guess)) == "API_KEY_INVALID"
    assert await own_id(service.holder_of(key)) == "guessed"


async def test_keys_of_others_are_not_there(service: Service) -> None:
    made = await service.user("owner").make_key()
    thief = service.user("thief")
    request = messages.RevokeApiKeyRequest(api_key_id=made.api_key.id)

    refused = await thief.refused("RevokeApiKey", request)
    no_id = await thief.refused("RevokeApiKey", messages.RevokeApiKeyRequest(api_key_id="x"))
    others = await thief.refused("ListApiKeys", messages.ListApiKeysRequest(user_id="owner"))

    assert (refused.code, refused.reason) == (StatusCode.NOT_FOUND, "API_KEY_NOT_FOUND")
    assert (no_id.code, no_id.reason) == (StatusCode.NOT_FOUND, "API_KEY_NOT_FOUND")
    assert (others.code, others.reason) == (StatusCode.NOT_FOUND, "USER_NOT_FOUND")
    revoked = await service.admin().call("RevokeApiKey", request)
    assert revoked.api_key.HasField("revoke_time")


async def test_keys_are_listed_newest_first_by_pages(service: Service) -> None:
    maker = service.user("lister")
    ids = [(await maker.make_key(name=str(number))).api_key.id for number in range(3)]

    first = await maker.call("ListApiKeys", messages.ListApiKeysRequest(page_size=2))
    second = await maker.call("ListApiKeys", messages.ListApiKeysRequest(page_token=first.next_page_token))

    assert [key.id for key in (*first.api_keys, *second.api_keys)] == ids[::-1]
    assert second.next_page_token == ""


async def test_a_user_has_so_many_keys_at_most_and_ended_ones_do_not_count(service: Service) -> None:
    async with replica(service.database_url, api_keys_per_user=2) as narrow:
        maker = narrow.user("collector")
        made = [await maker.make_key() for _ in range(2)]

        refused = await maker.refused("CreateApiKey", messages.CreateApiKeyRequest(name="third"))
        await maker.call("RevokeApiKey", messages.RevokeApiKeyRequest(api_key_id=made[0].api_key.id))
        third = await maker.make_key(name="third")

    assert (refused.code, "Revoke" in refused.message) == (StatusCode.FAILED_PRECONDITION, True)
    assert third.api_key.name == "third"


async def test_when_a_key_was_used_last_is_noted_to_the_minute(service: Service) -> None:
    maker = service.user("user-of-keys")
    made = await maker.make_key()
    assert not made.api_key.HasField("last_use_time")
    await own_id(service.holder_of(made.key))

    async def used() -> int:
        [key] = (await maker.call("ListApiKeys", messages.ListApiKeysRequest())).api_keys
        return int(key.last_use_time.seconds)

    assert await until(used, "the use is noted", seconds=20) % 60 == 0
