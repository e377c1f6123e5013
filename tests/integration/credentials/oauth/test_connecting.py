"""Accounts are connected at a real provider, by the code flow with PKCE."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest

from services.common.errors import InvalidArgument
from services.credentials.errors import (
    CredentialNotFound,
    ProviderNotConfigured,
    ProviderRefused,
    StateInvalid,
    TooManyCredentials,
)
from services.credentials.oauth.checking import Verdict
from services.credentials.records import CredentialRecord, CredentialState, CredentialType
from tests.integration.credentials.oauth.connecting import CALLBACK, begin, connect, finish, one
from tests.integration.credentials.oauth.openid_provider import OpenIdProvider, Returned, clients
from tests.integration.credentials.oauth.vaults import Vaults


@pytest.mark.parametrize("client", ["vault-basic", "vault-post", "vault-public"])
async def test_an_account_is_connected_and_its_token_is_taken(
    vault_database: Vaults, provider: OpenIdProvider, client: str
) -> None:
    authentication = client.removeprefix("vault-").replace("public", "none")
    replica = await one(vault_database, provider, client, authentication=authentication)
    record = await connect(replica, provider, scopes=["openid", "read", "write"], title="Mine")
    assert (record.type, record.provider, record.title) == (CredentialType.OAUTH2, "openid", "Mine")
    assert record.account_name == "anna@example.com"
    assert set(record.scopes) == {"openid", "read", "write"}
    assert record.expire_time is not None
    assert 3500 < (record.expire_time - await replica.time()).total_seconds() <= 3600
    opened = await replica.reopened(record)
    assert set(opened.parts) == {"access_token", "refresh_token", "token_type"}
    finding = await replica.oauth.tests.test(opened)
    assert (finding.verdict, finding.account_name) == (Verdict.VALID, "anna@example.com")


async def test_the_browser_gets_a_challenge_and_never_the_verifier(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replica = await one(vault_database, provider)
    started = await begin(replica)
    query = parse_qs(urlsplit(started.url).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["state"] == [started.state]
    assert query["redirect_uri"] == [CALLBACK]
    assert len(started.state) >= 43  # 256 bits
    row = await replica.pool.fetchrow("SELECT * FROM authorizations ORDER BY expires_at DESC LIMIT 1")
    assert row is not None
    assert started.state.encode() not in b"".join(value for value in row.values() if isinstance(value, bytes))


async def test_the_account_names_a_credential_without_a_title(vault_database: Vaults, provider: OpenIdProvider) -> None:
    replica = await one(vault_database, provider)
    assert (await connect(replica, provider)).title == "anna@example.com"


async def test_who_may_have_no_more_credentials_is_refused_before_a_code_is_exchanged(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replica = await vault_database.shared(provider.definition(), clients("vault-basic"), credentials_of_user=2)
    late = await provider.sign_in((await begin(replica, "full")).url)
    record = await connect(replica, provider, "full")
    await connect(replica, provider, "full")
    with pytest.raises(TooManyCredentials, match="2 credentials are kept for a user"):
        await begin(replica, "full")
    exchanged = await provider.calls()
    with pytest.raises(TooManyCredentials):
        await finish(replica, late, "full")
    assert await provider.calls() == exchanged
    # More for one that is there is no further one.
    assert (await connect(replica, provider, "full", credential_id=record.credential_id)).version == 2


async def test_a_replayed_state_is_refused(vault_database: Vaults, provider: OpenIdProvider) -> None:
    replica = await one(vault_database, provider)
    returned = await provider.sign_in((await begin(replica)).url)
    await finish(replica, returned)
    with pytest.raises(StateInvalid):
        await finish(replica, returned)


async def test_of_two_that_bring_one_state_at_once_one_is_let_in(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    first = await one(vault_database, provider)
    second = await one(vault_database, provider, number=1)
    returned = await provider.sign_in((await begin(first)).url)
    came = await asyncio.gather(*(finish(replica, returned) for replica in (first, second) * 4), return_exceptions=True)
    assert sum(isinstance(one, CredentialRecord) for one in came) == 1
    assert sum(isinstance(one, StateInvalid) for one in came) == 7


async def test_the_state_of_another_user_is_refused_and_stays_good_for_its_owner(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replica = await one(vault_database, provider)
    returned = await provider.sign_in((await begin(replica, "anna")).url)
    with pytest.raises(StateInvalid):
        await finish(replica, returned, "eve")
    assert (await finish(replica, returned, "anna")).user_id == "anna"


async def test_an_expired_state_is_refused(vault_database: Vaults, provider: OpenIdProvider) -> None:
    replica = await one(vault_database, provider)
    returned = await provider.sign_in((await begin(replica, "late")).url)
    await replica.pool.execute(
        "UPDATE authorizations SET expires_at = now() - interval '1 second' WHERE user_id = 'late'"
    )
    with pytest.raises(StateInvalid):
        await finish(replica, returned, "late")
    assert not await provider.calls()


@pytest.mark.parametrize("state", ["", "x", "x" * 300, "ä" * 43, "\x00"])
async def test_a_state_that_was_never_given_is_refused(
    vault_database: Vaults, provider: OpenIdProvider, state: str
) -> None:
    replica = await one(vault_database, provider)
    with pytest.raises(StateInvalid):
        await finish(replica, Returned("", {"code": "code", "state": state}))


async def test_a_redirect_that_is_not_allowed_is_refused_before_anything_is_kept(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replica = await one(vault_database, provider)
    before = await replica.pool.fetchval("SELECT count(*) FROM authorizations")
    with pytest.raises(InvalidArgument) as refused:
        await begin(replica, redirect_uri="https://evil.example.com/callback")
    assert [violation.field for violation in refused.value.violations] == ["redirect_uri"]
    assert await replica.pool.fetchval("SELECT count(*) FROM authorizations") == before


async def test_the_provider_refuses_a_code_that_went_to_another_redirect(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replica = await one(vault_database, provider)
    started = await begin(replica)
    returned = await provider.sign_in(started.url.replace("49152", "49153"))
    assert returned.uri.startswith("http://127.0.0.1:49153/")
    with pytest.raises(ProviderRefused, match="invalid_grant"):
        await finish(replica, returned)


async def test_a_code_of_another_authorization_is_refused(vault_database: Vaults, provider: OpenIdProvider) -> None:
    replica = await one(vault_database, provider)
    first = await provider.sign_in((await begin(replica)).url)
    second = await provider.sign_in((await begin(replica)).url)
    with pytest.raises(ProviderRefused, match="invalid_grant"):
        await finish(replica, first, code=second.code)


async def test_an_answer_of_another_issuer_is_refused(vault_database: Vaults, provider: OpenIdProvider) -> None:
    replica = await one(vault_database, provider)
    for issuer in ("https://evil.example.com", ""):
        returned = await provider.sign_in((await begin(replica)).url)
        with pytest.raises(ProviderRefused, match="issuer"):
            await finish(replica, returned, issuer=issuer)
    assert not await provider.calls()


async def test_a_user_who_does_not_consent_is_told_so(vault_database: Vaults, provider: OpenIdProvider) -> None:
    replica = await one(vault_database, provider)
    returned = await provider.sign_in((await begin(replica)).url, consents=False)
    assert returned.parameters["error"] == "access_denied"
    with pytest.raises(ProviderRefused, match="access_denied"):
        await finish(replica, returned)


async def test_an_answer_without_code_and_error_leaves_the_state(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replica = await one(vault_database, provider)
    returned = await provider.sign_in((await begin(replica)).url)
    with pytest.raises(InvalidArgument):
        await finish(replica, returned, code="")
    assert await finish(replica, returned)


async def test_more_scopes_are_added_to_a_credential_that_keeps_its_id(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replica = await one(vault_database, provider)
    before = await connect(replica, provider, scopes=["openid", "read"])
    after = await connect(replica, provider, scopes=["write"], credential_id=before.credential_id)
    assert after.credential_id == before.credential_id
    assert (before.version, after.version) == (1, 2)
    assert set(after.scopes) == {"openid", "read", "write"}
    assert (await replica.oauth.tests.test(await replica.reopened(after))).verdict is Verdict.VALID


async def test_more_scopes_of_another_account_are_refused(vault_database: Vaults, provider: OpenIdProvider) -> None:
    replica = await one(vault_database, provider)
    before = await connect(replica, provider)
    with pytest.raises(ProviderRefused, match=r"anna@example\.com"):
        await connect(
            replica, provider, account="berta@example.com", scopes=["write"], credential_id=before.credential_id
        )
    assert (await replica.vault.get("anna", before.credential_id)).version == 1


async def test_another_users_credential_gets_no_scopes(vault_database: Vaults, provider: OpenIdProvider) -> None:
    replica = await one(vault_database, provider)
    record = await connect(replica, provider, "anna")
    with pytest.raises(CredentialNotFound):
        await begin(replica, "eve", credential_id=record.credential_id)


async def test_a_credential_that_was_deleted_meanwhile_stays_deleted(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replica = await one(vault_database, provider)
    record = await connect(replica, provider)
    returned = await provider.sign_in((await begin(replica, credential_id=record.credential_id)).url)
    await replica.vault.delete(record)
    with pytest.raises(CredentialNotFound):
        await finish(replica, returned)


async def test_a_revoked_credential_is_active_again_once_it_is_connected(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replica = await one(vault_database, provider)
    record = await connect(replica, provider)
    await replica.vault.set_state(record.credential_id, CredentialState.REVOKED, "Gone.", expected_version=1)
    again = await connect(replica, provider, credential_id=record.credential_id)
    assert (again.state, again.state_reason, again.version) == (CredentialState.ACTIVE, "", 2)


async def test_a_provider_without_a_client_is_named(vault_database: Vaults, provider: OpenIdProvider) -> None:
    async with vault_database.replica(provider.definition(), "") as replica:
        with pytest.raises(ProviderNotConfigured, match="BLOCKYARD_OAUTH_CLIENTS"):
            await begin(replica)
        with pytest.raises(ProviderNotConfigured, match="nowhere"):
            await replica.oauth.authorizations.start("anna", "nowhere", scopes=[], redirect_uri=CALLBACK)


@pytest.mark.parametrize("scope", ["", "two words", 'a"quote', "ümlaut", "x" * 201, "nul\x00"])
async def test_a_scope_that_is_none_is_named(vault_database: Vaults, provider: OpenIdProvider, scope: str) -> None:
    replica = await one(vault_database, provider)
    with pytest.raises(InvalidArgument) as refused:
        await begin(replica, scopes=["read", scope])
    assert [violation.field for violation in refused.value.violations] == ["scopes[1]"]


async def test_authorizations_that_nobody_ends_do_not_pile_up(vault_database: Vaults, provider: OpenIdProvider) -> None:
    replica = await one(vault_database, provider)
    for _ in range(25):
        await begin(replica, "busy")
    kept = await replica.pool.fetchval("SELECT count(*) FROM authorizations WHERE user_id = 'busy'")
    assert kept == 20


async def test_a_deleted_credentials_grant_is_revoked_at_the_provider(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replica = await one(vault_database, provider)
    opened = await replica.reopened(await connect(replica, provider, account="once@example.com"))
    await replica.vault.delete(opened.record)
    assert await replica.oauth.revocations.revoke(opened)
    assert (await provider.calls())[("/token/revocation", 200)] == 2
    headers = {"authorization": f"Bearer {opened.parts['access_token']}"}
    assert (await provider.client.get(f"{provider.issuer}/me", headers=headers)).status_code == 401


async def test_a_grant_that_another_credential_lives_on_is_not_revoked(
    vault_database: Vaults, provider: OpenIdProvider
) -> None:
    replica = await one(vault_database, provider)
    opened = await replica.reopened(await connect(replica, provider, account="twice@example.com"))
    await connect(replica, provider, "berta", account="twice@example.com")
    await replica.vault.delete(opened.record)
    assert not await replica.oauth.revocations.revoke(opened)
    assert ("/token/revocation", 200) not in await provider.calls()
