"""The providers of keys: one contract for all of them, and what each does when its source misbehaves."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import StartRefused
from services.credentials.config import CredentialsSettings
from services.credentials.keys import KeyMissing, KeyProvider, NoKeysMade, NotUnwrapped, ProviderAway
from services.credentials.keys.folder import FolderKeys
from services.credentials.keys.opening import open_keys
from tests import signing
from tests.integration.credentials.transit_engine import TransitEngine, transit_engine
from tests.stack.certificates import Authority
from tests.waiting import until

DATA_KEY = bytes(range(32))


def key_text() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def settings(url: str, **more: Any) -> CredentialsSettings:
    values: dict[str, Any] = {"database_url": "postgresql://nowhere", "vault_keys_url": url, **signing.SETTINGS, **more}
    return CredentialsSettings(**values)


@asynccontextmanager
async def provider_of(kind: str, folder: Path) -> AsyncIterator[KeyProvider]:
    """A provider with one key at least."""
    async with AsyncExitStack() as stack:
        if kind == "transit":
            engine = await stack.enter_async_context(transit_engine())
            chosen = settings(engine.url, vault_keys_token=engine.token)
        elif kind == "environment":
            chosen = settings("env:", vault_keys=json.dumps({"k1": key_text(), "k2": key_text()}))
        else:
            (folder / "k1").write_text(key_text() + "\n")
            chosen = settings(folder.as_uri())
        provider = open_keys(chosen)
        stack.push_async_callback(provider.close)
        yield provider


KINDS = ["folder", "environment", "transit"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_opens_what_it_wrapped_and_nothing_else(kind: str, tmp_path: Path) -> None:
    async with provider_of(kind, tmp_path) as provider:
        key_id = (await provider.key_ids())[0]

        wrapped = await provider.wrap(key_id, DATA_KEY, b"context")

        assert await provider.unwrap(key_id, wrapped, b"context") == DATA_KEY
        assert DATA_KEY not in wrapped
        assert wrapped != await provider.wrap(key_id, DATA_KEY, b"context")
        for changed, context in [(wrapped, b"other"), (_flipped(wrapped), b"context"), (b"", b"context")]:
            with pytest.raises(NotUnwrapped):
                await provider.unwrap(key_id, changed, context)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_that_is_not_there_is_named(kind: str, tmp_path: Path) -> None:
    missing = "blockyard:v9" if kind == "transit" else "k9"
    async with provider_of(kind, tmp_path) as provider:
        with pytest.raises(KeyMissing, match=missing):
            await provider.wrap(missing, DATA_KEY, b"")
        wrapped = b"vault:v9:AAAA" if kind == "transit" else bytes(60)
        with pytest.raises(KeyMissing, match=missing):
            await provider.unwrap(missing, wrapped, b"")


@pytest.mark.parametrize("kind", ["folder", "transit"])
async def test_a_new_key_is_another_one_and_the_old_one_stays(kind: str, tmp_path: Path) -> None:
    async with provider_of(kind, tmp_path) as provider:
        old = (await provider.key_ids())[-1]
        wrapped = await provider.wrap(old, DATA_KEY, b"")

        new = await provider.make()

        assert (await provider.key_ids())[-1] == new != old
        assert await provider.unwrap(old, wrapped, b"") == DATA_KEY
        with pytest.raises(NotUnwrapped):
            await provider.unwrap(new, wrapped, b"")


async def test_keys_of_the_environment_are_not_made(tmp_path: Path) -> None:
    async with provider_of("environment", tmp_path) as provider:
        with pytest.raises(NoKeysMade, match="BLOCKYARD_VAULT_KEYS"):
            await provider.make()


async def test_a_key_that_is_put_into_the_folder_is_found(tmp_path: Path) -> None:
    async with provider_of("folder", tmp_path) as provider:
        await provider.key_ids()
        (tmp_path / "k2").write_text(key_text())

        wrapped = await provider.wrap("k2", DATA_KEY, b"")

        assert await provider.unwrap("k2", wrapped, b"") == DATA_KEY


async def test_a_key_that_is_replaced_or_taken_from_the_folder_is_no_longer_used(tmp_path: Path) -> None:
    (tmp_path / "k1").write_text(key_text())
    provider = FolderKeys(tmp_path, look_seconds=0)
    wrapped = await provider.wrap("k1", DATA_KEY, b"")

    # Not in place: within one tick of the clock of files, nothing would tell it from what was there.
    (tmp_path / ".k1").write_text(key_text())
    (tmp_path / ".k1").rename(tmp_path / "k1")
    with pytest.raises(NotUnwrapped):
        await provider.unwrap("k1", wrapped, b"")
    (tmp_path / "k1").unlink()
    with pytest.raises(KeyMissing):
        await provider.unwrap("k1", wrapped, b"")


async def test_a_mounted_secret_is_read_through_its_links_and_followed(tmp_path: Path) -> None:
    """As kubelet does it: the files are links into ..data, which is a link that is exchanged at once."""
    for name in ("..first", "..second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "k1").write_text(key_text())
    (tmp_path / "..data").symlink_to("..first")
    (tmp_path / "k1").symlink_to("..data/k1")
    provider = FolderKeys(tmp_path, look_seconds=0)
    wrapped = await provider.wrap("k1", DATA_KEY, b"")
    assert list(await provider.key_ids()) == ["k1"]

    (tmp_path / "..new").symlink_to("..second")
    (tmp_path / "..new").rename(tmp_path / "..data")

    with pytest.raises(NotUnwrapped):
        await provider.unwrap("k1", wrapped, b"")


@pytest.mark.parametrize("content", ["", "no base64!", base64.b64encode(b"short").decode(), "A" * 10_000])
async def test_a_file_that_is_no_key_is_left_out_and_the_others_serve(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad").write_text(content)
    (tmp_path / "k1").write_text(key_text())
    provider = FolderKeys(tmp_path)

    assert list(await provider.key_ids()) == ["k1"]
    with pytest.raises(KeyMissing, match="bad"):
        await provider.wrap("bad", DATA_KEY, b"")


async def test_a_folder_that_cannot_be_read_is_away_and_takes_no_key(tmp_path: Path) -> None:
    provider = FolderKeys(tmp_path / "none")

    with pytest.raises(ProviderAway, match="cannot be read"):
        await provider.key_ids()
    with pytest.raises(NoKeysMade, match="every replica"):
        await provider.make()


async def test_files_of_new_keys_are_the_vaults_alone(tmp_path: Path) -> None:
    key_id = await FolderKeys(tmp_path).make()

    assert (tmp_path / key_id).stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == [key_id]


async def _no_answer(engine: TransitEngine) -> None:
    engine.hangs = True


def _says(status: int, answer: Any) -> Callable[[TransitEngine], Awaitable[None]]:
    async def misbehave(engine: TransitEngine) -> None:
        engine.misbehaviour = status, answer

    return misbehave


@pytest.mark.parametrize(
    ("misbehave", "reason"),
    [
        (_says(500, {"errors": ["internal"]}), "status 500"),
        (_says(502, b"<html>bad gateway</html>"), "status 502"),
        (_says(503, {"errors": ["Vault is sealed"]}), "sealed"),
        (_says(403, {"errors": ["permission denied"]}), "refuses the vault's token"),
        (_says(200, b"<html>please sign in</html>"), "something else than JSON"),
        (_says(200, {"data": {}}), "something else than a data key"),
        (_says(200, {"data": {"plaintext": "%%%"}}), "something else than a data key"),
        (_says(200, {"data": {"plaintext": 7}}), "something else than a data key"),
        (_says(200, []), "something else than JSON"),
        (_says(302, b""), "status 302"),
        (_says(200, b"x" * (2 << 20)), "more than it may"),
        (_no_answer, "in time"),
    ],
)
async def test_an_engine_that_misbehaves_is_away_and_never_believed(
    misbehave: Callable[[TransitEngine], Awaitable[None]], reason: str
) -> None:
    async with transit_engine() as engine:
        # What is waited for is an answer, but in the one case where there is none.
        seconds = 1 if misbehave is _no_answer else 20
        chosen = settings(engine.url, vault_keys_token=engine.token, vault_keys_timeout_seconds=seconds)
        provider = open_keys(chosen)
        wrapped = await provider.wrap("blockyard:v1", DATA_KEY, b"")

        await misbehave(engine)

        with pytest.raises(ProviderAway, match=reason):
            async with asyncio.timeout(30):
                await provider.unwrap("blockyard:v1", wrapped, b"")
        await provider.close()


async def test_an_engine_that_fails_for_a_moment_is_asked_again() -> None:
    async with transit_engine() as engine:
        provider = open_keys(settings(engine.url, vault_keys_token=engine.token))
        engine.fails = 2

        assert list(await provider.key_ids()) == ["blockyard:v1"]
        await provider.close()


async def test_a_new_version_is_asked_for_once() -> None:
    async with transit_engine() as engine:
        provider = open_keys(settings(engine.url, vault_keys_token=engine.token))
        engine.fails = 1

        with pytest.raises(ProviderAway):
            await provider.make()
        assert list(engine.versions) == [1]
        assert engine.requests == 1
        await provider.close()


async def test_an_engine_that_is_not_there_is_away() -> None:
    async with transit_engine() as engine:
        url = engine.url
    provider = open_keys(settings(url, vault_keys_token="t"))

    with pytest.raises(ProviderAway, match="cannot be asked"):
        await provider.key_ids()
    await provider.close()


async def test_an_engine_is_believed_whose_certificate_the_right_authority_signed(tmp_path: Path) -> None:
    right, other = Authority(tmp_path / "right"), Authority(tmp_path / "other")
    async with transit_engine(right.sign("engine")) as engine:
        trusting = {"vault_keys_token": engine.token, "vault_keys_ca": right.file}
        provider = open_keys(settings(engine.url, **trusting))
        assert list(await provider.key_ids()) == ["blockyard:v1"]
        await provider.close()

        asked = engine.requests
        for distrusting in ({}, {"vault_keys_ca": other.file}):
            provider = open_keys(settings(engine.url, vault_keys_token=engine.token, **distrusting))
            with pytest.raises(ProviderAway, match="cannot be asked"):
                await provider.key_ids()
            await provider.close()
        assert engine.requests == asked


async def test_a_version_that_may_not_unwrap_any_more_is_missing() -> None:
    async with transit_engine() as engine:
        provider = open_keys(settings(engine.url, vault_keys_token=engine.token))
        wrapped = await provider.wrap("blockyard:v1", DATA_KEY, b"")
        await provider.make()
        engine.oldest = 2

        assert list(await provider.key_ids()) == ["blockyard:v2"]
        with pytest.raises(KeyMissing, match="blockyard:v1"):
            await provider.unwrap("blockyard:v1", wrapped, b"")
        await provider.close()


async def test_a_token_file_is_read_at_each_request(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("an old one\n")
    async with transit_engine() as engine:
        provider = open_keys(settings(engine.url, vault_keys_token_file=token_file))
        with pytest.raises(ProviderAway, match="token"):
            await provider.key_ids()

        token_file.write_text(engine.token + "\n")

        assert await until(provider.key_ids, "the new token is used")
        token_file.unlink()
        with pytest.raises(ProviderAway, match="token"):
            await provider.key_ids()
        await provider.close()


@pytest.mark.parametrize(
    ("url", "more", "said"),
    [
        ("keys", {}, "BLOCKYARD_VAULT_KEYS_URL"),
        ("file://host/keys", {}, "BLOCKYARD_VAULT_KEYS_URL"),
        ("ftp://host/transit/name", {}, "BLOCKYARD_VAULT_KEYS_URL"),
        ("https://host/name", {}, "BLOCKYARD_VAULT_KEYS_URL"),
        ("https://user:pw@host/transit/name", {}, "BLOCKYARD_VAULT_KEYS_URL"),
        ("http://vault.example/transit/name", {}, "https alone"),
        ("https://vault/transit/name", {"vault_keys_ca": Path("/nowhere/ca.pem")}, "BLOCKYARD_VAULT_KEYS_CA"),
        ("env:", {}, "BLOCKYARD_VAULT_KEYS"),
        ("env:", {"vault_keys": "{}"}, "BLOCKYARD_VAULT_KEYS"),
        ("env:", {"vault_keys": "[1]"}, "BLOCKYARD_VAULT_KEYS"),
        ("env:", {"vault_keys": '{"k": 7}'}, "BLOCKYARD_VAULT_KEYS"),
        ("env:", {"vault_keys": '{"k": "c2hvcnQ="}'}, "32 are expected"),
        ("env:", {"vault_keys": '{"a/b": "c2hvcnQ="}'}, "no id of a key"),
    ],
)
def test_settings_that_name_no_keys_are_refused_in_a_sentence(url: str, more: dict[str, Any], said: str) -> None:
    with pytest.raises(StartRefused, match=said) as refused:
        open_keys(settings(url, **more))

    assert "c2hvcnQ=" not in str(refused.value)
    assert "user:pw" not in str(refused.value)


def _flipped(wrapped: bytes) -> bytes:
    if wrapped.startswith(b"vault:"):
        # A character of base64 before the padding.
        return wrapped[:-6] + (b"A" if wrapped[-6:-5] != b"A" else b"B") + wrapped[-5:]
    return wrapped[:-1] + bytes([wrapped[-1] ^ 1])
