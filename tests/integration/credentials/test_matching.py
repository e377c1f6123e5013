"""What fits a pin is found, what was chosen is judged, and why it does not fit is said in words."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from blockyard.credentials.v1.credential_pb2 import Credential, CredentialSecret, HostHeaders, UserPassword
from blockyard.credentials.v1.credentials_service_pb2 import CreateCredentialRequest
from blockyard.runner.v1.lease_service_pb2 import (
    CredentialDemand,
    CredentialMatch,
    MatchCredentialsRequest,
    MatchCredentialsResponse,
)

from services.common.ids import new_id
from services.credentials.records import CredentialState, CredentialType
from tests.integration.credentials.service import Service


def a_user() -> str:
    return f"user-{uuid.uuid4().hex[:12]}"


async def match(service: Service, user: str, **fields: Any) -> CredentialMatch:
    demand = CredentialDemand(**{"name": "it", "providers": ["acme"], "types": ["api_key"], **fields})
    request = MatchCredentialsRequest(user_id=user, demands=[demand])
    answer: MatchCredentialsResponse = await service.service().call("MatchCredentials", request)
    return answer.matches["it"]


async def keep(service: Service, user: str, secret: CredentialSecret, title: str = "Acme") -> Credential:
    request = CreateCredentialRequest(provider="acme", title=title, secret=secret)
    kept: Credential = (await service.user(user).call("CreateCredential", request)).credential
    return kept


async def keep_token(service: Service, user: str, scopes: Sequence[str], expire_time: datetime | None = None) -> str:
    """A connected account, as the vault's tables have it: no call keeps one without its provider."""
    credential_id = new_id()
    await service.pool.execute(
        "INSERT INTO credentials (credential_id, user_id, provider, type, title, scopes, expire_time) "
        "VALUES ($1, $2, 'acme', $3, 'Account', $4, $5)",
        credential_id,
        user,
        CredentialType.OAUTH2,
        list(scopes),
        expire_time,
    )
    return str(credential_id)


async def set_state(service: Service, credential_id: str, state: CredentialState, reason: str) -> None:
    await service.pool.execute(
        "UPDATE credentials SET state = $2, state_reason = $3 WHERE credential_id = $1",
        uuid.UUID(credential_id),
        state,
        reason,
    )


def ids(found: CredentialMatch) -> list[str]:
    return [one.credential_id for one in found.candidates]


async def test_those_of_the_user_that_fit_are_found_oldest_first(service: Service) -> None:
    user = a_user()
    mine = [(await service.user(user).keep(title=f"Key {number}")).id for number in range(3)]
    await service.user(user).keep(provider="other")
    await service.user(a_user()).keep()
    await keep(service, user, CredentialSecret(user_password=UserPassword(username="anna", password="p" * 8)))

    found = await match(service, user)
    assert ids(found) == mine
    first = found.candidates[0]
    assert (first.provider, first.type, first.title) == ("acme", "api_key", "Key 0")
    assert ids(await match(service, user, providers=["other", "acme"])) == [
        *mine,
        *ids(await match(service, user, providers=["other"])),
    ]
    assert len(ids(await match(service, user, providers=[], types=[]))) == 5


async def test_of_many_that_fit_twenty_are_named(service: Service) -> None:
    user = a_user()
    kept = [(await service.user(user).keep()).id for _ in range(22)]

    assert ids(await match(service, user)) == kept[:20]


async def test_scopes_have_to_be_granted(service: Service) -> None:
    user = a_user()
    narrow, wide = await keep_token(service, user, ["read"]), await keep_token(service, user, ["read", "write"])

    assert ids(await match(service, user, types=["oauth2"], scopes=["read", "write"])) == [wide]
    assert ids(await match(service, user, types=["oauth2"], scopes=["read"])) == [narrow, wide]
    chosen = await match(service, user, types=["oauth2"], scopes=["write", "read"], credential_id=narrow)
    assert chosen.problem == 'the credential "Account" lacks the scopes write: connect it again with them'
    assert not chosen.candidates


async def test_scopes_are_not_asked_of_keys(service: Service) -> None:
    user = a_user()
    kept = await service.user(user).keep()

    assert ids(await match(service, user, types=["api_key", "oauth2"], scopes=["read"])) == [kept.id]


async def test_a_token_that_has_expired_fits_since_it_is_refreshed(service: Service) -> None:
    user = a_user()
    token = await keep_token(service, user, [], datetime(2020, 1, 1, tzinfo=UTC))

    assert ids(await match(service, user, types=["oauth2"])) == [token]


async def test_headers_fit_the_host_of_the_url(service: Service) -> None:
    user = a_user()
    kept = {
        host: (await keep(service, user, CredentialSecret(host_headers=HostHeaders(host=host, headers={"X": "y"})))).id
        for host in ("api.example.com", "*.example.com", "api.example.com:8443")
    }
    wanted: dict[str, Any] = {"types": ["host_scoped"]}

    exact = await match(service, user, **wanted, url="https://api.example.com/v1?x=1")
    assert ids(exact) == [kept["api.example.com"], kept["*.example.com"]]
    assert ids(await match(service, user, **wanted, url="https://API.example.com.:8443")) == [
        kept["api.example.com:8443"]
    ]
    assert ids(await match(service, user, **wanted, url="https://example.com")) == []
    assert ids(await match(service, user, **wanted, url="https://api.example.com@evil.net")) == []
    assert ids(await match(service, user, **wanted, url="not a url")) == []
    assert ids(await match(service, user, **wanted)) == list(kept.values())
    chosen = await match(service, user, **wanted, url="https://evil.net", credential_id=kept["*.example.com"])
    assert chosen.problem == 'the credential "Acme" is for *.example.com, and not for the host and port of this URL'


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"providers": ["github", "gitlab"]}, 'the credential "Acme" is for acme, and github or gitlab is wanted'),
        ({"types": ["oauth2"]}, 'the credential "Acme" is of the kind api_key, and oauth2 is wanted'),
    ],
)
async def test_a_chosen_one_that_does_not_fit_is_told_why(
    service: Service, fields: dict[str, Any], problem: str
) -> None:
    user = a_user()
    kept = await service.user(user).keep()
    found = await match(service, user, credential_id=kept.id, **fields)

    assert (found.problem, ids(found)) == (problem, [])


async def test_a_chosen_one_that_fits_is_the_only_candidate(service: Service) -> None:
    user = a_user()
    await service.user(user).keep()
    kept = await service.user(user).keep()

    found = await match(service, user, credential_id=kept.id.upper())
    assert (ids(found), found.problem) == ([kept.id], "")


@pytest.mark.parametrize("chosen", ["nothing", "0199", "01990000-0000-7000-8000-000000000000", "*"])
async def test_a_chosen_one_that_is_not_there_is_told(service: Service, chosen: str) -> None:
    found = await match(service, a_user(), credential_id=chosen)

    assert found.problem == "the credential does not exist, or belongs to somebody else"


async def test_one_of_another_user_is_not_there(service: Service) -> None:
    kept = await service.user(a_user()).keep()
    found = await match(service, a_user(), credential_id=kept.id)

    assert (found.problem, ids(found)) == ("the credential does not exist, or belongs to somebody else", [])


@pytest.mark.parametrize("state", [CredentialState.REVOKED, CredentialState.UNREADABLE])
async def test_one_that_cannot_be_used_is_no_candidate_and_is_told_if_chosen(
    service: Service, state: CredentialState
) -> None:
    user = a_user()
    kept = await service.user(user).keep()
    await set_state(service, kept.id, state, "Connect it again.")

    assert ids(await match(service, user)) == []
    chosen = await match(service, user, credential_id=kept.id)
    assert chosen.problem == 'the credential "Acme" cannot be used: Connect it again.'


async def test_one_whose_time_is_over_is_no_candidate_and_is_told_if_chosen(service: Service) -> None:
    user = a_user()
    kept = await service.user(user).keep()
    await service.pool.execute(
        "UPDATE credentials SET expire_time = now() - interval '1 second' WHERE credential_id = $1", uuid.UUID(kept.id)
    )

    assert ids(await match(service, user)) == []
    chosen = await match(service, user, credential_id=kept.id)
    assert chosen.problem.startswith('the credential "Acme" cannot be used: its time is over')


async def test_demands_are_answered_by_their_names(service: Service) -> None:
    user = a_user()
    kept = await service.user(user).keep()
    demands = [
        CredentialDemand(name="a", providers=["acme"], types=["api_key"]),
        CredentialDemand(name="b", providers=["other"], types=["api_key"]),
        CredentialDemand(name="c", providers=["other"], types=["api_key"], credential_id=kept.id),
    ]
    answer = await service.service().call("MatchCredentials", MatchCredentialsRequest(user_id=user, demands=demands))

    assert {name: ids(found) for name, found in answer.matches.items()} == {"a": [kept.id], "b": [], "c": []}
    assert answer.matches["c"].problem


async def test_malformed_demands_are_refused_by_their_names(service: Service) -> None:
    twice = [CredentialDemand(name="a"), CredentialDemand(name="a")]
    for request, field in (
        (MatchCredentialsRequest(demands=twice[:1]), "user_id"),
        (MatchCredentialsRequest(user_id="anna", demands=twice), "demands[1].name"),
        (
            MatchCredentialsRequest(user_id="anna", demands=[CredentialDemand(name=str(n)) for n in range(1001)]),
            "demands",
        ),
    ):
        refusal = await service.service().refused("MatchCredentials", request)
        assert (refusal.code, list(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_a_runner_may_not_match(service: Service) -> None:
    refusal = await service.runner().refused("MatchCredentials", MatchCredentialsRequest(user_id="anna"))

    assert refusal.code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
