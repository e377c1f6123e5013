"""Secrets go to runs that are alive, for what their nodes name, and to nobody else; and each is written down."""

import asyncio
import inspect
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from blockyard.account.v1.account_pb2 import AuditEntry
from blockyard.credentials.v1 import credentials_service_pb2 as messages
from blockyard.credentials.v1.credential_pb2 import Credential, CredentialSecret, HostHeaders, UserPassword
from blockyard.dev.postgres import PostgresServer
from blockyard.runner.v1.heartbeat_pb2 import Holding
from blockyard.runner.v1.lease_service_pb2 import LeaseCredentialsResponse, LeasedCredential, MatchCredentialsRequest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.ids import first_id, new_id
from services.credentials.lease_upkeep import UseCounts, retire
from services.credentials.leasing import QUESTIONS_AT_ONCE
from services.credentials.records import CredentialState
from services.credentials.repository.credentials import CredentialRepository
from services.credentials.repository.leases import Lease, LeaseRepository
from tests.integration.credentials.service import Refusal, Service, vault_service
from tests.integration.credentials.tasks import TaskServer, asking, tasks
from tests.waiting import until

SECRET = "sk-live-5c1f2a90-leases"


@dataclass(eq=False)
class House:
    """A vault, and the execution service that it asks."""

    service: Service
    tasks: TaskServer

    async def lease(self, run: Holding, *pins: str) -> dict[str, LeasedCredential]:
        answer: LeaseCredentialsResponse = await self.service.runner().call("LeaseCredentials", asking(run, *pins))
        return dict(answer.credentials)

    async def refused(self, run: Holding, *pins: str) -> Refusal:
        return await self.service.runner().refused("LeaseCredentials", asking(run, *pins))

    async def kept(self, user: str, **fields: Any) -> Credential:
        return await self.service.user(user).keep(SECRET, **fields)

    async def leases_of(self, credential_id: str) -> list[dict[str, Any]]:
        rows = await self.service.pool.fetch(
            "SELECT * FROM leases WHERE credential_id = $1 ORDER BY lease_id", uuid.UUID(credential_id)
        )
        return [dict(row) for row in rows]

    async def uses_of(self, user: str, credential_id: str) -> Credential:
        request = messages.GetCredentialRequest(credential_id=credential_id)
        answer: messages.GetCredentialResponse = await self.service.user(user).call("GetCredential", request)
        return answer.credential


@pytest.fixture(scope="module")
def house(runner: asyncio.Runner, postgres: PostgresServer) -> Iterator[House]:
    stack = AsyncExitStack()

    async def build() -> House:
        served = await stack.enter_async_context(tasks())
        service = await stack.enter_async_context(vault_service(postgres, execution_address=served.address))
        return House(service, served)

    try:
        yield runner.run(build())
    finally:
        runner.run(stack.aclose())


def a_user() -> str:
    return f"user-{uuid.uuid4().hex[:12]}"


def in_time(ahead: timedelta) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + ahead)
    return stamp


# -- what is given


async def test_a_run_that_is_alive_gets_what_its_node_names(house: House) -> None:
    user = a_user()
    kept = await house.kept(user, title="Work")
    run = house.tasks.begin(user, {"credentials": kept.id})
    leased = (await house.lease(run))["credentials"]

    assert dict(leased.secret) == {"api_key": SECRET}
    assert list(leased.secret_parts) == ["api_key"]
    assert (leased.credential_id, leased.provider, leased.type) == (kept.id, "acme", "api_key")
    assert (leased.title, leased.version) == ("Work", 1)
    assert not leased.HasField("expire_time")


async def test_each_kind_comes_in_the_parts_that_blocks_take(house: House) -> None:
    user = a_user()
    caller = house.service.user(user)
    pair = CredentialSecret(user_password=UserPassword(username="anna", password="open sesame"))
    headers = CredentialSecret(host_headers=HostHeaders(host="*.example.com", headers={"X-Key": "v" * 20}))
    ids = {}
    for pin, secret in (("a_credentials", pair), ("b_credentials", headers)):
        request = messages.CreateCredentialRequest(provider="acme", title=pin, secret=secret)
        ids[pin] = (await caller.call("CreateCredential", request)).credential.id
    leased = await house.lease(house.tasks.begin(user, ids))

    assert leased["a_credentials"].type == "user_password"
    assert dict(leased["a_credentials"].secret) == {"username": "anna", "password": "open sesame"}
    assert list(leased["a_credentials"].secret_parts) == ["password"]
    assert leased["b_credentials"].type == "host_scoped"
    assert dict(leased["b_credentials"].secret) == {"host": "*.example.com", "headers": '{"X-Key":"' + "v" * 20 + '"}'}
    assert list(leased["b_credentials"].secret_parts) == ["headers"]


async def test_only_the_pins_that_are_asked_for_are_given(house: House) -> None:
    user = a_user()
    first, second = await house.kept(user), await house.kept(user)
    run = house.tasks.begin(user, {"a_credentials": first.id, "b_credentials": second.id})

    assert list(await house.lease(run, "b_credentials")) == ["b_credentials"]
    assert sorted(await house.lease(run)) == ["a_credentials", "b_credentials"]
    assert len(await house.leases_of(first.id)) == 1


async def test_asked_again_it_gives_the_newest_secret(house: House) -> None:
    user = a_user()
    kept = await house.kept(user)
    run = house.tasks.begin(user, {"credentials": kept.id})
    before = (await house.lease(run))["credentials"]
    await house.service.user(user).call("UpdateCredential", replacement(kept, "another-secret"))
    after = (await house.lease(run))["credentials"]

    assert (before.secret["api_key"], before.version) == (SECRET, 1)
    assert (after.secret["api_key"], after.version) == ("another-secret", 2)


def replacement(kept: Credential, text: str) -> messages.UpdateCredentialRequest:
    return messages.UpdateCredentialRequest(
        credential_id=kept.id, update_mask=FieldMask(paths=["secret"]), secret=CredentialSecret(api_key=text)
    )


# -- what is refused


@pytest.mark.parametrize("field", ["execution_id", "node_execution", "attempt", "run_id"])
async def test_a_run_that_differs_in_anything_gets_nothing(house: House, field: str) -> None:
    user = a_user()
    kept = await house.kept(user)
    run = house.tasks.begin(user, {"credentials": kept.id}, attempt=2)
    other = Holding()
    other.CopyFrom(run)
    setattr(other, field, uuid.uuid4().bytes if field == "execution_id" else getattr(run, field) + 1)

    refusal = await house.refused(other)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "LEASE_REFUSED")
    assert "its task was sent again" in refusal.message
    assert await house.leases_of(kept.id) == []
    assert await house.lease(run)


async def test_a_run_that_has_ended_or_was_replaced_gets_nothing_more(house: House) -> None:
    user = a_user()
    kept = await house.kept(user)
    run = house.tasks.begin(user, {"credentials": kept.id})
    await house.lease(run)
    house.tasks.end(run)

    assert (await house.refused(run)).reason == "LEASE_REFUSED"
    assert len(await house.leases_of(kept.id)) == 1


async def test_a_credential_of_another_user_is_not_there_for_a_run(house: House) -> None:
    kept = await house.kept(a_user())
    run = house.tasks.begin(a_user(), {"credentials": kept.id})

    refusal = await house.refused(run)
    assert refusal.reason == "CREDENTIAL_NOT_FOUND"
    assert refusal.fields == {"credentials": "the credential is gone: choose another one for this pin, and start again"}
    assert await house.leases_of(kept.id) == []


async def test_a_pin_that_the_node_does_not_name_gets_nothing(house: House) -> None:
    user = a_user()
    kept = await house.kept(user)
    run = house.tasks.begin(user, {"credentials": kept.id})

    refusal = await house.refused(run, "credentials", "other_credentials")
    assert refusal.reason == "CREDENTIAL_NOT_FOUND"
    assert list(refusal.fields) == ["other_credentials"]
    assert await house.leases_of(kept.id) == []


@pytest.mark.parametrize("named", ["", "none", "0199", "../keys"])
async def test_an_id_that_is_none_is_told_by_its_pin(house: House, named: str) -> None:
    refusal = await house.refused(house.tasks.begin(a_user(), {"credentials": named}))

    assert refusal.reason == "CREDENTIAL_NOT_FOUND"
    assert list(refusal.fields) == ["credentials"]


async def test_a_deleted_credential_is_told_by_each_of_its_pins(house: House) -> None:
    user = a_user()
    kept, other = await house.kept(user), await house.kept(user)
    request = messages.DeleteCredentialRequest(credential_id=kept.id, force=True)
    await house.service.user(user).call("DeleteCredential", request)
    run = house.tasks.begin(user, {"a_credentials": kept.id, "b_credentials": kept.id, "c_credentials": other.id})

    refusal = await house.refused(run)
    assert refusal.reason == "CREDENTIAL_NOT_FOUND"
    assert sorted(refusal.fields) == ["a_credentials", "b_credentials"]


async def test_an_expired_credential_is_not_given(house: House) -> None:
    user = a_user()
    kept = await house.kept(user, title="Old", expire_time=in_time(timedelta(hours=1)))
    run = house.tasks.begin(user, {"credentials": kept.id})
    assert await house.lease(run)
    await house.service.pool.execute(
        "UPDATE credentials SET expire_time = now() - interval '1 second' WHERE credential_id = $1", uuid.UUID(kept.id)
    )

    refusal = await house.refused(run)
    assert refusal.reason == "CREDENTIAL_UNUSABLE"
    assert refusal.fields == {
        "credentials": 'the credential "Old" cannot be used: its time is over; replace it, or change its expiry'
    }


async def test_a_revoked_credential_is_not_given(house: House) -> None:
    user = a_user()
    kept = await house.kept(user)
    repository = CredentialRepository(house.service.pool)
    await repository.set_state(uuid.UUID(kept.id), CredentialState.REVOKED, "Connect it again.", 1)

    refusal = await house.refused(house.tasks.begin(user, {"credentials": kept.id}))
    assert refusal.reason == "CREDENTIAL_UNUSABLE"
    assert "Connect it again" in refusal.fields["credentials"]


async def test_one_that_cannot_be_decrypted_harms_no_other(house: House) -> None:
    user = a_user()
    broken, sound = await house.kept(user), await house.kept(user)
    await house.service.pool.execute(
        "UPDATE secrets SET ciphertext = set_byte(ciphertext, 0, get_byte(ciphertext, 0) # 1) WHERE credential_id = $1",
        uuid.UUID(broken.id),
    )
    both = house.tasks.begin(user, {"a_credentials": broken.id, "b_credentials": sound.id})

    refusal = await house.refused(both)
    assert refusal.reason == "CREDENTIAL_UNUSABLE"
    assert list(refusal.fields) == ["a_credentials"]
    assert list(await house.lease(both, "b_credentials")) == ["b_credentials"]


MALFORMED: dict[str, Callable[[Any], object]] = {
    "runner_id": lambda request: setattr(request, "runner_id", ""),
    "run.execution_id": lambda request: setattr(request.run, "execution_id", b"short"),
    "run.node_execution": lambda request: setattr(request.run, "node_execution", -1),
    "run.attempt": lambda request: setattr(request.run, "attempt", 0),
    "run.run_id": lambda request: setattr(request.run, "run_id", 0),
    "pins": lambda request: request.pins.extend(["credentials"] * 101),
}


@pytest.mark.parametrize("field", MALFORMED)
async def test_a_malformed_request_is_refused_by_the_name_of_its_field(house: House, field: str) -> None:
    request = asking(house.tasks.begin(a_user(), {}))
    MALFORMED[field](request)
    asked = len(house.tasks.asked)

    refusal = await house.service.runner().refused("LeaseCredentials", request)
    assert (refusal.code, list(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    assert len(house.tasks.asked) == asked


async def test_a_runner_id_that_no_table_takes_is_refused_before_it_meets_the_leases_of_others(house: House) -> None:
    request = asking(house.tasks.begin(a_user(), {}))
    request.runner_id = "runner\0"

    refusal = await house.service.runner().refused("LeaseCredentials", request)
    assert (refusal.code, list(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, ["runner_id"])


@pytest.mark.parametrize("role", ["viewer", "user", "admin"])
async def test_no_user_can_lease_or_match(house: House, role: str) -> None:
    user = a_user()
    kept = await house.kept(user)
    run = house.tasks.begin(user, {"credentials": kept.id})
    caller = house.service.user(user, role)

    requests = {"LeaseCredentials": asking(run), "MatchCredentials": MatchCredentialsRequest(user_id=user)}
    for method, request in requests.items():
        refusal = await caller.refused(method, request)
        assert refusal.code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    assert await house.leases_of(kept.id) == []


# -- the execution service


async def test_a_verdict_that_is_unknown_is_to_be_asked_for_again(house: House) -> None:
    user = a_user()
    kept = await house.kept(user)
    run = house.tasks.begin(user, {"credentials": kept.id})
    key = next(key for key in house.tasks.alive if key[1] == run.node_execution)
    house.tasks.unknown.add(key)

    refusal = await house.refused(run)
    assert (refusal.code, refusal.retry) == (grpc.StatusCode.UNAVAILABLE, True)
    house.tasks.unknown.clear()
    assert await house.lease(run)


async def test_while_the_execution_service_is_away_nothing_is_given(house: House) -> None:
    user = a_user()
    kept = await house.kept(user)
    run = house.tasks.begin(user, {"credentials": kept.id})
    house.tasks.away = True
    try:
        refusal = await house.refused(run)
    finally:
        house.tasks.away = False

    assert (refusal.code, refusal.retry) == (grpc.StatusCode.UNAVAILABLE, True)
    assert await house.leases_of(kept.id) == []
    assert await house.lease(run)


async def test_concurrent_leases_share_their_questions(house: House) -> None:
    user = a_user()
    kept = await house.kept(user)
    runs = [house.tasks.begin(user, {"credentials": kept.id}) for _ in range(200)]
    dead = house.tasks.begin(user, {"credentials": kept.id})
    house.tasks.end(dead)
    before = len(house.tasks.asked)
    house.tasks.gate.clear()
    leases = [asyncio.ensure_future(house.lease(run)) for run in runs]
    refused = asyncio.ensure_future(house.refused(dead))
    await until(lambda: len(house.tasks.asked) == before + QUESTIONS_AT_ONCE, "questions are under way")
    # Its answer comes behind most of the calls before it: they are on the same connection.
    await house.uses_of(user, kept.id)
    house.tasks.gate.set()
    leased = await asyncio.gather(*leases)

    assert {one["credentials"].secret["api_key"] for one in leased} == {SECRET}
    assert (await refused).reason == "LEASE_REFUSED"
    # How many come together depends on how fast they arrive: a busy machine brings some after the gate was opened.
    shared = [len(question.runs) for question in house.tasks.asked[before:]]
    assert sum(shared) == len(runs) + 1
    assert max(shared) > 1
    assert len({one["credentials"].lease_id for one in leased}) == 200


async def test_a_runner_that_leaves_while_it_waits_leaves_the_others_their_answers(house: House) -> None:
    user = a_user()
    kept = await house.kept(user)
    house.tasks.gate.clear()
    before = len(house.tasks.asked)
    leases = [asyncio.ensure_future(house.lease(house.tasks.begin(user, {"credentials": kept.id}))) for _ in range(20)]
    await until(lambda: len(house.tasks.asked) > before, "they wait")
    for lease in leases[::2]:
        lease.cancel()
    house.tasks.gate.set()
    answers = await asyncio.gather(*leases, return_exceptions=True)

    assert sum(isinstance(answer, dict) for answer in answers) == 10


# -- what is written down


async def test_a_lease_is_there_before_its_answer_with_its_audit_entry(house: House) -> None:
    user = a_user()
    kept = await house.kept(user)
    run = house.tasks.begin(user, {"credentials": kept.id})
    leased = (await house.lease(run))["credentials"]

    (row,) = await house.leases_of(kept.id)
    assert str(row["lease_id"]) == leased.lease_id
    assert (row["user_id"], row["graph_id"], row["pin"]) == (user, "graph-1", "credentials")
    assert (row["execution_id"].bytes, row["node_execution"]) == (run.execution_id, run.node_execution)
    assert (row["attempt"], row["run_id"] % (1 << 64), row["runner_id"]) == (1, run.run_id, "default-0123")
    (entry,) = [entry for entry in await entries(house) if entry.details.get("lease") == leased.lease_id]
    assert (entry.action, entry.resource, entry.actor) == (
        "credential.lease",
        f"credentials/{kept.id}",
        "service:runner",
    )
    assert (entry.details["user"], entry.details["pin"]) == (user, "credentials")
    assert SECRET not in str(entry)


async def entries(house: House) -> list[AuditEntry]:
    rows = await house.service.pool.fetch("SELECT entry FROM audit_outbox")
    return [AuditEntry.FromString(row["entry"]) for row in rows]


async def test_uses_are_counted_and_no_version_is_made_by_it(house: House) -> None:
    user = a_user()
    kept = await house.kept(user)
    begun = datetime.now(UTC)
    await asyncio.gather(*(house.lease(house.tasks.begin(user, {"credentials": kept.id})) for _ in range(30)))

    async def counted() -> Credential | None:
        now = await house.uses_of(user, kept.id)
        return now if now.uses == 30 else None

    after = await until(counted, "all are counted")
    assert after is not None
    assert after.last_use_time.ToDatetime(UTC) >= begun
    assert (after.version, after.update_time) == (1, kept.update_time)


async def test_uses_are_written_when_the_service_ends(house: House) -> None:
    user = a_user()
    kept = await house.kept(user)
    counts = UseCounts(LeaseRepository(house.service.pool))
    running = counts.run()
    counting = asyncio.ensure_future(running)
    await until(lambda: inspect.getcoroutinestate(running) == inspect.CORO_SUSPENDED, "it has begun")
    counts.add([uuid.UUID(kept.id)] * 3)
    counting.cancel()
    await asyncio.wait({counting})

    assert (await house.uses_of(user, kept.id)).uses == 3


async def test_many_nodes_use_one_credential_while_it_is_replaced_again_and_again(house: House) -> None:
    user = a_user()
    kept = await house.kept(user)
    texts = [f"secret-number-{number}" for number in range(20)]
    stop = asyncio.Event()

    async def leases() -> list[LeasedCredential]:
        found = []
        while not stop.is_set():
            found.append((await house.lease(house.tasks.begin(user, {"credentials": kept.id})))["credentials"])
        return found

    readers = [asyncio.ensure_future(leases()) for _ in range(8)]
    for text in texts:
        await house.service.user(user).call("UpdateCredential", replacement(kept, text))
    stop.set()
    leased = [one for found in await asyncio.gather(*readers) for one in found]

    # Whoever reads gets a whole version: its own secret under its own number.
    expected = {1: SECRET, **dict(enumerate(texts, 2))}
    assert {one.secret["api_key"] == expected[one.version] for one in leased} == {True}
    assert len(leased) >= len(readers)


async def test_a_lease_waits_for_no_transaction_that_holds_the_credentials_row(house: House) -> None:
    user = a_user()
    kept = await house.kept(user)
    async with house.service.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM credentials WHERE credential_id = $1 FOR UPDATE", uuid.UUID(kept.id))
        begun = time.monotonic()
        assert await house.lease(house.tasks.begin(user, {"credentials": kept.id}))
        assert time.monotonic() - begun < 5


async def test_leases_go_when_they_are_old_in_batches(house: House) -> None:
    repository = LeaseRepository(house.service.pool)
    old = [_lease(uuid.UUID(int=first_id(datetime.now(UTC) - timedelta(days=1)).int + number)) for number in range(7)]
    young = _lease(new_id())
    await repository.insert([*old, young], [])
    before = first_id(datetime.now(UTC) - timedelta(hours=1))

    assert [await repository.delete_before(before, 5) for _ in range(3)] == [5, 2, 0]
    left = await house.leases_of(str(young.credential_id))
    assert [row["lease_id"] for row in left] == [young.lease_id]


async def test_retention_deletes_what_is_older_than_it(house: House) -> None:
    repository = LeaseRepository(house.service.pool)
    old, young = _lease(first_id(datetime.now(UTC) - timedelta(days=1))), _lease(new_id())
    await repository.insert([old, young], [])
    retiring = asyncio.ensure_future(retire(repository, timedelta(hours=12)))

    async def only_young() -> bool:
        return not await house.leases_of(str(old.credential_id))

    try:
        await until(only_young, "the old one is gone")
    finally:
        retiring.cancel()
        await asyncio.wait({retiring})
    assert len(await house.leases_of(str(young.credential_id))) == 1


def _lease(lease_id: uuid.UUID) -> Lease:
    return Lease(
        lease_id=lease_id,
        credential_id=uuid.uuid4(),
        version=1,
        user_id="anna",
        execution_id=uuid.uuid4(),
        node_execution=1,
        attempt=1,
        run_id=-5,
        graph_id="graph-1",
        node_id="node-1",
        pin="credentials",
        runner_id="default-0123",
    )
