"""Whatever a provider answers, nothing is lost, nobody waits without end, and the message says what to do."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.common.errors import BlockyardError, Unavailable
from services.credentials.errors import CredentialNotFound, CredentialUnusable, ProviderRefused
from services.credentials.oauth.checking import Verdict
from services.credentials.oauth.outgoing import MAX_CONNECTIONS, Outgoing, ProviderAway, Requests
from services.credentials.records import CredentialState, Opened
from tests.integration.credentials.oauth.hostile_provider import (
    Asked,
    Behaviour,
    HostileProvider,
    Write,
    answer,
    cut_off,
    dripping,
    endless,
    hostile_provider,
    not_http,
    silence,
    tokens,
)
from tests.integration.credentials.oauth.vaults import Replica, Vaults
from tests.waiting import until

CALLBACK = "https://app.example.com/callback"
HTML = "<html><title>Sign in</title></html>"
SENTINEL = "sentinel-5b1f"

AWAY: dict[str, Behaviour] = {
    "500": answer(500, HTML, "text/html"),
    "503 in JSON": answer(503, {"error": "temporarily_unavailable"}),
    "429": answer(429, {"error": "slow_down"}, retry_after="3600"),
    "hang": silence,
    "byte by byte": dripping,
    "cut off": cut_off,
    "not HTTP": not_http,
}
MISBEHAVED: dict[str, Behaviour] = {
    "HTML": answer(200, HTML, "text/html"),
    "HTML that says it is JSON": answer(200, HTML),
    "404 in HTML": answer(404, HTML, "text/html"),
    "a redirect": answer(302, "", "text/plain", location="https://elsewhere.example.com/"),
    "endless": endless,
    "a list": answer(200, "[1]"),
    "null": answer(200, "null"),
    "empty": answer(200, ""),
    "deep JSON": answer(200, "[" * 100_000),
    "not UTF-8": answer(200, b"\xff\xfe{}"),
    "no token": answer(200, {"token_type": "bearer"}),
    "a token that is a number": answer(200, tokens(access_token=7)),
    "a token with a line break": answer(200, tokens(access_token="a\r\nX-Evil: 1")),
    "a token of 1 MB": answer(200, tokens(access_token="x" * 200_000)),
    "another type of token": answer(200, tokens(token_type="mac")),
    "packed badly": answer(200, b"\x1f\x8b nonsense", content_encoding="gzip"),
    "packed strangely": answer(200, b"{}", content_encoding="br"),
    "a bomb": answer(200, gzip.compress(b"{" + b" " * (64 << 20)), content_encoding="gzip"),
    "an error without a code": answer(400, {"error": {"message": SENTINEL}}),
    "an error with a secret for a code": answer(400, {"error": f"the token {SENTINEL} is bad"}),
}


@pytest.fixture(scope="module")
def _running(runner: asyncio.Runner) -> Iterator[HostileProvider]:
    stack = AsyncExitStack()
    try:
        yield runner.run(stack.enter_async_context(hostile_provider()))
    finally:
        runner.run(stack.aclose())


@pytest.fixture
def provider(_running: HostileProvider) -> HostileProvider:
    """It behaves well, and was asked nothing."""
    _running.behaviours.clear()
    _running.asked.clear()
    return _running


CLIENTS = json.dumps({"openid": {"client_id": "vault", "client_secret": f"secret-{SENTINEL}"}})


async def one(vaults: Vaults, provider: HostileProvider, number: int = 0, **settings: Any) -> Replica:
    hangs = any(behaviour in (silence, dripping) for behaviour in provider.behaviours.values())
    values = {"provider_timeout_seconds": 0.5 if hangs else 10, "refresh_pause_seconds": 30, **settings}
    return await vaults.shared(provider.definition(), CLIENTS, number, **values)


def own(vaults: Vaults, provider: HostileProvider) -> AbstractAsyncContextManager[Replica]:
    """One that ends within the test, or may break."""
    return vaults.replica(provider.definition(), CLIENTS)


async def complete(replica: Replica) -> None:
    started = await replica.oauth.authorizations.start("anna", "openid", scopes=[], redirect_uri=CALLBACK)
    await replica.oauth.authorizations.complete(
        "anna", state=started.state, code=f"code-{SENTINEL}", error="", issuer=""
    )


async def expired(replica: Replica) -> Opened:
    return await replica.reopened(await replica.connected(seconds=-10, refresh_token=f"refresh-{SENTINEL}"))


@pytest.mark.parametrize("name", AWAY)
async def test_a_provider_that_is_away_makes_connecting_unavailable(
    vault_database: Vaults, provider: HostileProvider, name: str
) -> None:
    provider.behaves(AWAY[name])
    replica = await one(vault_database, provider)
    with pytest.raises(Unavailable, match="Begin again") as refused:
        await complete(replica)
    assert "Hostile" in refused.value.message
    assert SENTINEL not in refused.value.message


@pytest.mark.parametrize("name", MISBEHAVED)
async def test_an_answer_that_is_none_is_refused_with_what_to_do(
    vault_database: Vaults, provider: HostileProvider, name: str
) -> None:
    provider.behaves(MISBEHAVED[name])
    replica = await one(vault_database, provider)
    with pytest.raises(ProviderRefused, match="egin again") as refused:
        await complete(replica)
    assert "Hostile" in refused.value.message
    assert SENTINEL not in refused.value.message
    assert provider.calls["/token"] == 1


@pytest.mark.parametrize("name", [*AWAY, *MISBEHAVED])
async def test_a_failed_refresh_leaves_the_token_that_lives(
    vault_database: Vaults, provider: HostileProvider, name: str
) -> None:
    provider.behaves({**AWAY, **MISBEHAVED}[name])
    replica = await one(vault_database, provider)
    opened = await replica.reopened(await replica.connected(seconds=100))
    came = await asyncio.gather(*(replica.oauth.tokens.fresh(opened) for _ in range(10)))
    assert {one.parts["access_token"] for one in came} == {"access-1"}
    assert provider.calls["/token"] == 1
    kept = await replica.reopened(opened)
    assert (kept.record.version, kept.record.state) == (1, CredentialState.ACTIVE)
    assert kept.parts == opened.parts


@pytest.mark.parametrize("name", [*AWAY, *MISBEHAVED])
async def test_a_failed_refresh_of_an_expired_token_may_work_later(
    vault_database: Vaults, provider: HostileProvider, name: str
) -> None:
    provider.behaves({**AWAY, **MISBEHAVED}[name])
    replica = await one(vault_database, provider, refresh_pause_seconds=0)
    opened = await expired(replica)
    with pytest.raises(Unavailable) as refused:
        await replica.oauth.tokens.fresh(opened)
    assert SENTINEL not in refused.value.message
    provider.behaves(answer(200, tokens()))
    assert (await replica.oauth.tokens.fresh(opened)).parts["access_token"] == "access-new"


async def test_a_provider_that_failed_is_left_in_peace_by_all_replicas(
    vault_database: Vaults, provider: HostileProvider
) -> None:
    provider.behaves(answer(500, ""))
    first = await one(vault_database, provider)
    second = await one(vault_database, provider, 1)
    opened = await expired(first)
    for replica in (first, second, first, second):
        with pytest.raises(Unavailable):
            await replica.oauth.tokens.fresh(opened)
    assert provider.calls["/token"] == 1


async def test_an_answer_that_is_packed_is_unpacked(vault_database: Vaults, provider: HostileProvider) -> None:
    provider.behaves(answer(200, gzip.compress(json.dumps(tokens()).encode()), content_encoding="gzip"))
    replica = await one(vault_database, provider)
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


async def test_refreshes_are_counted_by_what_came_of_them(vault_database: Vaults, provider: HostileProvider) -> None:
    def counted(outcome: str) -> float:
        labels = {"provider": "openid", "outcome": outcome}
        return REGISTRY.get_sample_value("blockyard_token_refreshes_total", labels) or 0.0

    outcomes = {
        "refreshed": answer(200, tokens()),
        "failed": answer(500, ""),
        "refused": answer(400, {"error": "invalid_grant"}),
    }
    replica = await one(vault_database, provider)
    for outcome, behaviour in outcomes.items():
        provider.behaves(behaviour)
        before = {name: counted(name) for name in outcomes}
        await asyncio.gather(replica.oauth.tokens.fresh(await expired(replica)), return_exceptions=True)
        assert {name: counted(name) - before[name] for name in outcomes} == {
            name: float(name == outcome) for name in outcomes
        }


async def test_no_redirect_is_followed(vault_database: Vaults, provider: HostileProvider) -> None:
    provider.behaves(answer(307, "", location=f"{provider.issuer}/elsewhere"))
    provider.behaves(answer(302, "", location=f"{provider.issuer}/elsewhere"), "/me")
    replica = await one(vault_database, provider)
    with pytest.raises(ProviderRefused, match="redirects"):
        await complete(replica)
    opened = await replica.reopened(await replica.connected())
    assert (await replica.oauth.tests.test(opened)).verdict is Verdict.UNKNOWN
    assert provider.calls["/elsewhere"] == 0


@pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client", "invalid_request", "server_error"])
async def test_an_error_that_is_not_about_the_grant_revokes_nothing(
    vault_database: Vaults, provider: HostileProvider, code: str
) -> None:
    provider.behaves(answer(400, {"error": code, "error_description": f"about {SENTINEL}"}))
    replica = await one(vault_database, provider)
    opened = await expired(replica)
    with pytest.raises(Unavailable, match=code) as refused:
        await replica.oauth.tokens.fresh(opened)
    assert SENTINEL not in refused.value.message
    assert (await replica.reopened(opened)).record.state is CredentialState.ACTIVE


async def test_an_error_with_status_200_is_an_error(vault_database: Vaults, provider: HostileProvider) -> None:
    provider.behaves(answer(200, {"error": "invalid_grant", "error_description": f"about {SENTINEL}"}))
    replica = await one(vault_database, provider)
    opened = await expired(replica)
    with pytest.raises(CredentialUnusable, match="invalid_grant") as refused:
        await replica.oauth.tokens.fresh(opened)
    assert SENTINEL not in refused.value.message
    assert (await replica.vault.get("anna", opened.record.credential_id)).state is CredentialState.REVOKED


async def test_a_grant_that_another_replica_renewed_meanwhile_is_not_marked(
    vault_database: Vaults, provider: HostileProvider
) -> None:
    refusing, renewed = asyncio.Event(), asyncio.Event()

    async def behave(asked: Asked, write: Write) -> None:
        refusing.set()
        await renewed.wait()
        await answer(400, {"error": "invalid_grant"})(asked, write)

    provider.behaves(behave)
    replica = await one(vault_database, provider)
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
    vault_database: Vaults, provider: HostileProvider
) -> None:
    first = await one(vault_database, provider)
    second = await one(vault_database, provider, 1)
    opened = await expired(first)
    assert (await first.oauth.tokens.fresh(opened)).record.version == 2
    await first.age(opened.record.credential_id, 7200)
    provider.behaves(answer(400, {"error": "invalid_grant"}))
    current = await first.reopened(opened)
    came = await asyncio.gather(
        *((first, second)[number % 2].oauth.tokens.fresh(current) for number in range(50)), return_exceptions=True
    )
    assert {type(one) for one in came} == {CredentialUnusable}
    assert provider.calls["/token"] == 2


async def test_the_lease_of_a_replica_that_died_is_taken_when_it_is_over(
    vault_database: Vaults, provider: HostileProvider
) -> None:
    replica = await one(vault_database, provider)
    opened = await expired(replica)
    await replica.pool.execute(
        """UPDATE credentials SET refresh_holder = 'dead', refresh_until = clock_timestamp() + interval '0.5 s'
           WHERE credential_id = $1""",
        opened.record.credential_id,
    )
    assert (await replica.oauth.tokens.fresh(opened)).record.version == 2


async def test_waiting_for_another_replica_has_an_end(vault_database: Vaults, provider: HostileProvider) -> None:
    replica = await one(vault_database, provider, refresh_wait_seconds=0.3)
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
    assert provider.calls["/token"] == 0


async def test_a_stopping_vault_stores_what_was_refreshed(vault_database: Vaults, provider: HostileProvider) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def behave(request: Asked, write: Write) -> None:
        asked.set()
        await answered.wait()
        await answer(200, tokens())(request, write)

    provider.behaves(behave)
    other = await one(vault_database, provider)
    async with own(vault_database, provider) as stopping:
        opened = await expired(stopping)
        caller = asyncio.create_task(stopping.oauth.tokens.fresh(opened))
        await asked.wait()
        caller.cancel()
        asyncio.get_running_loop().call_later(0.2, answered.set)
    kept = await other.reopened(opened)
    assert (kept.record.version, kept.parts["refresh_token"]) == (2, "refresh-new")


async def test_a_token_is_stored_once_the_database_is_back(
    vault_database: Vaults, provider: HostileProvider, capsys: pytest.CaptureFixture[str]
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

    provider.behaves(behave)
    async with own(vault_database, provider) as replica:
        opened = await expired(replica)
        fresh = asyncio.create_task(replica.oauth.tokens.fresh(opened))
        await asked.wait()
        async with vault_database.closed():
            answered.set()
            await until(waits, "the token cannot be stored")
        assert (await fresh).record.version == 2
        assert (await replica.reopened(opened)).parts["refresh_token"] == "refresh-new"


async def test_what_was_refreshed_for_a_credential_that_was_deleted_meanwhile_is_given_back(
    vault_database: Vaults, provider: HostileProvider
) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def behave(request: Asked, write: Write) -> None:
        asked.set()
        await answered.wait()
        await answer(200, tokens())(request, write)

    provider.behaves(behave)
    replica = await one(vault_database, provider)
    opened = await expired(replica)
    fresh = asyncio.create_task(replica.oauth.tokens.fresh(opened))
    await asked.wait()
    await replica.vault.delete(opened.record)
    answered.set()
    with pytest.raises(CredentialNotFound):
        await fresh
    revoked = [request.form["token"] for request in provider.asked if request.path == "/revoke"]
    assert revoked == ["refresh-new", "access-new"]


async def test_a_token_that_lives_serves_while_the_database_is_away(
    vault_database: Vaults, provider: HostileProvider
) -> None:
    async with own(vault_database, provider) as replica:
        live = await replica.reopened(await replica.connected(seconds=100))
        dead = await expired(replica)
        replica.pool.terminate()
        assert await replica.oauth.tokens.fresh(live) is live
        with pytest.raises(Unavailable):
            await replica.oauth.tokens.fresh(dead)
        assert provider.calls["/token"] == 0


async def test_a_provider_that_keeps_its_refresh_token_keeps_it(
    vault_database: Vaults, provider: HostileProvider
) -> None:
    provider.behaves(answer(200, {"access_token": "access-2", "token_type": "Bearer", "expires_in": "3600"}))
    replica = await one(vault_database, provider)
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
    vault_database: Vaults, provider: HostileProvider, said: Any
) -> None:
    provider.behaves(answer(200, tokens(expires_in=said)))
    replica = await one(vault_database, provider)
    fresh = await replica.oauth.tokens.fresh(await expired(replica))
    assert (fresh.record.version, fresh.record.expire_time) == (2, None)


async def test_a_token_without_a_refresh_token_serves_until_it_expires(
    vault_database: Vaults, provider: HostileProvider
) -> None:
    replica = await one(vault_database, provider)
    live = await replica.reopened(await replica.connected(seconds=5, refresh_token=""))
    assert await replica.oauth.tokens.fresh(live) is live
    dead = await replica.reopened(await replica.connected(seconds=-5, refresh_token=""))
    with pytest.raises(CredentialUnusable, match="Connect the account again"):
        await replica.oauth.tokens.fresh(dead)
    assert not provider.asked
    assert (await replica.vault.get("anna", dead.record.credential_id)).state is CredentialState.EXPIRED


async def test_a_revocation_that_fails_is_no_failure_of_the_deletion(
    vault_database: Vaults, provider: HostileProvider
) -> None:
    replica = await one(vault_database, provider)
    for behaviour in (answer(500, ""), answer(302, ""), answer(400, {"error": "invalid_request"}), not_http):
        provider.behaves(behaviour, "/revoke")
        opened = await replica.reopened(await replica.connected())
        await replica.vault.delete(opened.record)
        assert not await replica.oauth.revocations.revoke(opened)
    assert provider.calls["/revoke"] == 4


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
    vault_database: Vaults, provider: HostileProvider, behaviour: Behaviour, verdict: Verdict
) -> None:
    provider.behaves(behaviour, "/me")
    replica = await one(vault_database, provider)
    opened = await replica.reopened(await replica.connected(access_token=f"access-{SENTINEL}"))
    finding = await replica.oauth.tests.test(opened)
    assert finding.verdict is verdict
    assert SENTINEL not in finding.message
    assert "<" not in finding.message


async def test_a_test_of_a_revoked_credential_asks_nobody(vault_database: Vaults, provider: HostileProvider) -> None:
    replica = await one(vault_database, provider)
    record = await replica.connected()
    await replica.vault.set_state(record.credential_id, CredentialState.REVOKED, "It is over.", expected_version=1)
    finding = await replica.oauth.tests.test(await replica.reopened(record))
    assert (finding.verdict, finding.message) == (Verdict.INVALID, "It is over.")
    assert not provider.asked


async def test_nothing_of_a_secret_is_in_the_log(
    vault_database: Vaults, provider: HostileProvider, capfd: pytest.CaptureFixture[str]
) -> None:
    replica = await one(vault_database, provider, refresh_pause_seconds=0, provider_timeout_seconds=1)
    opened = await expired(replica)
    for behaviour in [*AWAY.values(), *MISBEHAVED.values(), answer(200, tokens(SENTINEL))]:
        provider.behaves(behaviour)
        with_error: list[BlockyardError] = []
        try:
            await replica.oauth.tokens.fresh(opened)
        except BlockyardError as error:
            with_error.append(error)
        assert SENTINEL not in repr(with_error)
    assert provider.calls["/token"] == len(AWAY) + len(MISBEHAVED) + 1
    await until(lambda: not replica.oauth.tokens.refreshing, "all refreshes end")
    logged = "".join(capfd.readouterr())
    assert "an access token was refreshed" in logged
    assert SENTINEL not in logged
