"""Keys of the vault are rotated while executions use what they wrap, and a vault that is away makes them wait."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import blockyard
import pytest
from blockyard.client import Client
from blockyard.client.credential_records import ApiKeySecret
from blockyard.dev import Stack
from blockyard.graphs import Graph

from tests.e2e.leaking.blocks import PROVIDER
from tests.waiting import until

ROOT = Path(__file__).parents[2]
EXECUTIONS = 500
CREDENTIALS = 20


@asynccontextmanager
async def stack_with_vaults(home: Path, vaults: int) -> AsyncIterator[tuple[Stack, Client, Client]]:
    """The stack, a client of a user, and one of an administrator."""
    environment = {"BLOCKYARD_PACKAGES": '["tests.e2e.leaking"]', "PYTHONPATH": str(ROOT)}
    async with (
        Stack(home, runners=1, vaults=vaults, environment=environment) as stack,
        blockyard.connect(home=home, token=stack.user_token("rotating-anna")) as client,
        blockyard.connect(home=home, token=stack.user_token("root", "admin")) as admin,
    ):
        yield stack, client, admin


async def graph_of(client: Client) -> str:
    graph = Graph("hashes")
    graph.output("digest", graph.add("HashingBlock", "hash")["digest"])
    return (await client.graphs.create(graph)).id


async def credentials_of(client: Client, count: int) -> dict[str, str]:
    """The hash of each key by the credential's id."""
    keys = [f"key number {number} of {count}" for number in range(count)]
    made = [await client.credentials.create(PROVIDER, ApiKeySecret(key), title=key) for key in keys]
    return {one.id: hashlib.sha256(key.encode()).hexdigest() for one, key in zip(made, keys, strict=True)}


async def rotate(admin: Client) -> tuple[str, int]:
    """To a new key, to the end: the key's id, and how many secrets were wrapped anew."""
    rotation = await admin.vault.rotate(create=True, batch_size=3)
    rewrapped = rotation.rewrapped
    while rotation.remaining:
        rotation = await admin.vault.rotate(rotation.key_id, batch_size=3)
        rewrapped += rotation.rewrapped
    return rotation.key_id, rewrapped


async def test_no_execution_fails_while_keys_are_rotated_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with stack_with_vaults(tmp_path, vaults=2) as (_, client, admin):
        graph_id = await graph_of(client)
        digests = await credentials_of(client, CREDENTIALS)
        ids = list(digests)
        gate = asyncio.Semaphore(50)
        done = 0

        async def run(number: int) -> bool:
            nonlocal done
            credential_id = ids[number % len(ids)]
            async with gate:
                execution = await client.executions.start(graph_id, credentials={"hash.credentials": credential_id})
                result = await execution.result(timeout=120)
            done += 1
            return bool(result["digest"] == [digests[credential_id]])

        def at_least(count: int) -> bool:
            return done >= count

        first_key = {key.id for key in await admin.vault.list_keys() if key.active}
        running = [asyncio.create_task(run(number)) for number in range(EXECUTIONS)]
        rotations = []
        for share in (0.2, 0.6):
            await until(partial(at_least, round(share * EXECUTIONS)), "a part has run", 300)
            rotations.append(await rotate(admin))
        done_by_then = done
        results = await asyncio.gather(*running)
        keys = await admin.vault.list_keys()

    with capsys.disabled():
        print(
            f"\n  {sum(results)} of {EXECUTIONS} executions got their secrets; rotations (key, secrets): {rotations},"
        )
        print(f"  the second one at an end after {done_by_then} executions")
    assert all(results)
    assert len(results) == EXECUTIONS
    assert done_by_then < EXECUTIONS
    assert [count for _, count in rotations] == [CREDENTIALS, CREDENTIALS]
    assert {key.id for key in keys if key.active} == {rotations[1][0]}
    assert rotations[1][0] not in first_key
    assert {key.secrets for key in keys if not key.active} == {0}


async def test_executions_wait_for_a_vault_that_is_away_and_go_on(tmp_path: Path) -> None:
    async with stack_with_vaults(tmp_path, vaults=1) as (stack, client, _):
        graph_id = await graph_of(client)
        digests = await credentials_of(client, 1)
        (credential_id,) = digests
        await stack.halt("runner-1")
        executions = [
            await client.executions.start(graph_id, credentials={"hash.credentials": credential_id}) for _ in range(20)
        ]
        await stack.kill("credentials-1")
        await stack.revive("runner-1")
        log = stack.folder.log("runner-1")
        await until(lambda: "credentials cannot be leased, trying on" in log.read_text(), "runs wait for it", 60)
        before = [(await client.executions.get(one.id)).ended for one in executions]
        await stack.revive("credentials-1")
        results = [await one.result(timeout=120) for one in executions]

    assert before == [None] * 20
    assert [result["digest"] for result in results] == [list(digests.values())] * 20
