"""The audit log: what is noted, that it stays, and for how long."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from blockyard.account.v1 import account_service_pb2 as messages
from blockyard.account.v1.account_pb2 import AuditEntry
from blockyard.account.v1.identity_service_pb2 import RecordActionsRequest
from blockyard.account.v1.identity_service_pb2_grpc import IdentityServiceStub
from blockyard.dev.postgres import PostgresServer
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from services.common import grpc_client
from services.common.admission import RemoteRecorder
from tests import signing
from tests.integration.account.service import Service, account_service, replica
from tests.stack.postgres import as_role, migrated_database
from tests.waiting import until

ACCOUNT = "blockyard.account.v1.AccountService/"


async def listed(service: Service, **wanted: Any) -> list[AuditEntry]:
    answer = await service.admin("auditor").call("ListAuditEntries", messages.ListAuditEntriesRequest(**wanted))
    return list(answer.entries)


def entry(actor: str, age: timedelta = timedelta(), **fields: Any) -> AuditEntry:
    made = AuditEntry(id=str(uuid.uuid4()), actor=actor, action="test.action", outcome="OK", **fields)
    made.time.FromDatetime(datetime.now(UTC) - age)
    return made


async def test_a_change_is_noted_with_who_what_and_from_where(service: Service) -> None:
    caller = service.user("audited", x_request_id="request-1")

    made = await caller.make_key("READ_ACCOUNT")

    [found] = await listed(service, actor="audited")
    assert found.action == ACCOUNT + "CreateApiKey"
    assert found.resource == f"api_keys/{made.api_key.id}"
    assert (found.outcome, found.address, found.request_id) == ("OK", "127.0.0.1", "request-1")
    assert "grpc-python" in found.user_agent
    assert dict(found.details) == {"prefix": made.api_key.prefix, "permissions": "READ_ACCOUNT"}
    assert made.key not in str(found)


async def test_what_is_done_with_a_key_names_the_key(service: Service) -> None:
    made = await service.user("keyed").make_key()
    request = messages.UpdateUserRequest(update_mask=FieldMask(paths=["name"]), name="Secret Name")

    await service.holder_of(made.key).call("UpdateUser", request)

    [found] = await listed(service, actor="keyed", action=ACCOUNT + "UpdateUser")
    assert (found.api_key_id, found.resource) == (made.api_key.id, "users/keyed")
    assert "Secret Name" not in str(found)


async def test_each_change_is_noted_once(service: Service) -> None:
    admin = service.admin("noter")
    await admin.call("CreateUser", messages.CreateUserRequest(user_id="noted"))
    await admin.call("SetUserAccess", messages.SetUserAccessRequest(user_id="noted", role=2))  # type: ignore[arg-type]
    await admin.call("ListUsers", messages.ListUsersRequest())

    async def all_noted() -> list[str]:
        actions = [one.action.rpartition("/")[2] for one in await listed(service, actor="noter")]
        return actions if "ListUsers" in actions else []

    assert sorted(await until(all_noted, "reading is noted as well")) == ["CreateUser", "ListUsers", "SetUserAccess"]


async def test_who_was_refused_is_noted_with_the_reason(service: Service) -> None:
    stranger = service.user("stranger")
    await stranger.refused("ListAuditEntries", messages.ListAuditEntriesRequest())
    await service.holder_of(None, x_request_id="nobody-1").refused("GetUser", messages.GetUserRequest())

    async def noted() -> list[AuditEntry]:
        return await listed(service, actor="stranger")

    [found] = await until(noted, "the refusal is noted")
    assert (found.action, found.outcome) == (ACCOUNT + "ListAuditEntries", "PERMISSION_DENIED")

    async def nobody() -> list[AuditEntry]:
        entries = await listed(service, action=ACCOUNT + "GetUser", page_size=1000)
        return [one for one in entries if one.request_id == "nobody-1"]

    [unknown] = await until(nobody, "the call without a token is noted")
    assert (unknown.actor, unknown.outcome, unknown.address) == ("", "TOKEN_MISSING", "127.0.0.1")


async def test_who_is_refused_often_does_not_fill_the_log(service: Service) -> None:
    stranger = service.user("stubborn")
    for _ in range(40):
        await stranger.refused("ListUsers", messages.ListUsersRequest())
    await service.admin("marker").call("ListUsers", messages.ListUsersRequest())

    async def marked() -> bool:
        return bool(await listed(service, actor="marker"))

    await until(marked, "what came later is noted")
    assert 1 <= len(await listed(service, actor="stubborn", page_size=1000)) <= 10


async def test_a_failed_change_is_noted_with_its_reason(service: Service) -> None:
    await service.admin("loser").refused("SetUserAccess", messages.SetUserAccessRequest(user_id="ghost", role=2))  # type: ignore[arg-type]

    async def noted() -> list[AuditEntry]:
        return await listed(service, actor="loser")

    [found] = await until(noted, "the failure is noted")
    assert (found.outcome, found.resource) == ("USER_NOT_FOUND", "users/ghost")


async def test_an_entry_that_is_sent_twice_is_kept_once(service: Service) -> None:
    sent = [entry("service:test", details={"n": str(number)}) for number in range(3)]

    await service.service().call("RecordActions", RecordActionsRequest(entries=sent))
    await service.service().call("RecordActions", RecordActionsRequest(entries=sent[1:]))

    found = await listed(service, actor="service:test")
    assert {one.id: dict(one.details) for one in found} == {one.id: dict(one.details) for one in sent}


async def test_entries_of_a_wrong_clock_are_kept(service: Service) -> None:
    ages = [timedelta(days=4000), timedelta(days=-4000)]
    sent = [entry("service:astray", age) for age in ages]

    await service.service().call("RecordActions", RecordActionsRequest(entries=sent))

    found = await listed(service, actor="service:astray")
    assert {one.id for one in found} == {one.id for one in sent}
    assert all(abs(one.time.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(days=70) for one in found)


@pytest.mark.parametrize(
    "wrong",
    [
        AuditEntry(id="x"),
        AuditEntry(id=str(uuid.uuid4()), actor="a" * 501),
        AuditEntry(id=str(uuid.uuid4()), action="a\x00"),
        AuditEntry(id=str(uuid.uuid4()), time=Timestamp(seconds=2**60)),
        AuditEntry(id=str(uuid.uuid4()), details={str(number): "" for number in range(51)}),
    ],
)
async def test_an_entry_that_does_not_fit_is_named(service: Service, wrong: AuditEntry) -> None:
    request = RecordActionsRequest(entries=[entry("service:sender"), wrong])

    refused = await service.service().refused("RecordActions", request)

    assert (refused.code, set(refused.fields)) == (StatusCode.INVALID_ARGUMENT, {"entries[1]"})


async def test_an_entry_that_is_never_taken_takes_no_other_with_it(service: Service) -> None:
    good = [entry("service:neighbour") for _ in range(20)]
    wrong = [entry("service:neighbour", user_agent="a\x00"), AuditEntry(id="x")]
    credentials = grpc_client.ServiceCredentials(signing.SERVICE_SECRET, "neighbour")
    async with grpc_client.channel(service.address, credentials) as channel:
        await RemoteRecorder(IdentityServiceStub(channel)).record([*good[:7], wrong[0], *good[7:], wrong[1]])

    found = await listed(service, actor="service:neighbour")
    assert {one.id for one in found} == {one.id for one in good}


async def test_too_many_entries_at_once_are_refused(service: Service) -> None:
    request = RecordActionsRequest(entries=[entry("service:flood")] * 1001)

    assert set((await service.service().refused("RecordActions", request)).fields) == {"entries"}


async def test_the_log_is_paged_and_filtered(service: Service) -> None:
    sent = [
        entry("service:pages", timedelta(seconds=10 * number), resource=f"things/{number % 2}") for number in range(5)
    ]
    await service.service().call("RecordActions", RecordActionsRequest(entries=sent))
    admin = service.admin("auditor")

    ids: list[str] = []
    token = ""
    while True:
        request = messages.ListAuditEntriesRequest(actor="service:pages", page_size=2, page_token=token)
        answer = await admin.call("ListAuditEntries", request)
        ids += [one.id for one in answer.entries]
        token = answer.next_page_token
        if not token:
            break

    assert ids == [one.id for one in sent]
    odd = await listed(service, actor="service:pages", resource="things/1")
    assert [one.id for one in odd] == [sent[1].id, sent[3].id]
    newest = await listed(service, actor="service:pages", start_time=sent[1].time)
    assert [one.id for one in newest] == [sent[0].id, sent[1].id]
    oldest = await listed(service, actor="service:pages", end_time=sent[3].time, action="test.")
    assert [one.id for one in oldest] == [sent[4].id]
    assert await listed(service, actor="service:pages", action="est.") == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE account_audit.audit_entries SET outcome = 'OK'",
        "DELETE FROM account_audit.audit_entries",
        "TRUNCATE account_audit.audit_entries",
        "DROP TABLE account_audit.audit_entries",
        "DROP SCHEMA account_audit CASCADE",
        "ALTER TABLE account_audit.audit_entries OWNER TO account",
        "ALTER SCHEMA account_audit OWNER TO account",
        "GRANT ALL ON account_audit.audit_entries TO account; DELETE FROM account_audit.audit_entries",
        "CREATE TABLE account_audit.more (x int)",
        "CREATE OR REPLACE FUNCTION account_audit.keep(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "SET ROLE account_audit",
        "SELECT account_audit.keep(29)",
    ],
)
async def test_the_service_itself_cannot_change_what_is_noted(service: Service, statement: str) -> None:
    await service.service().call("RecordActions", RecordActionsRequest(entries=[entry("service:kept")]))
    connection = await asyncpg.connect(as_role(service.database_url, "account"))
    try:
        with pytest.raises(asyncpg.PostgresError, match=r"must be owner|permission denied|30 days at least"):
            await connection.execute(statement)
        assert await connection.fetchval(
            "SELECT count(*) FROM account_audit.audit_entries WHERE actor = 'service:kept'"
        )
    finally:
        await connection.close()


async def test_no_partition_can_be_dropped_or_changed_by_the_service(service: Service) -> None:
    connection = await asyncpg.connect(as_role(service.database_url, "account"))
    try:
        partitions = await connection.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
            "WHERE inhparent = 'account_audit.audit_entries'::regclass"
        )
        assert len(partitions) >= 4
        for row in partitions:
            for statement in (f"DELETE FROM {row['name']}", f"DROP TABLE {row['name']}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
    finally:
        await connection.close()


async def test_months_past_retention_go_and_the_others_stay(service: Service) -> None:
    owner = await asyncpg.connect(service.database_url)
    role = await asyncpg.connect(as_role(service.database_url, "account"))
    try:
        for start, end in (("2020-01-01", "2020-02-01"), ("2020-02-01", "2020-03-01")):
            name = f"account_audit.audit_entries_{start[:4]}{start[5:7]}"
            await owner.execute(
                f"SET ROLE account_audit; CREATE TABLE {name} PARTITION OF account_audit.audit_entries "
                f"FOR VALUES FROM ('{start} 00:00+00') TO ('{end} 00:00+00'); RESET ROLE"
            )
        days = (datetime.now(UTC) - datetime(2020, 2, 15, tzinfo=UTC)).days

        dropped = await role.fetchval("SELECT account_audit.keep($1)", days)
        again = await role.fetchval("SELECT account_audit.keep($1)", days)
        last = await role.fetchval("SELECT account_audit.keep(365)")
    finally:
        await asyncio.gather(owner.close(), role.close())

    assert (dropped, again, last) == (1, 0, 1)


async def test_entries_that_find_no_partition_wait_until_there_is_one(postgres: PostgresServer) -> None:
    async with account_service(postgres) as alone:
        owner = await asyncpg.connect(alone.database_url)
        try:
            for row in await owner.fetch(
                "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
                "WHERE inhparent = 'account_audit.audit_entries'::regclass"
            ):
                await owner.execute(f"DROP TABLE {row['name']}")
            await alone.admin("patient").call("ListUsers", messages.ListUsersRequest())
            refused = await alone.service().refused("RecordActions", RecordActionsRequest(entries=[entry("service:x")]))
            await owner.execute("SELECT account_audit.keep(365)")
        finally:
            await owner.close()

        async def noted() -> list[AuditEntry]:
            return await listed(alone, actor="patient")

        assert [one.outcome for one in await until(noted, "it is noted after all")] == ["OK"]
    assert refused.code is StatusCode.UNAVAILABLE


async def test_a_start_asks_again_for_room_that_was_not_made(postgres: PostgresServer) -> None:
    asking = "query LIKE 'SELECT account_audit.keep%' AND wait_event_type = 'Lock'"
    with migrated_database(postgres.url, "account") as url:
        holder, watcher = await asyncpg.connect(url), await asyncpg.connect(url)

        async def starts() -> None:
            async with replica(url):
                pass

        async def cancelled() -> bool:
            count = f"SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE {asking}"
            return bool(await watcher.fetchval(count))

        try:
            async with asyncio.TaskGroup() as group, holder.transaction():
                await holder.execute("LOCK account_audit.audit_entries IN ACCESS EXCLUSIVE MODE")
                group.create_task(starts())
                await until(cancelled, "it asked, and was cancelled")
                await until(cancelled, "it asked again")
        finally:
            await asyncio.gather(holder.close(), watcher.close())
