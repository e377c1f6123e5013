"""Whatever a provider answers, nothing is lost, nobody waits without end, and the message says what to do."""

import asyncio
import gzip
import json
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.common.errors import BlockyardError, Unavailable
from services.credentials.errors import CredentialUnusable, ProviderRefused
from services.credentials.oauth.checking import Verdict
from services.credentials.oauth.outgoing import MAX_CONNECTIONS, Outgoing, ProviderAway, Requests
from services.credentials.records import CredentialState
from tests.integration.credentials.oauth.hostile_provider import (
    Behaviour,
    HostileProvider,
    answer,
    endless,
    hostile_provider,
    not_http,
    silence,
    tokens,
)
from tests.integration.credentials.oauth.hostile_vaults import (
    AWAY,
    HTML,
    MISBEHAVED,
    SENTINEL,
    complete,
    expired,
    one,
)
from tests.integration.credentials.oauth.vaults import Vaults
from tests.waiting import until


@pytest.mark.parametrize("name", AWAY)
async def test_a_provider_that_is_away_makes_connecting_unavailable(
    vault_database: Vaults, hostile: HostileProvider, name: str
) -> None:
    hostile.behaves(AWAY[name])
    replica = await one(vault_database, hostile)
    with pytest.raises(Unavailable, match="Begin again") as refused:
        await complete(replica)
    assert "Hostile" in refused.value.message
    assert SENTINEL not in refused.value.message


@pytest.mark.parametrize("name", MISBEHAVED)
async def test_an_answer_that_is_none_is_refused_with_what_to_do(
    vault_database: Vaults, hostile: HostileProvider, name: str
) -> None:
    hostile.behaves(MISBEHAVED[name])
    replica = await one(vault_database, hostile)
    with pytest.raises(ProviderRefused, match="egin again") as refused:
        await complete(replica)
    assert "Hostile" in refused.value.message
    assert SENTINEL not in refused.value.message
    assert hostile.calls["/token"] == 1


async def test_an_answer_that_is_packed_is_unpacked(vault_database: Vaults, hostile: HostileProvider) -> None:
    hostile.behaves(answer(200, gzip.compress(json.dumps(tokens()).encode()), content_encoding="gzip"))
    replica = await one(vault_database, hostile)
    assert (await replica.oauth.tokens.fresh(await expired(replica))).parts["access_token"] == "access-new"


async def test_a_provider_that_hangs_holds_up_no_other() -> None:
    async with hostile_provider() as hanging, hostile_provider() as well:
        hanging.behaves(silence)
        async with Requests(20) as requests:
            stuck = [
                asyncio.create_task(requests.send(Outgoing("POST", f"{hanging.issuer}/token", {}, "", "it")))
                for _ in range(100)
            ]
            await until(lambda: hanging.calls["/token"] == MAX_CONNECTIONS, "all connections are in use")
            answered = await requests.send(Outgoing("POST", f"{well.issuer}/token", {}, "", "it"))
            assert answered.status == 200
            assert not any(task.done() for task in stuck)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)


async def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with hostile_provider() as proxy:
        proxy.behaves(answer(403, ""), "provider.example.com:443")
        monkeypatch.setenv("HTTPS_PROXY", proxy.issuer)
        async with Requests(10) as requests:
            with pytest.raises(ProviderAway):
                await requests.send(Outgoing("GET", "https://provider.example.com/", {}, None, "it"))
        assert [asked.method for asked in proxy.asked] == ["CONNECT"]


async def test_refreshes_are_counted_by_what_came_of_them(vault_database: Vaults, hostile: HostileProvider) -> None:
    def counted(outcome: str) -> float:
        labels = {"provider": "openid", "outcome": outcome}
        return REGISTRY.get_sample_value("blockyard_token_refreshes_total", labels) or 0.0

    outcomes = {
        "refreshed": answer(200, tokens()),
        "failed": answer(500, ""),
        "refused": answer(400, {"error": "invalid_grant"}),
    }
    replica = await one(vault_database, hostile)
    for outcome, behaviour in outcomes.items():
        hostile.behaves(behaviour)
        before = {name: counted(name) for name in outcomes}
        await asyncio.gather(replica.oauth.tokens.fresh(await expired(replica)), return_exceptions=True)
        assert {name: counted(name) - before[name] for name in outcomes} == {
            name: float(name == outcome) for name in outcomes
        }


async def test_no_redirect_is_followed(vault_database: Vaults, hostile: HostileProvider) -> None:
    hostile.behaves(answer(307, "", location=f"{hostile.issuer}/elsewhere"))
    hostile.behaves(answer(302, "", location=f"{hostile.issuer}/elsewhere"), "/me")
    replica = await one(vault_database, hostile)
    with pytest.raises(ProviderRefused, match="redirects"):
        await complete(replica)
    opened = await replica.reopened(await replica.connected())
    assert (await replica.oauth.tests.test(opened)).verdict is Verdict.UNKNOWN
    assert hostile.calls["/elsewhere"] == 0


async def test_an_error_with_status_200_is_an_error(vault_database: Vaults, hostile: HostileProvider) -> None:
    hostile.behaves(answer(200, {"error": "invalid_grant", "error_description": f"about {SENTINEL}"}))
    replica = await one(vault_database, hostile)
    opened = await expired(replica)
    with pytest.raises(CredentialUnusable, match="invalid_grant") as refused:
        await replica.oauth.tokens.fresh(opened)
    assert SENTINEL not in refused.value.message
    assert (await replica.vault.get("anna", opened.record.credential_id)).state is CredentialState.REVOKED


async def test_a_provider_that_keeps_its_refresh_token_keeps_it(
    vault_database: Vaults, hostile: HostileProvider
) -> None:
    hostile.behaves(answer(200, {"access_token": "access-2", "token_type": "Bearer", "expires_in": "3600"}))
    replica = await one(vault_database, hostile)
    fresh = await replica.oauth.tokens.fresh(await expired(replica))
    assert fresh.parts == {
        "access_token": "access-2",
        "refresh_token": f"refresh-{SENTINEL}",
        "token_type": "Bearer",
    }
    assert fresh.record.expire_time is not None
    assert fresh.record.scopes == ["openid", "read"]


@pytest.mark.parametrize("said", [None, -1, "soon", True, 1e300, [], 10**30, "9" * 5000])
async def test_a_life_that_is_none_means_that_it_is_not_known(
    vault_database: Vaults, hostile: HostileProvider, said: Any
) -> None:
    hostile.behaves(answer(200, tokens(expires_in=said)))
    replica = await one(vault_database, hostile)
    fresh = await replica.oauth.tokens.fresh(await expired(replica))
    assert (fresh.record.version, fresh.record.expire_time) == (2, None)


async def test_a_token_without_a_refresh_token_serves_until_it_expires(
    vault_database: Vaults, hostile: HostileProvider
) -> None:
    replica = await one(vault_database, hostile)
    live = await replica.reopened(await replica.connected(seconds=5, refresh_token=""))
    assert await replica.oauth.tokens.fresh(live) is live
    dead = await replica.reopened(await replica.connected(seconds=-5, refresh_token=""))
    with pytest.raises(CredentialUnusable, match="Connect the account again"):
        await replica.oauth.tokens.fresh(dead)
    assert not hostile.asked
    assert (await replica.vault.get("anna", dead.record.credential_id)).state is CredentialState.EXPIRED


async def test_a_revocation_that_fails_is_no_failure_of_the_deletion(
    vault_database: Vaults, hostile: HostileProvider
) -> None:
    replica = await one(vault_database, hostile)
    for behaviour in (answer(500, ""), answer(302, ""), answer(400, {"error": "invalid_request"}), not_http):
        hostile.behaves(behaviour, "/revoke")
        opened = await replica.reopened(await replica.connected())
        await replica.vault.delete(opened.record)
        assert not await replica.oauth.revocations.revoke(opened)
    assert hostile.calls["/revoke"] == 4


@pytest.mark.parametrize(
    ("behaviour", "verdict"),
    [
        (answer(200, {"name": "<b>Anna</b>\n"}), Verdict.VALID),
        (answer(200, "no JSON at all"), Verdict.VALID),
        (answer(401, HTML), Verdict.INVALID),
        (answer(403, HTML), Verdict.UNKNOWN),
        (answer(404, HTML), Verdict.UNKNOWN),
        (answer(500, HTML), Verdict.UNKNOWN),
        (answer(429, HTML), Verdict.UNKNOWN),
        (silence, Verdict.UNKNOWN),
        (endless, Verdict.UNKNOWN),
        (not_http, Verdict.UNKNOWN),
    ],
)
async def test_a_test_says_no_more_than_the_provider_did(
    vault_database: Vaults, hostile: HostileProvider, behaviour: Behaviour, verdict: Verdict
) -> None:
    hostile.behaves(behaviour, "/me")
    replica = await one(vault_database, hostile)
    opened = await replica.reopened(await replica.connected(access_token=f"access-{SENTINEL}"))
    finding = await replica.oauth.tests.test(opened)
    assert finding.verdict is verdict
    assert SENTINEL not in finding.message
    assert "<" not in finding.message


async def test_a_test_of_a_revoked_credential_asks_nobody(vault_database: Vaults, hostile: HostileProvider) -> None:
    replica = await one(vault_database, hostile)
    record = await replica.connected()
    await replica.vault.set_state(record.credential_id, CredentialState.REVOKED, "It is over.", expected_version=1)
    finding = await replica.oauth.tests.test(await replica.reopened(record))
    assert (finding.verdict, finding.message) == (Verdict.INVALID, "It is over.")
    assert not hostile.asked


async def test_nothing_of_a_secret_is_in_the_log(
    vault_database: Vaults, hostile: HostileProvider, capfd: pytest.CaptureFixture[str]
) -> None:
    replica = await one(vault_database, hostile, refresh_pause_seconds=0, provider_timeout_seconds=1)
    opened = await expired(replica)
    for behaviour in [*AWAY.values(), *MISBEHAVED.values(), answer(200, tokens(SENTINEL))]:
        hostile.behaves(behaviour)
        with_error: list[BlockyardError] = []
        try:
            await replica.oauth.tokens.fresh(opened)
        except BlockyardError as error:
            with_error.append(error)
        assert SENTINEL not in repr(with_error)
    assert hostile.calls["/token"] == len(AWAY) + len(MISBEHAVED) + 1
    await until(lambda: not replica.oauth.tokens.refreshing, "all refreshes end")
    logged = "".join(capfd.readouterr())
    assert "an access token was refreshed" in logged
    assert SENTINEL not in logged
