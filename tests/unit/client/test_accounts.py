"""Credentials, accounts, credits and the audit log through the client, against services in memory."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import blockyard
import grpc
import pytest
from blockyard import errors
from blockyard.account.v1 import account_pb2
from blockyard.account.v1 import account_service_pb2 as accounts
from blockyard.client import (
    ApiKeySecret,
    Client,
    CredentialState,
    CredentialType,
    HostHeadersSecret,
    TestVerdict,
    UserPasswordSecret,
    UserRole,
    UserState,
)
from blockyard.client.account_records import PERMISSIONS
from blockyard.client.credential_records import CredentialSecret
from blockyard.credentials.v1 import credential_pb2
from blockyard.credentials.v1 import credentials_service_pb2 as vault
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from pydantic import SecretStr

from tests.unit.client.memory_accounts import CREDENTIAL_ID
from tests.unit.client.memory_services import GRAPH_ID, TOKEN, Script, serve, status

EXPIRY = datetime(2027, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def client(script: Script, runner: asyncio.Runner) -> Iterator[Client]:
    with serve(script) as address:
        connected = blockyard.connect(address, TOKEN)
        runner.run(connected.__aenter__())
        yield connected
        runner.run(connected.__aexit__(None, None, None))


@pytest.mark.parametrize(
    ("secret", "kind"),
    [
        (ApiKeySecret("hunter2"), CredentialType.API_KEY),
        (ApiKeySecret(SecretStr("hunter2")), CredentialType.API_KEY),
        (UserPasswordSecret("anna", "hunter2"), CredentialType.USER_PASSWORD),
        (HostHeadersSecret("*.example.com", {"Authorization": SecretStr("hunter2")}), CredentialType.HOST_SCOPED),
    ],
)
async def test_a_secret_goes_in_and_is_not_printed(
    script: Script, client: Client, secret: CredentialSecret, kind: CredentialType
) -> None:
    kept = await client.credentials.create("github", secret, title="work", expires=EXPIRY)
    assert (kept.type, kept.state, kept.version) == (kind, CredentialState.ACTIVE, 1)
    assert "hunter2" in str(script.office.secrets[CREDENTIAL_ID])
    assert "hunter2" not in repr(secret) + str(secret) + repr(kept)
    sent = script.office.request(vault.CreateCredentialRequest)
    assert sent.expire_time.ToDatetime(tzinfo=UTC) == EXPIRY


async def test_a_creation_is_repeated_with_the_same_request_id(script: Script, client: Client) -> None:
    script.faults.append(status(grpc.StatusCode.UNAVAILABLE, "away"))
    await client.credentials.create("github", ApiKeySecret("x"), title="work")
    ids = [one.request_id for one in script.office.requests if isinstance(one, vault.CreateCredentialRequest)]
    assert len(ids) == 2
    assert ids[0]
    assert ids[0] == ids[1]


async def test_pages_are_one_list(script: Script, client: Client) -> None:
    for number in range(3):
        script.office.credentials[str(number)] = credential_pb2.Credential(id=str(number))
    found = [one.id async for one in client.credentials.list(provider="github", type=CredentialType.OAUTH2)]
    assert found == ["0", "1", "2"]
    asked = script.office.request(vault.ListCredentialsRequest)
    assert (asked.provider, asked.type) == ("github", credential_pb2.CREDENTIAL_TYPE_OAUTH2)


async def test_an_update_changes_what_is_given_alone(script: Script, client: Client) -> None:
    await client.credentials.create("github", ApiKeySecret("x"), title="work")
    for change, paths in (
        ({"title": "new"}, ["title"]),
        ({"secret": ApiKeySecret("y")}, ["secret"]),
        ({"expires": None}, ["expire_time"]),
        ({"title": "", "expires": EXPIRY}, ["title", "expire_time"]),
        ({}, []),
    ):
        await client.credentials.update(CREDENTIAL_ID, **change)
        assert list(script.office.request(vault.UpdateCredentialRequest).update_mask.paths) == paths


async def test_times_without_a_zone_are_those_of_this_machine_and_others_are_kept(
    script: Script, client: Client
) -> None:
    for given in (EXPIRY, EXPIRY.astimezone(timezone(timedelta(hours=5))), EXPIRY.astimezone().replace(tzinfo=None)):
        await client.account.create_key("ci", expires=given)
        sent: Timestamp = script.office.request(accounts.CreateApiKeyRequest).expire_time
        assert sent.ToDatetime(tzinfo=UTC) == EXPIRY


async def test_values_of_a_newer_server_are_unknown(script: Script, client: Client) -> None:
    newer = credential_pb2.Credential(id="c", type=99, state=99)  # type: ignore[arg-type]  # enums of proto3 are open
    script.office.credentials["c"] = newer
    found = await client.credentials.get("c")
    assert (found.type, found.state) == (CredentialType.UNKNOWN, CredentialState.UNKNOWN)
    script.office.users["u"] = account_pb2.User(id="u", role=99, state=99)  # type: ignore[arg-type]  # as above
    user = await client.users.get("u")
    assert (user.role, user.state) == (UserRole.UNKNOWN, UserState.UNKNOWN)
    script.office.verdict = 99  # type: ignore[assignment]  # as above
    assert (await client.credentials.test("c")).verdict is TestVerdict.UNKNOWN
    key = account_pb2.ApiKey(id="k", permissions=[1, 99])  # type: ignore[list-item]  # as above
    script.office.keys["k"] = key
    assert [one.permissions async for one in client.account.list_keys()] == [("read_graphs", "unknown")]


async def test_an_authorization_is_begun_and_ended(script: Script, client: Client) -> None:
    begun = await client.credentials.connect("github", "http://127.0.0.1:1/callback", scopes=["repo"])
    assert begun.state not in repr(begun)
    done = await client.credentials.complete(begun.state, "code", issuer="https://provider.example")
    assert done.type is CredentialType.OAUTH2
    assert script.office.request(vault.CompleteAuthorizationRequest).state == begun.state


async def test_what_works_once_is_not_repeated(script: Script, client: Client) -> None:
    for method, call in (
        ("CompleteAuthorization", client.credentials.complete("state", "code")),
        ("CreateApiKey", client.account.create_key("ci")),
        ("CreateUser", client.users.create("bob")),
        ("RotateKeys", client.vault.rotate(create=True)),
        ("DeleteCredential", client.credentials.delete(CREDENTIAL_ID)),
    ):
        script.faults.append(status(grpc.StatusCode.UNAVAILABLE, "away"))
        with pytest.raises(errors.Unavailable):
            await call
        assert script.calls.count(method) == 1


async def test_an_api_key_is_shown_once_and_not_printed(client: Client) -> None:
    made = await client.account.create_key("ci", permissions=["read_graphs"])
    assert made.key.get_secret_value() == "by_abcd_topsecret"
    assert "topsecret" not in repr(made) + str(made)
    assert made.record.permissions == ("read_graphs",)


def test_each_permission_has_a_name() -> None:
    assert len(PERMISSIONS) == len(account_pb2.Permission.values()) - 1


async def test_a_permission_that_there_is_not_is_refused_here(script: Script, client: Client) -> None:
    with pytest.raises(errors.InvalidArgument, match="no permission 'everything'; there are read_graphs"):
        await client.account.create_key("ci", permissions=["everything"])
    assert not script.calls


async def test_an_account_is_changed_where_it_is_told(script: Script, client: Client) -> None:
    changed = await client.account.update(name="", low_balance=50)
    assert (changed.name, changed.low_balance) == ("", 50)
    assert list(script.office.request(accounts.UpdateUserRequest).update_mask.paths) == ["name", "low_balance"]


async def test_a_top_up_is_repeated_with_the_same_request_id(script: Script, client: Client) -> None:
    script.faults.append(status(grpc.StatusCode.UNAVAILABLE, "away"))
    assert (await client.credits.top_up("anna", 5)).balance == 105
    ids = {one.request_id for one in script.office.requests if isinstance(one, accounts.TopUpCreditsRequest)}
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("code", "reason", "kind", "parent"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "INSUFFICIENT_CREDITS", errors.InsufficientCredits, errors.LimitReached),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", errors.RateLimited, errors.LimitReached),
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "CREDENTIALS_MISSING",
            errors.CredentialsMissing,
            errors.FailedPrecondition,
        ),
        (grpc.StatusCode.FAILED_PRECONDITION, "CREDENTIAL_IN_USE", errors.CredentialInUse, errors.FailedPrecondition),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_EXECUTIONS", errors.LimitReached, errors.CallError),
        (grpc.StatusCode.UNAVAILABLE, "RATE_LIMITED", errors.Unavailable, errors.CallError),
    ],
)
async def test_errors_of_their_own_have_classes_of_their_own(
    script: Script,
    client: Client,
    code: grpc.StatusCode,
    reason: str,
    kind: type[errors.CallError],
    parent: type[errors.CallError],
) -> None:
    script.faults.append(status(code, "No.", ErrorInfo(reason=reason, domain="blockyard")))
    with pytest.raises(parent) as caught:
        await client.graphs.fork(GRAPH_ID)
    assert type(caught.value) is kind


async def test_missing_credentials_are_named_by_field(script: Script, client: Client) -> None:
    fields = [{"field": "github_api_key", "description": "github, api_key"}]
    script.faults.append(
        status(
            grpc.StatusCode.FAILED_PRECONDITION,
            "Credentials are missing.",
            ErrorInfo(reason="CREDENTIALS_MISSING", domain="blockyard"),
            BadRequest(field_violations=fields),
        )
    )
    with pytest.raises(errors.CredentialsMissing) as caught:
        await client.executions.start(GRAPH_ID)
    assert caught.value.violations == (errors.FieldViolation("github_api_key", "github, api_key"),)


async def test_a_credential_in_use_has_its_places(script: Script, client: Client) -> None:
    places = [{"subject": "graphs/g1", "description": "version 2, mail.credentials"}]
    details = [ErrorInfo(reason="CREDENTIAL_IN_USE", domain="blockyard"), PreconditionFailure(violations=places)]
    script.faults.append(status(grpc.StatusCode.FAILED_PRECONDITION, "In use.", *details))
    with pytest.raises(errors.CredentialInUse) as caught:
        await client.credentials.delete(CREDENTIAL_ID)
    assert caught.value.violations == (errors.FieldViolation("graphs/g1", "version 2, mail.credentials"),)


async def test_a_call_that_came_too_soon_is_made_again_when_it_is_taken(script: Script, client: Client) -> None:
    limited = ErrorInfo(reason="RATE_LIMITED", domain="blockyard")
    soon = RetryInfo(retry_delay=Duration(nanos=20_000_000))
    script.faults += [status(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many.", limited, soon)] * 2
    await client.users.create("bob")  # had no effect, so even this one
    assert script.calls == ["CreateUser"] * 3


async def test_a_call_that_would_have_to_wait_for_long_is_told(script: Script, client: Client) -> None:
    limited = ErrorInfo(reason="RATE_LIMITED", domain="blockyard")
    late = RetryInfo(retry_delay=Duration(seconds=6))
    script.faults.append(status(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many.", limited, late))
    with pytest.raises(errors.RateLimited) as caught:
        await client.account.me()
    assert (caught.value.retry_after, script.calls) == (6.0, ["GetUser"])


async def test_a_start_names_credentials_and_what_becomes_of_it_without_credits(script: Script, client: Client) -> None:
    await client.executions.start(GRAPH_ID, credentials={"github_api_key": CREDENTIAL_ID}, credits_policy="fail")
    assert dict(script.starts[0].credentials) == {"github_api_key": CREDENTIAL_ID}
    assert script.starts[0].credits_policy == 2
    await client.blocks.run("ShoutBlock", {"text": "x"}, credentials={"key": CREDENTIAL_ID})
    assert dict(script.block_runs[0].credentials) == {"key": CREDENTIAL_ID}
