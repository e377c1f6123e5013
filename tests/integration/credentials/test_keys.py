"""The keys in use: what a replica does without the right ones, and one secret that cannot be read harms no other."""

import asyncio
import base64
import json
import os
import uuid
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import grpc
import pytest
from blockyard.credentials.v1 import credentials_service_pb2 as messages
from blockyard.credentials.v1.credential_pb2 import (
    CREDENTIAL_STATE_ACTIVE,
    CREDENTIAL_STATE_UNREADABLE,
    CredentialSecret,
)
from blockyard.dev.postgres import PostgresServer
from google.protobuf.field_mask_pb2 import FieldMask

from services.credentials.canaries import Canaries
from services.credentials.errors import KeyUnavailable
from services.credentials.keyring import DataKeys, Keyring
from services.credentials.keys.opening import open_keys
from services.credentials.repository.keys import KeyRepository
from tests.integration.credentials.service import Caller, Service, ground, replica, vault_service
from tests.integration.credentials.test_key_providers import key_text, settings
from tests.integration.credentials.transit_engine import transit_engine
from tests.waiting import until

TEST = "TestCredential"


def _user() -> str:
    return f"user-{uuid.uuid4().hex[:12]}"


def opens(credential_id: str) -> messages.TestCredentialRequest:
    """A call that opens the secret."""
    return messages.TestCredentialRequest(credential_id=credential_id)


def env(**keys: str) -> dict[str, Any]:
    """Settings of a replica that has these keys."""
    return {"vault_keys_url": "env:", "vault_keys": json.dumps(keys)}


async def spoil(service: Service, credential_id: str, column: str = "ciphertext") -> None:
    """A bit of what is stored of a secret changes."""
    await service.pool.execute(
        f"UPDATE secrets SET {column} = set_byte({column}, 20, get_byte({column}, 20) # 1) WHERE credential_id = $1",
        uuid.UUID(credential_id),
    )


async def state_of(caller: Caller, credential_id: str) -> int:
    answer = await caller.call("GetCredential", messages.GetCredentialRequest(credential_id=credential_id))
    return int(answer.credential.state)


@pytest.mark.parametrize("column", ["ciphertext", "wrapped_key"])
async def test_one_that_cannot_be_read_harms_no_other(service: Service, column: str) -> None:
    caller = service.user(_user())
    spoiled, other = await caller.keep(), await caller.keep()
    await spoil(service, spoiled.id, column)

    refused = await caller.refused(TEST, opens(spoiled.id))

    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CREDENTIAL_UNUSABLE")
    assert refused.metadata["credential_id"] == spoiled.id
    listed = await caller.call("ListCredentials", messages.ListCredentialsRequest())
    states = {one.id: (one.state, bool(one.state_reason)) for one in listed.credentials}
    assert states == {spoiled.id: (CREDENTIAL_STATE_UNREADABLE, True), other.id: (CREDENTIAL_STATE_ACTIVE, False)}
    assert await caller.call(TEST, opens(other.id))
    assert await service.is_ready()


async def test_a_replaced_secret_makes_it_readable_again(service: Service) -> None:
    caller = service.user(_user())
    kept = await caller.keep()
    await spoil(service, kept.id)
    await caller.refused(TEST, opens(kept.id))

    await caller.call(
        "UpdateCredential",
        messages.UpdateCredentialRequest(
            credential_id=kept.id, update_mask=FieldMask(paths=["secret"]), secret=CredentialSecret(api_key="new")
        ),
    )

    assert await state_of(caller, kept.id) == CREDENTIAL_STATE_ACTIVE
    assert await caller.call(TEST, opens(kept.id))


async def test_what_was_restored_is_readable_again(service: Service) -> None:
    caller = service.user(_user())
    kept = await caller.keep()
    await spoil(service, kept.id)
    await caller.refused(TEST, opens(kept.id))

    await spoil(service, kept.id)  # the same bit again

    assert await caller.call(TEST, opens(kept.id))
    assert await state_of(caller, kept.id) == CREDENTIAL_STATE_ACTIVE


async def test_a_secret_that_was_moved_to_another_user_or_credential_does_not_open(service: Service) -> None:
    anna, bert = service.user(_user()), service.user(_user())
    of_anna, of_bert, third = await anna.keep(), await bert.keep(), await anna.keep()

    await service.pool.execute(
        """
        UPDATE secrets s SET key_id = o.key_id, wrapped_key = o.wrapped_key, nonce = o.nonce, ciphertext = o.ciphertext
        FROM secrets o WHERE s.credential_id = $1 AND o.credential_id = $2
        """,
        uuid.UUID(of_bert.id),
        uuid.UUID(of_anna.id),
    )
    await service.pool.execute(
        "UPDATE credentials SET user_id = $2 WHERE credential_id = $1", uuid.UUID(third.id), of_bert.user_id
    )

    for moved in (of_bert.id, third.id):
        assert (await bert.refused(TEST, opens(moved))).reason == "CREDENTIAL_UNUSABLE"


async def test_an_old_version_that_was_put_back_does_not_open(service: Service) -> None:
    caller = service.user(_user())
    kept = await caller.keep()
    old = await service.pool.fetchrow("SELECT * FROM secrets WHERE credential_id = $1", uuid.UUID(kept.id))
    assert old is not None
    await caller.call(
        "UpdateCredential",
        messages.UpdateCredentialRequest(
            credential_id=kept.id, update_mask=FieldMask(paths=["secret"]), secret=CredentialSecret(api_key="new")
        ),
    )

    await service.pool.execute(
        "UPDATE secrets SET wrapped_key = $2, nonce = $3, ciphertext = $4 WHERE credential_id = $1",
        uuid.UUID(kept.id),
        old["wrapped_key"],
        old["nonce"],
        old["ciphertext"],
    )

    assert (await caller.refused(TEST, opens(kept.id))).reason == "CREDENTIAL_UNUSABLE"


async def test_a_replica_with_another_key_of_the_same_id_is_not_ready_and_seals_nothing(
    postgres: PostgresServer,
) -> None:
    async with vault_service(postgres, **env(k1=key_text())) as first:
        caller = first.user()
        kept = await caller.keep()
        other_keys = env(k1=key_text())
        async with replica(first.database_url, first.keys, first.neighbours, **other_keys) as second:
            assert await first.is_ready()
            assert not await second.is_ready()
            for method, request in [
                (TEST, opens(kept.id)),
                (
                    "CreateCredential",
                    messages.CreateCredentialRequest(provider="acme", title="t", secret=CredentialSecret(api_key="k")),
                ),
            ]:
                refused = await second.user().refused(method, request)
                assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "VAULT_KEY_UNAVAILABLE")
                assert '"k1"' in refused.message
                assert refused.retry
            # It is the replica that is wrong, and not the credential.
            assert await state_of(second.user(), kept.id) == CREDENTIAL_STATE_ACTIVE
            assert await first.user().call(TEST, opens(kept.id))


async def test_a_replica_that_lacks_a_key_says_which_until_it_has_it(
    postgres: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    async with vault_service(postgres) as service:
        kept = await service.user().keep()
        [key_id] = os.listdir(service.keys)
        text = (service.keys / key_id).read_text()

        os.unlink(service.keys / key_id)

        async def unready() -> bool:
            return not await service.is_ready()

        await until(unready, "the replica is not ready")
        refused = await service.user().refused(TEST, opens(kept.id))
        assert (refused.reason, key_id in refused.message) == ("VAULT_KEY_UNAVAILABLE", True)
        assert refused.metadata["key_id"] == key_id
        assert key_id in capsys.readouterr().out
        assert await state_of(service.user(), kept.id) == CREDENTIAL_STATE_ACTIVE

        (service.keys / key_id).write_text(text)

        await until(service.is_ready, "the replica is ready again")
        assert await service.user().call(TEST, opens(kept.id))


async def test_a_key_that_wraps_nothing_any_more_may_be_taken_away(postgres: PostgresServer) -> None:
    old, new = key_text(), key_text()
    async with vault_service(postgres, **env(old=old)) as service:
        kept = await service.user().keep()
        async with replica(service.database_url, service.keys, service.neighbours, **env(old=old, new=new)) as both:
            rotated = await both.admin().call("RotateKeys", messages.RotateKeysRequest(key_id="new"))
            assert (rotated.rewrapped, rotated.remaining) == (1, 0)

        async with replica(service.database_url, service.keys, service.neighbours, **env(new=new)) as after:
            assert await after.is_ready()
            assert await after.user().call(TEST, opens(kept.id))


async def test_replicas_that_start_at_once_have_one_active_key(postgres: PostgresServer) -> None:
    async with ground(postgres) as shared, AsyncExitStack() as stack:
        replicas = await asyncio.gather(
            *(stack.enter_async_context(replica(shared.database_url, shared.keys, shared.neighbours)) for _ in range(3))
        )

        assert all([await one.is_ready() for one in replicas])
        kept = await replicas[0].user().keep()
        for one in replicas:
            assert await one.user().call(TEST, opens(kept.id))
        assert await replicas[0].pool.fetchval("SELECT count(*) FROM keys WHERE active") == 1


async def test_without_any_key_the_vault_is_not_ready_and_begins_once_there_is_one(postgres: PostgresServer) -> None:
    async with transit_engine() as engine:
        engine.misbehaviour = 503, {"errors": ["Vault is sealed"]}
        chosen = {"vault_keys_url": engine.url, "vault_keys_token": engine.token}
        async with vault_service(postgres, **chosen) as service:
            assert not await service.is_ready()
            refused = await service.user().refused(
                "CreateCredential",
                messages.CreateCredentialRequest(provider="acme", title="t", secret=CredentialSecret(api_key="k")),
            )
            assert refused.reason == "VAULT_KEY_UNAVAILABLE"

            engine.misbehaviour = None

            await until(service.is_ready, "the vault has begun")
            assert await service.user().keep()


async def test_what_was_opened_before_opens_while_the_engine_is_away(postgres: PostgresServer) -> None:
    async with transit_engine() as engine:
        chosen = {
            "vault_keys_url": engine.url,
            "vault_keys_token": engine.token,
            "vault_keys_timeout_seconds": 0.5,
        }
        async with vault_service(postgres, **chosen) as service:
            caller = service.user()
            known, unknown = await caller.keep(), await caller.keep()
            await caller.call(TEST, opens(known.id))

            engine.misbehaviour = 503, {"errors": ["Vault is sealed"]}
            asked = engine.requests
            await until(lambda: engine.requests > asked + 3, "the canary was looked at meanwhile")

            assert await service.is_ready()
            assert await caller.call(TEST, opens(known.id))
            refused = await caller.refused(TEST, opens(unknown.id))
            assert (refused.reason, refused.retry) == ("VAULT_KEY_UNAVAILABLE", True)
            assert "blockyard:v1" in refused.message
            assert await state_of(caller, unknown.id) == CREDENTIAL_STATE_ACTIVE

            engine.misbehaviour = None

            assert await caller.call(TEST, opens(unknown.id))


async def test_only_a_replica_that_was_right_stays_ready_while_the_engine_is_away(postgres: PostgresServer) -> None:
    async with transit_engine() as engine:
        chosen = {"vault_keys_url": engine.url, "vault_keys_token": engine.token}
        async with vault_service(postgres, **chosen) as service:
            provider = open_keys(settings(engine.url, vault_keys_token=engine.token))
            old, new = (
                Canaries(Keyring(provider, KeyRepository(service.pool), DataKeys(0, 0)), seconds=60) for _ in range(2)
            )
            await old.look()
            assert await old.is_healthy()

            engine.misbehaviour = 503, {"errors": ["Vault is sealed"]}
            for canaries in (old, new):
                await canaries.look()
            assert (await old.is_healthy(), await new.is_healthy()) == (True, False)

            engine.misbehaviour = None
            for canaries in (old, new):
                await canaries.look()
            assert (await old.is_healthy(), await new.is_healthy()) == (True, True)

            assert await old.keyring.seal(b"secret", b"context")
            engine.versions[1] = os.urandom(32)
            for canaries in (old, new):
                await canaries.look()
            assert (await old.is_healthy(), await new.is_healthy()) == (False, False)
            for canaries in (old, new):
                with pytest.raises(KeyUnavailable, match="blockyard:v1"):
                    await canaries.keyring.seal(b"secret", b"context")
            await provider.close()


async def test_a_database_of_yesterday_opens_with_a_key_that_was_rotated_away_since(postgres: PostgresServer) -> None:
    """As a restored backup has it: secrets and the active key are those of before the rotation."""
    async with vault_service(postgres) as service:
        kept = await service.user().keep()
        keys = await service.pool.fetch("SELECT * FROM keys")
        secrets = await service.pool.fetch("SELECT * FROM secrets")
        await service.admin().call("RotateKeys", messages.RotateKeysRequest(create=True))
        [of_yesterday] = [row["key_id"] for row in keys]

        await service.pool.execute("DELETE FROM secrets")
        await service.pool.execute("DELETE FROM keys")
        await _insert(service.pool, "keys", keys)
        await _insert(service.pool, "secrets", secrets)

        assert await service.user().call(TEST, opens(kept.id))
        assert await service.is_ready()
        listed = await service.admin().call("ListVaultKeys", messages.ListVaultKeysRequest())
        assert [(key.id, key.active, key.secrets) for key in listed.keys] == [(of_yesterday, True, 1)]
        again = await service.admin().call("RotateKeys", messages.RotateKeysRequest(create=True))
        assert (again.rewrapped, again.remaining) == (1, 0)
        assert await service.user().call(TEST, opens(kept.id))


async def _insert(pool: "asyncpg.Pool[asyncpg.Record]", table: str, rows: list[asyncpg.Record]) -> None:
    for row in rows:
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await pool.execute(f"INSERT INTO {table} ({', '.join(row.keys())}) VALUES ({places})", *row.values())


async def test_keys_are_listed_for_administrators_without_the_keys(service: Service) -> None:
    await service.user(_user()).keep()

    listed = await service.admin().call("ListVaultKeys", messages.ListVaultKeysRequest())
    refused = await service.user(_user()).refused("ListVaultKeys", messages.ListVaultKeysRequest())

    [key] = [key for key in listed.keys if key.active]
    assert (key.available, key.secrets > 0) == (True, True)
    assert base64.b64decode((service.keys / key.id).read_text()).hex() not in str(listed)
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
