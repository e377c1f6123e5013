"""Access tokens are refreshed at a real provider that rotates refresh tokens, and ends a grant if one is used twice."""

import asyncio

import pytest
from blockyard.event.v1.notice_pb2 import NoticeKind

from services.credentials.errors import CredentialUnusable
from services.credentials.oauth.checking import Verdict
from services.credentials.records import CredentialState, Opened
from tests.integration.credentials.oauth.connecting import connect
from tests.integration.credentials.oauth.openid_provider import OpenIdProvider, clients
from tests.integration.credentials.oauth.vaults import Replica, Vaults


async def two(vaults: Vaults, provider: OpenIdProvider) -> tuple[Replica, Replica]:
    """Two replicas that share nothing but the database and the keys."""
    definition, known = provider.definition(), clients()
    return await vaults.shared(definition, known, 0), await vaults.shared(definition, known, 1)


async def aged(replica: Replica, provider: OpenIdProvider, seconds: float = 3500, user_id: str = "anna") -> Opened:
    """A connected account whose token expires soon."""
    record = await connect(replica, provider, user_id)
    await replica.age(record.credential_id, seconds)
    return await replica.reopened(record)


async def is_taken(provider: OpenIdProvider, opened: Opened) -> bool:
    """Whether the provider takes the access token."""
    headers = {"authorization": f"Bearer {opened.parts['access_token']}"}
    return (await provider.client.get(f"{provider.issuer}/me", headers=headers)).status_code == 200


async def test_a_token_that_lives_on_is_not_refreshed(vault_database: Vaults, provider: OpenIdProvider) -> None:
    replica, _ = await two(vault_database, provider)
    opened = await aged(replica, provider, seconds=0)
    assert await replica.oauth.tokens.fresh(opened) is opened
    assert ("refresh_token", 200) not in await provider.calls()


async def test_a_token_is_refreshed_before_it_expires(vault_database: Vaults, provider: OpenIdProvider) -> None:
    replica, _ = await two(vault_database, provider)
    before = await aged(replica, provider)
    after = await replica.oauth.tokens.fresh(before)
    assert after.record.version == before.record.version + 1
    assert after.parts["access_token"] != before.parts["access_token"]
    assert after.parts["refresh_token"] != before.parts["refresh_token"]
    assert after.record.expire_time is not None
    assert (after.record.expire_time - await replica.time()).total_seconds() > 3500
    assert await replica.reopened(after) == after
    assert await is_taken(provider, after)


@pytest.mark.parametrize("seconds", [3500, 7200])
async def test_fifty_callers_over_two_replicas_make_one_refresh(
    vault_database: Vaults, provider: OpenIdProvider, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    replicas = await two(vault_database, provider)
    opened = await aged(replicas[0], provider, seconds)
    await provider.set(delay=0.5)
    came = await asyncio.gather(*(replicas[number % 2].oauth.tokens.fresh(opened) for number in range(50)))
    calls = await provider.calls()
    with capsys.disabled():
        print(f"\n50 callers over 2 replicas: {calls[('refresh_token', 200)]} refresh at the provider: {dict(calls)}")
    assert {name: count for name, count in calls.items() if name[0] == "refresh_token"} == {("refresh_token", 200): 1}
    assert {one.parts["access_token"] for one in came} == {came[0].parts["access_token"]}
    assert {one.record.version for one in came} == {2}
    assert await is_taken(provider, came[0])


async def test_many_refreshes_in_a_row_keep_the_grant(vault_database: Vaults, provider: OpenIdProvider) -> None:
    replicas = await two(vault_database, provider)
    opened = await aged(replicas[0], provider)
    for turn in range(5):
        await asyncio.gather(*(replicas[number % 2].oauth.tokens.fresh(opened) for number in range(6)))
        await replicas[0].age(opened.record.credential_id, 3500)
        opened = await replicas[turn % 2].reopened(opened)
    assert opened.record.version == 6
    assert (await provider.calls())[("refresh_token", 200)] == 5


async def test_tokens_that_live_shorter_than_the_refresh_is_ahead_are_refreshed_once_for_all(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replicas = await two(vault_database, provider)
    await provider.set(accessTokenSeconds=60)
    opened = await replicas[0].reopened(await connect(replicas[0], provider))
    came = await asyncio.gather(*(replicas[number % 2].oauth.tokens.fresh(opened) for number in range(20)))
    assert {one.record.version for one in came} == {2}
    assert (await provider.calls())[("refresh_token", 200)] == 1


async def test_a_revoked_grant_is_marked_and_its_owner_is_told_once(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replicas = await two(vault_database, provider)
    opened = await aged(replicas[0], provider, user_id="revoked")
    await provider.revoke_all()
    came = await asyncio.gather(
        *(replicas[number % 2].oauth.tokens.fresh(opened) for number in range(20)), return_exceptions=True
    )
    assert {type(one) for one in came} == {CredentialUnusable}
    assert (await provider.calls())[("refresh_token", 400)] == 1
    record = await replicas[1].vault.get("revoked", opened.record.credential_id)
    assert (record.state, record.version) == (CredentialState.REVOKED, 1)
    assert "Connect the account again" in record.state_reason
    notices = await replicas[0].notices("revoked")
    assert [(notice.kind, notice.details["credential_id"]) for notice in notices] == [
        (NoticeKind.NOTICE_KIND_CREDENTIAL_REVOKED, str(record.credential_id))
    ]
    with pytest.raises(CredentialUnusable):
        await replicas[0].oauth.tokens.fresh(await replicas[0].reopened(opened))
    assert (await provider.calls())[("refresh_token", 400)] == 1


async def test_a_refresh_token_of_a_restored_backup_revokes_that_credential_alone(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replica, _ = await two(vault_database, provider)
    yesterday = await aged(replica, provider, user_id="restored")
    other = await aged(replica, provider, user_id="restored")
    today = await replica.oauth.tokens.fresh(yesterday)
    restored = await replica.vault.replace(
        today.record, yesterday.parts, expected_version=2, expire_time=await replica.time(-10)
    )
    assert restored is not None
    with pytest.raises(CredentialUnusable, match="Connect the account again"):
        await replica.oauth.tokens.fresh(await replica.reopened(restored))
    assert (await replica.oauth.tokens.fresh(other)).record.version == 2


async def test_a_token_that_expired_by_the_providers_clock_is_renewed_when_it_is_tested(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replica, _ = await two(vault_database, provider)
    opened = await replica.reopened(await connect(replica, provider))
    await provider.set(offset=4000)
    assert not await is_taken(provider, opened)
    assert await replica.oauth.tokens.fresh(opened) is opened
    finding = await replica.oauth.tests.test(opened)
    assert finding.verdict is Verdict.VALID
    assert (await replica.reopened(opened)).record.version == 2


@pytest.mark.parametrize("offset", [-7200, 7200])
async def test_a_providers_clock_that_is_hours_off_changes_nothing(
    vault_database: Vaults, provider: OpenIdProvider, offset: float
) -> None:
    replica, _ = await two(vault_database, provider)
    await provider.set(offset=offset)
    record = await connect(replica, provider)
    assert record.expire_time is not None
    assert 3500 < (record.expire_time - await replica.time()).total_seconds() <= 3600
    await replica.age(record.credential_id, 3500)
    assert await is_taken(provider, await replica.oauth.tokens.fresh(await replica.reopened(record)))


async def test_more_scopes_while_a_refresh_is_under_way_win(vault_database: Vaults, provider: OpenIdProvider) -> None:
    first, second = await two(vault_database, provider)
    opened = await aged(first, provider)
    await provider.set(delay=0.5)
    refreshing = asyncio.create_task(first.oauth.tokens.fresh(opened))
    connected = await connect(second, provider, scopes=["write"], credential_id=opened.record.credential_id)
    await refreshing
    kept = await first.reopened(opened)
    assert "write" in kept.record.scopes
    assert kept.record.version >= connected.version
    assert await is_taken(provider, kept)


async def test_a_caller_who_leaves_does_not_lose_the_grant(vault_database: Vaults, provider: OpenIdProvider) -> None:
    replica, other = await two(vault_database, provider)
    opened = await aged(replica, provider)
    await provider.set(delay=0.5)
    leaving = asyncio.create_task(replica.oauth.tokens.fresh(opened))
    staying = asyncio.create_task(other.oauth.tokens.fresh(opened))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await leaving
    assert (await staying).record.version == 2
    assert (await provider.calls())[("refresh_token", 200)] == 1
