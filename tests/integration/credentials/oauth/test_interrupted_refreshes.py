"""A refresh that fails, or is interrupted, loses nothing: no token that lives, and no grant."""

import asyncio

import pytest

from services.common.errors import Unavailable
from services.credentials.errors import CredentialNotFound, CredentialUnusable
from services.credentials.records import CredentialState
from tests.integration.credentials.oauth.hostile_provider import (
    Asked,
    HostileProvider,
    Write,
    answer,
    tokens,
)
from tests.integration.credentials.oauth.hostile_vaults import (
    AWAY,
    MISBEHAVED,
    SENTINEL,
    expired,
    one,
    own,
)
from tests.integration.credentials.oauth.vaults import Vaults
from tests.waiting import until


@pytest.mark.parametrize("name", [*AWAY, *MISBEHAVED])
async def test_a_failed_refresh_leaves_the_token_that_lives(
    vault_database: Vaults, hostile: HostileProvider, name: str
) -> None:
    hostile.behaves({**AWAY, **MISBEHAVED}[name])
    replica = await one(vault_database, hostile)
    opened = await replica.reopened(await replica.connected(seconds=100))
    came = await asyncio.gather(*(replica.oauth.tokens.fresh(opened) for _ in range(10)))
    assert {one.parts["access_token"] for one in came} == {"access-1"}
    assert hostile.calls["/token"] == 1
    kept = await replica.reopened(opened)
    assert (kept.record.version, kept.record.state) == (1, CredentialState.ACTIVE)
    assert kept.parts == opened.parts


@pytest.mark.parametrize("name", [*AWAY, *MISBEHAVED])
async def test_a_failed_refresh_of_an_expired_token_may_work_later(
    vault_database: Vaults, hostile: HostileProvider, name: str
) -> None:
    hostile.behaves({**AWAY, **MISBEHAVED}[name])
    replica = await one(vault_database, hostile, refresh_pause_seconds=0)
    opened = await expired(replica)
    with pytest.raises(Unavailable) as refused:
        await replica.oauth.tokens.fresh(opened)
    assert SENTINEL not in refused.value.message
    hostile.behaves(answer(200, tokens()))
    assert (await replica.oauth.tokens.fresh(opened)).parts["access_token"] == "access-new"


async def test_a_provider_that_failed_is_left_in_peace_by_all_replicas(
    vault_database: Vaults, hostile: HostileProvider
) -> None:
    hostile.behaves(answer(500, ""))
    first = await one(vault_database, hostile)
    second = await one(vault_database, hostile, 1)
    opened = await expired(first)
    for replica in (first, second, first, second):
        with pytest.raises(Unavailable):
            await replica.oauth.tokens.fresh(opened)
    assert hostile.calls["/token"] == 1


@pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client", "invalid_request", "server_error"])
async def test_an_error_that_is_not_about_the_grant_revokes_nothing(
    vault_database: Vaults, hostile: HostileProvider, code: str
) -> None:
    hostile.behaves(answer(400, {"error": code, "error_description": f"about {SENTINEL}"}))
    replica = await one(vault_database, hostile)
    opened = await expired(replica)
    with pytest.raises(Unavailable, match=code) as refused:
        await replica.oauth.tokens.fresh(opened)
    assert SENTINEL not in refused.value.message
    assert (await replica.reopened(opened)).record.state is CredentialState.ACTIVE


async def test_a_grant_that_another_replica_renewed_meanwhile_is_not_marked(
    vault_database: Vaults, hostile: HostileProvider
) -> None:
    refusing, renewed = asyncio.Event(), asyncio.Event()

    async def behave(asked: Asked, write: Write) -> None:
        refusing.set()
        await renewed.wait()
        await answer(400, {"error": "invalid_grant"})(asked, write)

    hostile.behaves(behave)
    replica = await one(vault_database, hostile)
    opened = await expired(replica)
    fresh = asyncio.create_task(replica.oauth.tokens.fresh(opened))
    await refusing.wait()
    parts = {**opened.parts, "access_token": "access-of-another"}
    await replica.vault.replace(opened.record, parts, expected_version=1, expire_time=await replica.time(3600))
    renewed.set()
    assert (await fresh).parts["access_token"] == "access-of-another"
    kept = await replica.reopened(opened)
    assert (kept.record.version, kept.record.state) == (2, CredentialState.ACTIVE)


async def test_revoked_in_the_middle_of_fifty_calls_it_is_tried_once(
    vault_database: Vaults, hostile: HostileProvider
) -> None:
    first = await one(vault_database, hostile)
    second = await one(vault_database, hostile, 1)
    opened = await expired(first)
    assert (await first.oauth.tokens.fresh(opened)).record.version == 2
    await first.age(opened.record.credential_id, 7200)
    hostile.behaves(answer(400, {"error": "invalid_grant"}))
    current = await first.reopened(opened)
    came = await asyncio.gather(
        *((first, second)[number % 2].oauth.tokens.fresh(current) for number in range(50)), return_exceptions=True
    )
    assert {type(one) for one in came} == {CredentialUnusable}
    assert hostile.calls["/token"] == 2


async def test_the_lease_of_a_replica_that_died_is_taken_when_it_is_over(
    vault_database: Vaults, hostile: HostileProvider
) -> None:
    replica = await one(vault_database, hostile)
    opened = await expired(replica)
    await replica.pool.execute(
        """UPDATE credentials SET refresh_holder = 'dead', refresh_until = clock_timestamp() + interval '0.5 s'
           WHERE credential_id = $1""",
        opened.record.credential_id,
    )
    assert (await replica.oauth.tokens.fresh(opened)).record.version == 2


async def test_waiting_for_another_replica_has_an_end(vault_database: Vaults, hostile: HostileProvider) -> None:
    replica = await one(vault_database, hostile, refresh_wait_seconds=0.3)
    live = await replica.reopened(await replica.connected(seconds=100))
    dead = await expired(replica)
    await replica.pool.execute(
        """UPDATE credentials SET refresh_holder = 'other', refresh_until = clock_timestamp() + interval '1 h'
           WHERE credential_id = ANY($1::uuid[])""",
        [live.record.credential_id, dead.record.credential_id],
    )
    assert await replica.oauth.tokens.fresh(live) == live
    with pytest.raises(Unavailable, match="too long"):
        await replica.oauth.tokens.fresh(dead)
    assert hostile.calls["/token"] == 0


async def test_a_stopping_vault_stores_what_was_refreshed(vault_database: Vaults, hostile: HostileProvider) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def behave(request: Asked, write: Write) -> None:
        asked.set()
        await answered.wait()
        await answer(200, tokens())(request, write)

    hostile.behaves(behave)
    other = await one(vault_database, hostile)
    async with own(vault_database, hostile) as stopping:
        opened = await expired(stopping)
        caller = asyncio.create_task(stopping.oauth.tokens.fresh(opened))
        await asked.wait()
        caller.cancel()
        asyncio.get_running_loop().call_later(0.2, answered.set)
    kept = await other.reopened(opened)
    assert (kept.record.version, kept.parts["refresh_token"]) == (2, "refresh-new")


async def test_a_token_is_stored_once_the_database_is_back(
    vault_database: Vaults, hostile: HostileProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()
    said: list[str] = []

    async def behave(request: Asked, write: Write) -> None:
        asked.set()
        await answered.wait()
        await answer(200, tokens())(request, write)

    def waits() -> bool:
        said.append(capsys.readouterr().out)
        return "a refreshed token waits" in "".join(said)

    hostile.behaves(behave)
    async with own(vault_database, hostile) as replica:
        opened = await expired(replica)
        fresh = asyncio.create_task(replica.oauth.tokens.fresh(opened))
        await asked.wait()
        async with vault_database.closed():
            answered.set()
            await until(waits, "the token cannot be stored")
        assert (await fresh).record.version == 2
        assert (await replica.reopened(opened)).parts["refresh_token"] == "refresh-new"


async def test_what_was_refreshed_for_a_credential_that_was_deleted_meanwhile_is_given_back(
    vault_database: Vaults, hostile: HostileProvider
) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def behave(request: Asked, write: Write) -> None:
        asked.set()
        await answered.wait()
        await answer(200, tokens())(request, write)

    hostile.behaves(behave)
    replica = await one(vault_database, hostile)
    opened = await expired(replica)
    fresh = asyncio.create_task(replica.oauth.tokens.fresh(opened))
    await asked.wait()
    await replica.vault.delete(opened.record)
    answered.set()
    with pytest.raises(CredentialNotFound):
        await fresh
    revoked = [request.form["token"] for request in hostile.asked if request.path == "/revoke"]
    assert revoked == ["refresh-new", "access-new"]


async def test_a_token_that_lives_serves_while_the_database_is_away(
    vault_database: Vaults, hostile: HostileProvider
) -> None:
    async with own(vault_database, hostile) as replica:
        live = await replica.reopened(await replica.connected(seconds=100))
        dead = await expired(replica)
        replica.pool.terminate()
        assert await replica.oauth.tokens.fresh(live) is live
        with pytest.raises(Unavailable):
            await replica.oauth.tokens.fresh(dead)
        assert hostile.calls["/token"] == 0
