"""The vault from inside: what is stored is wrapped by the active key, versions are compared, and readers see one."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from blockyard.account.v1.account_pb2 import AuditEntry

from services.credentials import audit
from services.credentials.errors import CredentialNotFound, CredentialUnreadable
from services.credentials.keyring import DataKeys, Keyring
from services.credentials.keys.folder import FolderKeys
from services.credentials.records import CredentialRecord, CredentialState, CredentialType, NewCredential, Opened
from services.credentials.repository.credentials import CredentialRepository, Storing
from services.credentials.repository.keys import KeyRepository, Rewrapped
from services.credentials.rotation import Rotation
from services.credentials.vault import Vault
from tests.integration.credentials.service import Service
from tests.waiting import until


@pytest.fixture
def vault(service: Service) -> Vault:
    """Beside the one that runs, on the same rows and keys."""
    keyring = Keyring(FolderKeys(service.keys), KeyRepository(service.pool), DataKeys(0, 0))
    return Vault(CredentialRepository(service.pool), keyring, b"a key for hashes of requests", most=1_000)


def _new() -> NewCredential:
    user_id = f"user-{uuid.uuid4().hex[:12]}"
    return NewCredential(user_id, "acme", CredentialType.API_KEY, "Acme", {"api_key": "secret 1"})


async def _parts(vault: Vault, record: CredentialRecord) -> object:
    return dict((await vault.open(record.user_id, record.credential_id)).parts)


async def test_what_was_sealed_with_the_key_of_before_is_not_stored(vault: Vault, service: Service) -> None:
    new = _new()
    record = await vault.create(_new())
    sealed = await vault.keyring.seal(b"{}", b"context")
    [before] = await vault.keyring.repository.to_rewrap("", [], 1)
    entry = audit.entry("test", "test")

    await Rotation(vault).rotate("", True, 1000)

    credential_id = uuid.uuid4()
    assert await vault.repository.insert(credential_id, new, None, sealed, entry, 1) is Storing.KEY_CHANGED
    assert await vault.repository.replace(record, None, False, sealed, entry) == (Storing.KEY_CHANGED, None)
    assert await vault.keyring.repository.rewrap(sealed.key_id, [Rewrapped(before, b"")]) is None
    assert await vault.repository.get(new.user_id, credential_id) is None
    assert (await vault.get(record.user_id, record.credential_id)).version == 1
    stored = await service.pool.fetchval("SELECT count(*) FROM secrets WHERE key_id = $1", sealed.key_id)
    assert stored == 0


async def test_what_another_caller_has_wrapped_anew_is_left_alone(vault: Vault) -> None:
    record = await vault.create(_new())
    keys = vault.keyring.repository
    wanted = await vault.keyring.make()
    seen = [secret for secret in await keys.to_rewrap(wanted.key_id, [], 1000) if secret.user_id == record.user_id]
    await Rotation(vault).rotate(wanted.key_id, False, 1000)

    assert await keys.rewrap(wanted.key_id, [Rewrapped(one, b"of a caller who was slower") for one in seen]) == 0
    assert [secret.credential_id for secret in seen] == [record.credential_id]
    assert await _parts(vault, record) == {"api_key": "secret 1"}


async def test_another_key_becomes_active_only_when_stores_under_way_are_done(vault: Vault, service: Service) -> None:
    active = await vault.keyring.repository.active()
    assert active is not None
    wanted = await vault.keyring.make()
    async with service.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT FROM keys WHERE key_id = $1 AND active FOR SHARE", active.key_id)
        activation = asyncio.create_task(vault.keyring.repository.activate(wanted.key_id, active.key_id))

        async def waits() -> bool:
            return bool(
                await service.pool.fetchval(
                    "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = "
                    "current_database() AND query LIKE 'UPDATE keys%')"
                )
            )

        await until(waits, "the activation waits")
        assert not activation.done()
        await transaction.rollback()

    assert await activation


async def test_a_version_is_replaced_once(vault: Vault) -> None:
    record = await vault.create(_new())

    outcomes = await asyncio.gather(
        *(vault.replace(record, {"api_key": f"new {number}"}, expected_version=1) for number in range(8))
    )

    [winner] = [number for number, outcome in enumerate(outcomes) if outcome is not None]
    assert await _parts(vault, record) == {"api_key": f"new {winner}"}
    assert (await vault.get(record.user_id, record.credential_id)).version == 2


async def test_readers_see_a_version_with_its_own_secret_while_it_is_replaced(vault: Vault) -> None:
    record = await vault.create(_new())
    seen: list[Opened] = []
    replacing = True

    async def read() -> None:
        while replacing:
            seen.append(await vault.open(record.user_id, record.credential_id))

    readers = [asyncio.create_task(read()) for _ in range(3)]
    current = record
    for version in range(2, 40):
        replaced = await vault.replace(current, {"api_key": f"secret {version}"}, expected_version=version - 1)
        assert replaced is not None
        current = replaced
    replacing = False
    await asyncio.gather(*readers)

    assert len({opened.record.version for opened in seen}) > 1
    assert all(opened.parts == {"api_key": f"secret {opened.record.version}"} for opened in seen)


@asynccontextmanager
async def _row_is_locked(service: Service, record: CredentialRecord) -> AsyncIterator[None]:
    async with service.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM credentials WHERE credential_id = $1 FOR UPDATE", record.credential_id)
        await connection.execute("SELECT FROM secrets WHERE credential_id = $1 FOR UPDATE", record.credential_id)
        yield


async def test_readers_wait_for_no_replacement(vault: Vault, service: Service) -> None:
    record = await vault.create(_new())

    async with _row_is_locked(service, record), asyncio.timeout(5):
        assert await _parts(vault, record) == {"api_key": "secret 1"}


async def test_a_replacement_says_what_else_it_changes_and_leaves_the_rest(vault: Vault) -> None:
    record = await vault.create(_new())
    await vault.rename(record, title="Renamed meanwhile")
    await vault.set_state(record.credential_id, CredentialState.REVOKED, "refused", expected_version=1)

    replaced = await vault.replace(
        record, {"api_key": "secret 2"}, expected_version=1, scopes=["a", "b"], account_name="anna"
    )

    assert replaced is not None
    assert (replaced.title, replaced.scopes, replaced.account_name) == ("Renamed meanwhile", ["a", "b"], "anna")
    assert (replaced.state, replaced.state_reason) == (CredentialState.ACTIVE, "")


async def test_changes_of_title_and_expiry_at_the_same_time_lose_neither(vault: Vault) -> None:
    record = await vault.create(_new())
    expiry = datetime.now(UTC) + timedelta(days=1)

    # Both have read the credential as it was before.
    await vault.rename(record, title="Other")
    await vault.rename(record, changes_expiry=True, expire_time=expiry)

    after = await vault.get(record.user_id, record.credential_id)
    assert (after.title, after.expire_time) == ("Other", expiry)


async def test_a_new_title_is_not_given_to_a_version_that_was_not_seen(vault: Vault) -> None:
    record = await vault.create(_new())
    await vault.replace(record, {"api_key": "secret 2"}, expected_version=1)

    assert await vault.rename(record, title="Other") is None
    assert (await vault.get(record.user_id, record.credential_id)).title == record.title


async def test_a_new_secret_leaves_an_expiry_that_was_set_meanwhile(vault: Vault) -> None:
    record = await vault.create(_new())
    expiry = datetime.now(UTC) + timedelta(days=1)
    await vault.rename(record, changes_expiry=True, expire_time=expiry)

    kept = await vault.replace(record, {"api_key": "secret 2"}, expected_version=1, keeps_expiry=True)
    taken = await vault.replace(record, {"api_key": "secret 3"}, expected_version=2, expire_time=None)

    assert kept is not None
    assert kept.expire_time == expiry
    assert taken is not None
    assert taken.expire_time is None


async def test_a_state_is_noted_of_the_version_that_was_tried_alone(vault: Vault) -> None:
    record = await vault.create(_new())
    await vault.replace(record, {"api_key": "secret 2"}, expected_version=1)

    noted = await vault.set_state(record.credential_id, CredentialState.REVOKED, "refused", expected_version=1)

    assert not noted
    assert (await vault.get(record.user_id, record.credential_id)).state is CredentialState.ACTIVE


async def test_a_notice_is_stored_once_for_a_state(vault: Vault, service: Service) -> None:
    record = await vault.create(_new())

    for _ in range(2):
        await vault.set_state(
            record.credential_id,
            CredentialState.REVOKED,
            "refused",
            expected_version=1,
            notice=(uuid.uuid4(), b"notice"),
        )

    assert await service.pool.fetchval("SELECT count(*) FROM notices WHERE user_id = $1", record.user_id) == 1


async def test_several_are_opened_with_what_is_wrong_with_each_alone(vault: Vault, service: Service) -> None:
    good = await vault.create(_new())
    without = await vault.create(replace(_new(), user_id=good.user_id))
    of_other = await vault.create(_new())
    await service.pool.execute("DELETE FROM secrets WHERE credential_id = $1", without.credential_id)

    found = await vault.open_many(
        good.user_id, [good.credential_id, without.credential_id, of_other.credential_id, uuid.uuid4()]
    )

    assert set(found) == {good.credential_id, without.credential_id}
    opened = found[good.credential_id]
    assert isinstance(opened, Opened)
    assert opened.parts == {"api_key": "secret 1"}
    assert isinstance(found[without.credential_id], CredentialUnreadable)


async def test_what_is_deleted_cannot_be_opened_replaced_or_deleted_again(vault: Vault) -> None:
    record = await vault.create(_new())
    await vault.delete(record)

    assert await vault.replace(record, {"api_key": "x"}, expected_version=1) is None
    with pytest.raises(CredentialNotFound):
        await vault.open(record.user_id, record.credential_id)
    with pytest.raises(CredentialNotFound):
        await vault.delete(record)


async def test_something_small_opens_with_its_own_context_alone(vault: Vault) -> None:
    sealed = await vault.seal_small(b"one", b"verifier")

    assert await vault.open_small(b"one", sealed) == b"verifier"
    with pytest.raises(CredentialUnreadable):
        await vault.open_small(b"two", sealed)


async def test_what_the_vault_does_by_itself_is_its_own_doing(vault: Vault, service: Service) -> None:
    record = await vault.create(_new())
    with audit.acting(audit.Actor()):
        await vault.replace(record, {"api_key": "secret 2"}, expected_version=1)

    rows = await service.pool.fetch("SELECT entry FROM audit_outbox")
    entries = [AuditEntry.FromString(row["entry"]) for row in rows]
    [entry] = [one for one in entries if one.action == audit.REFRESH and str(record.credential_id) in one.resource]
    assert (entry.actor, entry.details["version"]) == ("service:credentials", "2")


def test_secrets_are_not_printed() -> None:
    new = _new()

    assert "secret 1" not in repr(new)
    assert "secret 1" not in str(new)
