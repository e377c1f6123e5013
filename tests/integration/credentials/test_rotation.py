"""Rotation: online, in parts, by any number of callers, broken off anywhere, and no reader or writer notices."""

import asyncio
import os
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from blockyard.account.v1.account_pb2 import AuditEntry
from blockyard.credentials.v1 import credentials_service_pb2 as messages
from blockyard.credentials.v1.credential_pb2 import CredentialSecret
from blockyard.dev.postgres import PostgresServer
from google.protobuf.field_mask_pb2 import FieldMask

from tests.integration.credentials.killing import mortal_replica
from tests.integration.credentials.service import Service, ground, replica, vault_service
from tests.integration.credentials.test_key_providers import key_text
from tests.integration.credentials.test_keys import TEST, env, opens, spoil
from tests.integration.credentials.transit_engine import transit_engine
from tests.waiting import until


async def _keep(service: Service, number: int) -> list[str]:
    kept = await asyncio.gather(*(service.user().keep(f"secret {n}") for n in range(number)))
    return [credential.id for credential in kept]


async def _rotate(service: Service, **fields: Any) -> messages.RotateKeysResponse:
    answer: messages.RotateKeysResponse = await service.admin().call("RotateKeys", messages.RotateKeysRequest(**fields))
    return answer


async def _key_ids(service: Service) -> dict[str, int]:
    rows = await service.pool.fetch("SELECT key_id, count(*) AS secrets FROM secrets GROUP BY key_id")
    return {row["key_id"]: row["secrets"] for row in rows}


async def _all_open(service: Service, credential_ids: Sequence[str]) -> None:
    await asyncio.gather(*(service.user().call(TEST, opens(one)) for one in credential_ids))


async def test_secrets_move_to_the_new_key_in_parts_until_none_remains(postgres: PostgresServer) -> None:
    async with vault_service(postgres) as service:
        kept = await _keep(service, 5)
        before = await service.pool.fetch("SELECT credential_id, version, nonce, ciphertext FROM secrets ORDER BY 1")

        first = await _rotate(service, create=True, batch_size=2)
        second = await _rotate(service, create=True, batch_size=2)
        third = await _rotate(service, batch_size=2)
        done = await _rotate(service)

        assert [(one.rewrapped, one.remaining) for one in (first, second, third, done)] == [
            (2, 3),
            (2, 1),
            (1, 0),
            (0, 0),
        ]
        assert len({one.key_id for one in (first, second, third, done)}) == 1
        assert await _key_ids(service) == {first.key_id: 5}
        # Only their data keys were wrapped anew.
        after = await service.pool.fetch("SELECT credential_id, version, nonce, ciphertext FROM secrets ORDER BY 1")
        assert after == before
        await _all_open(service, kept)


async def test_a_new_secret_is_wrapped_with_the_new_key_from_its_first_part_on(postgres: PostgresServer) -> None:
    async with vault_service(postgres) as service:
        await _keep(service, 2)
        rotated = await _rotate(service, create=True, batch_size=1)

        kept = await service.user().keep()

        key_id = await service.pool.fetchval("SELECT key_id FROM secrets WHERE credential_id = $1", uuid.UUID(kept.id))
        assert key_id == rotated.key_id


async def test_a_rotation_that_was_killed_goes_on_where_it_was(postgres: PostgresServer) -> None:
    async with transit_engine() as engine, ground(postgres) as shared:
        chosen = {"vault_keys_url": engine.url, "vault_keys_token": engine.token, "data_keys_kept": "0"}
        async with replica(shared.database_url, shared.keys, shared.neighbours, **chosen) as service:
            kept = await _keep(service, 250)
            async with mortal_replica(shared, **chosen) as mortal:
                request = messages.RotateKeysRequest(create=True, batch_size=250)
                rotation = asyncio.create_task(mortal.admin().call("RotateKeys", request))

                async def has_begun() -> bool:
                    return bool((await _key_ids(service)).get("blockyard:v2", 0))

                await until(has_begun, "some are wrapped anew")
                await mortal.kill()
                with pytest.raises(grpc.aio.AioRpcError):
                    await rotation
            left = (await _key_ids(service)).get("blockyard:v1", 0)
            assert left, "the rotation was over before it was killed"
            await _all_open(service, kept[::25])

            rewrapped = 0
            while (step := await _rotate(service, create=True, batch_size=100)).remaining:
                rewrapped += step.rewrapped

            # Fewer if a part was stored just when its caller was killed.
            assert 0 < rewrapped + step.rewrapped <= left
            assert step.key_id == "blockyard:v2"
            assert await _key_ids(service) == {"blockyard:v2": 250}
            assert sorted(engine.versions) == [1, 2]
            await _all_open(service, kept[::25])


async def test_two_replicas_that_rotate_at_once_agree_on_one_key(postgres: PostgresServer) -> None:
    async with vault_service(postgres) as one, replica(one.database_url, one.keys, one.neighbours) as other:
        kept = await _keep(one, 60)

        await asyncio.gather(*(_rotate(service, create=True, batch_size=20) for service in (one, other)))
        while (await _rotate(one, batch_size=20)).remaining or (await _rotate(other, batch_size=20)).remaining:
            pass

        [key_id] = await _key_ids(one)
        active = await one.pool.fetch("SELECT key_id FROM keys WHERE active")
        assert [row["key_id"] for row in active] == [key_id]
        await _all_open(other, kept)


async def test_keys_are_rotated_twice_under_readers_and_writers_and_nobody_notices(postgres: PostgresServer) -> None:
    async with vault_service(postgres) as one, replica(one.database_url, one.keys, one.neighbours) as other:
        kept = await _keep(one, 40)
        rotating = True
        calls = {"read": 0, "replaced": 0, "kept": 0}

        async def read(service: Service) -> None:
            while rotating:
                for credential_id in kept:
                    await service.user().call(TEST, opens(credential_id))
                    calls["read"] += 1

        async def replace() -> None:
            while rotating:
                for credential_id in kept[::3]:
                    request = messages.UpdateCredentialRequest(
                        credential_id=credential_id,
                        update_mask=FieldMask(paths=["secret"]),
                        secret=CredentialSecret(api_key=f"secret {calls['replaced']}"),
                    )
                    await other.user().call("UpdateCredential", request)
                    calls["replaced"] += 1

        async def keep() -> None:
            while rotating:
                kept_now = await one.user().keep()
                calls["kept"] += 1
                await other.user().call(TEST, opens(kept_now.id))

        async with asyncio.TaskGroup() as tasks:
            for work in (read(one), read(other), replace(), keep()):
                tasks.create_task(work)
            for _ in range(2):
                so_far = dict(calls)
                step = await _rotate(one, create=True, batch_size=5)
                while step.remaining:
                    step = await _rotate(other, batch_size=5)
                await until(partial(_all_higher, calls, so_far), "all go on")
            rotating = False

        assert list(await _key_ids(one)) == [step.key_id]
        assert await one.pool.fetchval("SELECT count(*) FROM keys") == 3
        await _all_open(other, kept)


def _all_higher(counts: dict[str, int], before: dict[str, int]) -> bool:
    return all(counts[name] > before[name] for name in counts)


async def test_a_secret_that_cannot_be_read_is_named_and_the_others_are_done(postgres: PostgresServer) -> None:
    async with vault_service(postgres) as service:
        kept = await _keep(service, 4)
        await spoil(service, kept[1], "wrapped_key")

        rotated = await _rotate(service, create=True)

        assert (rotated.rewrapped, rotated.remaining) == (3, 0)
        assert list(rotated.unreadable_credential_ids) == [kept[1]]
        await _all_open(service, [kept[0], kept[2], kept[3]])


async def test_a_key_that_this_replica_lacks_ends_the_rotation_with_its_id(postgres: PostgresServer) -> None:
    old, new = key_text(), key_text()
    async with vault_service(postgres, **env(old=old)) as service:
        kept = await _keep(service, 2)
        async with replica(service.database_url, service.keys, service.neighbours, **env(new=new)) as other:
            result = await other.admin().refused("RotateKeys", messages.RotateKeysRequest(key_id="new"))
        assert (result.code, result.reason) == (grpc.StatusCode.UNAVAILABLE, "VAULT_KEY_UNAVAILABLE")
        assert '"old"' in result.message
        assert await _key_ids(service) == {"old": 2}

        async with replica(service.database_url, service.keys, service.neighbours, **env(old=old, new=new)) as both:
            assert (await _rotate(both)).remaining == 0
            await _all_open(both, kept)


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"key_id": "none"}, grpc.StatusCode.FAILED_PRECONDITION, "VAULT_KEY_UNAVAILABLE"),
        ({"key_id": "../k"}, grpc.StatusCode.FAILED_PRECONDITION, "VAULT_KEY_UNAVAILABLE"),
        ({"key_id": "x" * 201}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        ({"key_id": "k", "create": True}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        ({"batch_size": -1}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        ({"batch_size": 10_001}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ],
)
async def test_a_rotation_that_makes_no_sense_changes_nothing(
    service: Service, fields: dict[str, Any], code: grpc.StatusCode, reason: str
) -> None:
    await service.user().keep()
    before = await service.pool.fetch("SELECT * FROM keys ORDER BY key_id")

    refused = await service.admin().refused("RotateKeys", messages.RotateKeysRequest(**fields))

    assert (refused.code, refused.reason) == (code, reason)
    assert await service.pool.fetch("SELECT * FROM keys ORDER BY key_id") == before


async def test_a_replica_with_the_wrong_keys_makes_no_new_one(postgres: PostgresServer, tmp_path: Path) -> None:
    # Only its own folder would have that key: with it active, all other replicas would be of no use.
    async with vault_service(postgres) as service:
        before = await _key_ids(service)
        async with replica(service.database_url, tmp_path, service.neighbours) as stranger:
            refused = await stranger.admin().refused("RotateKeys", messages.RotateKeysRequest(create=True))

        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "VAULT_KEY_UNAVAILABLE")
        assert await _key_ids(service) == before
        assert os.listdir(tmp_path) == []
        assert await service.is_ready()


async def test_where_keys_are_not_made_here_it_is_said_what_to_do(postgres: PostgresServer) -> None:
    async with vault_service(postgres, **env(k1=key_text())) as service:
        refused = await service.admin().refused("RotateKeys", messages.RotateKeysRequest(create=True))

    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "VAULT_KEY_UNAVAILABLE")
    assert "BLOCKYARD_VAULT_KEYS" in refused.message


async def test_a_rotation_is_for_administrators_and_is_written_down(postgres: PostgresServer) -> None:
    async with vault_service(postgres) as service:
        refused = await service.user().refused("RotateKeys", messages.RotateKeysRequest(create=True))
        rotated = await _rotate(service, create=True)
        rows = await service.pool.fetch("SELECT entry FROM audit_outbox")

    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    [entry] = [AuditEntry.FromString(row["entry"]) for row in rows]
    assert (entry.actor, entry.resource) == ("root", f"vault-keys/{rotated.key_id}")
    assert entry.action.endswith("/RotateKeys")
