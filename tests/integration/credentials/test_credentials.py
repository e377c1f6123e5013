"""Credentials through the API: kept, read without their secrets, replaced, deleted; and what is refused."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from blockyard.account.v1.account_pb2 import AuditEntry
from blockyard.credentials.v1 import credentials_service_pb2 as messages
from blockyard.credentials.v1.credential_pb2 import (
    CREDENTIAL_STATE_ACTIVE,
    CREDENTIAL_STATE_EXPIRED,
    CREDENTIAL_TYPE_API_KEY,
    CREDENTIAL_TYPE_HOST_SCOPED,
    CREDENTIAL_TYPE_USER_PASSWORD,
    Credential,
    CredentialSecret,
    CredentialUse,
    HostHeaders,
    UserPassword,
)
from blockyard.dev.postgres import PostgresServer
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from tests.integration.credentials.service import Service, vault_service
from tests.waiting import until

SENTINEL = "sk-sentinel-8c1f2a90"


def _user() -> str:
    return f"user-{uuid.uuid4().hex[:12]}"


def _time(ahead: timedelta) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + ahead)
    return stamp


def _headers(host: str = "api.example.com", **headers: str) -> CredentialSecret:
    return CredentialSecret(host_headers=HostHeaders(host=host, headers=headers or {"X-Key": "v"}))


async def _get(service: Service, user: str, credential_id: str) -> Credential:
    answer = await service.user(user).call("GetCredential", messages.GetCredentialRequest(credential_id=credential_id))
    credential: Credential = answer.credential
    return credential


async def _entries(service: Service, credential_id: str) -> list[AuditEntry]:
    rows = await service.pool.fetch("SELECT entry FROM audit_outbox ORDER BY create_time, entry_id")
    entries = [AuditEntry.FromString(row["entry"]) for row in rows]
    return [entry for entry in entries if entry.resource == f"credentials/{credential_id}"]


async def test_a_credential_is_shown_without_its_secret(service: Service) -> None:
    user = _user()
    kept = await service.user(user).keep(SENTINEL, title="  Work  ", expire_time=_time(timedelta(days=1)))

    got = await _get(service, user, kept.id)

    assert got == kept
    assert (got.provider, got.type, got.title, got.version) == ("acme", CREDENTIAL_TYPE_API_KEY, "Work", 1)
    assert (got.user_id, got.state, got.uses) == (user, CREDENTIAL_STATE_ACTIVE, 0)
    assert SENTINEL not in str(got)


async def test_every_kind_is_kept_with_what_of_it_may_be_shown(service: Service) -> None:
    caller = service.user(_user())
    password = CredentialSecret(user_password=UserPassword(username="anna", password=SENTINEL))
    headers = _headers("*.Example.com.:8443", **{"X-Token": SENTINEL, "Accept": "text/plain"})

    login = await caller.call(
        "CreateCredential", messages.CreateCredentialRequest(provider="mail", title="Mail", secret=password)
    )
    scoped = await caller.call(
        "CreateCredential", messages.CreateCredentialRequest(provider="http", title="API", secret=headers)
    )

    assert (login.credential.type, login.credential.account_name) == (CREDENTIAL_TYPE_USER_PASSWORD, "anna")
    assert (scoped.credential.type, scoped.credential.host) == (CREDENTIAL_TYPE_HOST_SCOPED, "*.example.com:8443")
    assert list(scoped.credential.header_names) == ["Accept", "X-Token"]
    assert SENTINEL not in f"{login}{scoped}"


async def test_no_table_holds_the_secret_in_the_clear(service: Service) -> None:
    kept = await service.user(_user()).keep(SENTINEL, request_id="once")

    tables = await service.pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'credentials'")
    rows = [row for table in tables for row in await service.pool.fetch(f"SELECT t::text FROM {table['tablename']} t")]

    assert any(kept.id in row["t"] for row in rows)
    for encoded in (SENTINEL, SENTINEL.encode().hex()):
        assert not [row for row in rows if encoded in row["t"]]


async def test_a_user_has_a_bounded_number_of_credentials_and_those_that_are_there_can_be_used(
    postgres: PostgresServer,
) -> None:
    async with vault_service(postgres, credentials_of_user=2) as bounded:
        caller, other = bounded.user(_user()), bounded.user(_user())
        first = await caller.keep(request_id="first")
        second = await caller.keep()

        one_more = messages.CreateCredentialRequest(
            provider="acme", title="Third", secret=CredentialSecret(api_key=SENTINEL)
        )
        refused = await caller.refused("CreateCredential", one_more)

        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "2 credentials are kept for a user" in refused.message
        assert "BLOCKYARD_CREDENTIALS_OF_USER" in refused.message
        # What was asked for again is answered as before, others have room of their own, and what goes makes room.
        assert (await caller.keep(request_id="first")).id == first.id
        await other.keep()
        await caller.call("DeleteCredential", messages.DeleteCredentialRequest(credential_id=second.id))
        await caller.keep()


async def test_somebody_elses_credential_is_not_there(service: Service) -> None:
    kept = await service.user(_user()).keep()
    other = service.user(_user())

    calls = {
        "GetCredential": messages.GetCredentialRequest(credential_id=kept.id),
        "UpdateCredential": messages.UpdateCredentialRequest(
            credential_id=kept.id, update_mask=FieldMask(paths=["title"]), title="Mine"
        ),
        "DeleteCredential": messages.DeleteCredentialRequest(credential_id=kept.id, force=True),
        "TestCredential": messages.TestCredentialRequest(credential_id=kept.id),
    }
    for method, request in calls.items():
        refused = await other.refused(method, request)
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "CREDENTIAL_NOT_FOUND"), method
    listed = await other.call("ListCredentials", messages.ListCredentialsRequest())
    assert not listed.credentials


@pytest.mark.parametrize("credential_id", ["", "x", "0" * 36, "0190c0de-0000-7000-8000-000000000000"])
async def test_what_is_no_id_names_no_credential(service: Service, credential_id: str) -> None:
    refused = await service.user().refused("GetCredential", messages.GetCredentialRequest(credential_id=credential_id))

    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "CREDENTIAL_NOT_FOUND")


async def test_pages_hold_every_credential_once_and_the_newest_first(service: Service) -> None:
    caller = service.user(_user())
    kept = [(await caller.keep(title=f"number {number}")).id for number in range(5)]

    listed, token = [], ""
    while True:
        page = await caller.call("ListCredentials", messages.ListCredentialsRequest(page_size=2, page_token=token))
        listed += [credential.id for credential in page.credentials]
        token = page.next_page_token
        if not token:
            break

    assert listed == kept[::-1]


async def test_lists_are_filtered_by_provider_and_kind(service: Service) -> None:
    caller = service.user(_user())
    mine = await caller.keep(provider="one")
    await caller.keep(provider="two")
    secret = CredentialSecret(user_password=UserPassword(username="u", password="p"))
    await caller.call("CreateCredential", messages.CreateCredentialRequest(provider="one", title="t", secret=secret))

    request = messages.ListCredentialsRequest(provider="one", type=CREDENTIAL_TYPE_API_KEY)
    listed = await caller.call("ListCredentials", request)

    assert [credential.id for credential in listed.credentials] == [mine.id]


async def test_a_page_token_of_another_filter_is_refused(service: Service) -> None:
    caller = service.user(_user())
    for _ in range(2):
        await caller.keep()
    page = await caller.call("ListCredentials", messages.ListCredentialsRequest(page_size=1))

    for request in (
        messages.ListCredentialsRequest(page_token=page.next_page_token, provider="acme"),
        messages.ListCredentialsRequest(page_token="forged"),
    ):
        refused = await caller.refused("ListCredentials", request)
        assert refused.reason == "PAGE_TOKEN_INVALID"
    for request in (messages.ListCredentialsRequest(page_size=-1), messages.ListCredentialsRequest(type=99)):  # type: ignore[arg-type]  # what no enum has is the point
        refused = await caller.refused("ListCredentials", request)
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    refused = await caller.refused("ListCredentials", messages.ListCredentialsRequest(provider="Git Hub"))
    assert list(refused.fields) == ["provider"]


async def test_the_same_request_keeps_one_credential(service: Service) -> None:
    caller, other = service.user(_user()), service.user(_user())

    first = await caller.keep(request_id="r1")
    again = await caller.keep(request_id="r1")
    of_other = await other.keep(request_id="r1")
    refused = await caller.refused(
        "CreateCredential",
        messages.CreateCredentialRequest(
            provider="acme", title="Acme", secret=CredentialSecret(api_key="another"), request_id="r1"
        ),
    )

    assert again == first
    assert of_other.id != first.id
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"provider": ""}, "provider"),
        ({"provider": "Git Hub"}, "provider"),
        ({"provider": "x" * 101}, "provider"),
        ({"title": ""}, "title"),
        ({"title": "   "}, "title"),
        ({"title": "x" * 101}, "title"),
        ({"title": "two\nlines"}, "title"),
        ({"title": "nul\0"}, "title"),
        ({"title": "<script>"}, "title"),
        ({"secret": None}, "secret"),
        ({"secret": CredentialSecret()}, "secret"),
        ({"secret": CredentialSecret(api_key="")}, "secret.api_key"),
        ({"secret": CredentialSecret(api_key="key\n")}, "secret.api_key"),
        ({"secret": CredentialSecret(api_key="k\0y")}, "secret.api_key"),
        ({"secret": CredentialSecret(api_key="é" * 8193)}, "secret.api_key"),
        ({"secret": CredentialSecret(api_key="x" * 100_000)}, "secret.api_key"),
        ({"secret": CredentialSecret(user_password=UserPassword(password="p"))}, "secret.user_password.username"),
        ({"secret": CredentialSecret(user_password=UserPassword(username="u"))}, "secret.user_password.password"),
        ({"secret": _headers("")}, "secret.host_headers.host"),
        ({"secret": _headers("https://example.com")}, "secret.host_headers.host"),
        ({"secret": _headers("a.*.example.com")}, "secret.host_headers.host"),
        ({"secret": _headers("example.com:0")}, "secret.host_headers.host"),
        ({"secret": _headers("example.com:99999")}, "secret.host_headers.host"),
        ({"secret": _headers("user@example.com")}, "secret.host_headers.host"),
        ({"secret": CredentialSecret(host_headers=HostHeaders(host="a.b"))}, "secret.host_headers.headers"),
        ({"secret": _headers(**{"X Y": "v"})}, "secret.host_headers.headers"),
        ({"secret": _headers(Host="evil")}, "secret.host_headers.headers.Host"),
        ({"secret": _headers(**{"X-A": "a\r\nX-B: b"})}, "secret.host_headers.headers.X-A"),
        ({"secret": _headers(**{"X-A": ""})}, "secret.host_headers.headers.X-A"),
        ({"secret": _headers(**{"X-A": "a", "x-a": "b"})}, "secret.host_headers.headers"),
        ({"secret": _headers(**{f"X-{n}": "v" for n in range(21)})}, "secret.host_headers.headers"),
        ({"secret": _headers(**{"X-A": "a" * 17_000})}, "secret.host_headers.headers"),
        ({"expire_time": Timestamp(seconds=1)}, "expire_time"),
        ({"expire_time": Timestamp(seconds=1 << 60)}, "expire_time"),
        ({"expire_time": Timestamp(nanos=-5)}, "expire_time"),
        ({"request_id": "x" * 101}, "request_id"),
        ({"request_id": "nul\0"}, "request_id"),
    ],
)
async def test_a_malformed_field_is_named_and_its_value_is_not(
    service: Service, fields: dict[str, Any], place: str
) -> None:
    given = {"provider": "acme", "title": "Acme", "secret": CredentialSecret(api_key="key"), **fields}

    refused = await service.user().refused("CreateCredential", messages.CreateCredentialRequest(**given))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert list(refused.fields) == [place]


async def test_a_secret_in_the_place_of_a_name_is_not_repeated(service: Service) -> None:
    secret = _headers(**{f"Bearer {SENTINEL}": "Authorization"})

    refused = await service.user().refused(
        "CreateCredential", messages.CreateCredentialRequest(provider="http", title="t", secret=secret)
    )

    assert SENTINEL not in str(refused)


async def test_a_provider_that_takes_no_such_secret_is_refused(service: Service) -> None:
    secret = CredentialSecret(user_password=UserPassword(username="u", password="p"))

    refused = await service.user().refused(
        "CreateCredential", messages.CreateCredentialRequest(provider="openai", title="t", secret=secret)
    )

    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PROVIDER_NOT_CONFIGURED")


async def test_a_new_title_makes_no_version_and_a_new_secret_does(service: Service) -> None:
    user = _user()
    caller = service.user(user)
    kept = await caller.keep()

    renamed = await caller.call(
        "UpdateCredential",
        messages.UpdateCredentialRequest(
            credential_id=kept.id, update_mask=FieldMask(paths=["title"]), title="Other", version=1
        ),
    )
    replaced = await caller.call(
        "UpdateCredential",
        messages.UpdateCredentialRequest(
            credential_id=kept.id,
            update_mask=FieldMask(paths=["secret"]),
            secret=CredentialSecret(api_key="new"),
            title="is not in the mask",
        ),
    )

    assert (renamed.credential.title, renamed.credential.version) == ("Other", 1)
    assert (replaced.credential.title, replaced.credential.version) == ("Other", 2)
    assert await service.pool.fetchval("SELECT count(*) FROM secrets WHERE credential_id = $1", uuid.UUID(kept.id)) == 1


async def test_an_update_that_names_nothing_changes_nothing_and_is_not_in_the_log(service: Service) -> None:
    user = _user()
    caller = service.user(user)
    kept = await caller.keep()
    before = await _get(service, user, kept.id)
    entries = await _entries(service, kept.id)

    idle = messages.UpdateCredentialRequest(credential_id=kept.id, version=1)
    assert (await caller.call("UpdateCredential", idle)).credential == before
    assert await _get(service, user, kept.id) == before
    assert await _entries(service, kept.id) == entries
    idle.version = 2
    assert (await caller.refused("UpdateCredential", idle)).reason == "VERSION_CONFLICT"


async def test_titles_expiries_and_secrets_that_are_changed_at_the_same_time_are_all_kept(service: Service) -> None:
    user = _user()
    caller = service.user(user)
    kept = await caller.keep()
    expiry = _time(timedelta(days=1))

    async def update(path: str, **fields: Any) -> None:
        mask = FieldMask(paths=[path])
        request = messages.UpdateCredentialRequest(credential_id=kept.id, update_mask=mask, **fields)
        await caller.call("UpdateCredential", request)

    for number in range(5):
        await asyncio.gather(
            update("title", title=f"Title {number}"),
            update("expire_time", expire_time=expiry),
            update("secret", secret=CredentialSecret(api_key=f"secret {number}")),
        )
        after = await _get(service, user, kept.id)
        assert (after.title, after.expire_time, after.version) == (f"Title {number}", expiry, number + 2)
        await update("expire_time")


async def test_a_version_that_was_replaced_meanwhile_is_not_overwritten(service: Service) -> None:
    caller = service.user(_user())
    kept = await caller.keep()
    request = messages.UpdateCredentialRequest(
        credential_id=kept.id,
        update_mask=FieldMask(paths=["secret"]),
        secret=CredentialSecret(api_key="new"),
        version=1,
    )
    await caller.call("UpdateCredential", request)

    refused = await caller.refused("UpdateCredential", request)

    assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "VERSION_CONFLICT")


async def test_headers_are_replaced_with_their_host(service: Service) -> None:
    caller = service.user(_user())
    made = await caller.call(
        "CreateCredential", messages.CreateCredentialRequest(provider="http", title="t", secret=_headers())
    )

    replaced = await caller.call(
        "UpdateCredential",
        messages.UpdateCredentialRequest(
            credential_id=made.credential.id,
            update_mask=FieldMask(paths=["secret"]),
            secret=_headers("*.other.example", Authorization="Bearer x"),
        ),
    )

    assert replaced.credential.host == "*.other.example"
    assert list(replaced.credential.header_names) == ["Authorization"]


async def test_an_expiry_is_set_passes_and_is_taken_away(service: Service) -> None:
    user = _user()
    caller = service.user(user)
    kept = await caller.keep(expire_time=_time(timedelta(milliseconds=200)))

    async def expired() -> bool:
        return (await _get(service, user, kept.id)).state == CREDENTIAL_STATE_EXPIRED

    await until(expired, "the credential expires")
    revived = await caller.call(
        "UpdateCredential",
        messages.UpdateCredentialRequest(credential_id=kept.id, update_mask=FieldMask(paths=["expire_time"])),
    )

    assert revived.credential.state == CREDENTIAL_STATE_ACTIVE
    assert not revived.credential.HasField("expire_time")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"title": "a" * 1000}, "title"),
        ({"update_mask": FieldMask(paths=["provider"])}, "update_mask"),
        ({"update_mask": FieldMask(paths=["title", "user_id"]), "title": "t"}, "update_mask"),
        ({"update_mask": FieldMask(paths=["title"])}, "title"),
        ({"update_mask": FieldMask(paths=["secret"])}, "secret"),
        ({"update_mask": FieldMask(paths=["secret"]), "secret": _headers()}, "secret"),
        ({"update_mask": FieldMask(paths=["expire_time"]), "expire_time": Timestamp(seconds=1)}, "expire_time"),
        ({"update_mask": FieldMask(paths=["title"]), "title": "t", "version": -1}, "version"),
    ],
)
async def test_a_change_that_makes_no_sense_is_refused_by_field(
    service: Service, fields: dict[str, Any], place: str
) -> None:
    caller = service.user(_user())
    kept = await caller.keep()

    refused = await caller.refused(
        "UpdateCredential", messages.UpdateCredentialRequest(credential_id=kept.id, **fields)
    )

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(refused.fields) == [place]


async def test_one_that_is_in_use_is_deleted_by_force_alone(service: Service) -> None:
    user = _user()
    caller = service.user(user)
    kept = await caller.keep()
    service.neighbours.in_graphs[kept.id] = [CredentialUse(graph_id="g1", graph_version=3, node_id="n1", pin="key")]
    service.neighbours.in_executions[kept.id] = [CredentialUse(execution_id="e1", node_id="n2", pin="key")]

    refused = await caller.refused("DeleteCredential", messages.DeleteCredentialRequest(credential_id=kept.id))
    still_there = await _get(service, user, kept.id)
    forced = await caller.call("DeleteCredential", messages.DeleteCredentialRequest(credential_id=kept.id, force=True))
    gone = await caller.refused("GetCredential", messages.GetCredentialRequest(credential_id=kept.id))

    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CREDENTIAL_IN_USE")
    assert sorted(refused.fields) == ["executions/e1/nodes/n2.key", "graphs/g1/versions/3/nodes/n1.key"]
    assert still_there.id == kept.id
    assert [use.node_id for use in forced.uses] == ["n1", "n2"]
    assert gone.reason == "CREDENTIAL_NOT_FOUND"
    assert not await service.pool.fetchval("SELECT count(*) FROM secrets WHERE credential_id = $1", uuid.UUID(kept.id))


async def test_while_uses_cannot_be_told_only_force_deletes(service: Service) -> None:
    caller = service.user(_user())
    kept = await caller.keep()
    service.neighbours.away = True
    try:
        refused = await caller.refused("DeleteCredential", messages.DeleteCredentialRequest(credential_id=kept.id))
        forced = await caller.call(
            "DeleteCredential", messages.DeleteCredentialRequest(credential_id=kept.id, force=True)
        )
    finally:
        service.neighbours.away = False

    assert (refused.code, refused.retry) == (grpc.StatusCode.UNAVAILABLE, True)
    assert not forced.uses


async def test_each_change_is_written_down_with_who_made_it(service: Service) -> None:
    user = _user()
    caller = service.user(user)
    kept = await caller.keep(SENTINEL)
    await caller.call(
        "UpdateCredential",
        messages.UpdateCredentialRequest(
            credential_id=kept.id, update_mask=FieldMask(paths=["secret"]), secret=CredentialSecret(api_key=SENTINEL)
        ),
    )
    await caller.call("DeleteCredential", messages.DeleteCredentialRequest(credential_id=kept.id))

    entries = await _entries(service, kept.id)

    assert [entry.action.rpartition("/")[2] for entry in entries] == [
        "CreateCredential",
        "UpdateCredential",
        "DeleteCredential",
    ]
    assert {entry.actor for entry in entries} == {user}
    assert all(entry.address and entry.request_id for entry in entries)
    assert SENTINEL not in str(entries)


async def test_what_was_refused_is_not_written_down_as_done(service: Service) -> None:
    caller = service.user(_user())
    kept = await caller.keep()
    await caller.refused(
        "UpdateCredential",
        messages.UpdateCredentialRequest(
            credential_id=kept.id, update_mask=FieldMask(paths=["title"]), title="x", version=7
        ),
    )

    assert len(await _entries(service, kept.id)) == 1


async def test_a_viewer_looks_and_changes_nothing(service: Service) -> None:
    user = _user()
    kept = await service.user(user).keep()
    viewer = service.user(user, "viewer")

    seen = await viewer.call("GetCredential", messages.GetCredentialRequest(credential_id=kept.id))
    refused = await viewer.refused("DeleteCredential", messages.DeleteCredentialRequest(credential_id=kept.id))

    assert seen.credential.id == kept.id
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED


async def test_providers_are_listed_with_what_they_take(service: Service) -> None:
    answer = await service.user().call("ListProviders", messages.ListProvidersRequest())

    providers = {provider.name: provider for provider in answer.providers}
    assert [provider.name for provider in answer.providers] == sorted(providers)
    assert providers["github"].types
    assert not providers["github"].oauth_configured
    assert providers["openai"].testable


async def test_a_credential_of_a_provider_that_nobody_can_ask_is_unknown(service: Service) -> None:
    caller = service.user(_user())
    kept = await caller.keep()

    answer = await caller.call("TestCredential", messages.TestCredentialRequest(credential_id=kept.id))

    assert (answer.verdict, bool(answer.message)) == (messages.TEST_VERDICT_UNKNOWN, True)
