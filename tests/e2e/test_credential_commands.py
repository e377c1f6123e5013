"""`blockyard credentials` and `admin` against the real stack: secrets go into the vault, and to the blocks that they
are for."""

import asyncio
import uuid
from pathlib import Path

import blockyard
import pytest
from blockyard.client import ApiKeySecret
from blockyard.dev import Stack
from blockyard.graphs import Graph, save_graph

from tests.e2e.commands import Shell
from tests.unit.ai.model_server import ModelServer
from tests.waiting import until


@pytest.fixture
def shell(home: Path, stack: Stack) -> Shell:
    """As a user of this test alone, whose credentials are found by nobody else."""
    return Shell(home, stack.user_token(f"user-{uuid.uuid4().hex[:12]}"))


@pytest.fixture
def secret() -> str:
    return f"topsecret-{uuid.uuid4().hex}"


async def keep(shell: Shell, secret: str, provider: str = "openai") -> str:
    """Keeps an API key for the user of the shell; gives the credential's id."""
    async with blockyard.connect(token=shell.token, home=shell.home) as client:
        return (await client.credentials.create(provider, ApiKeySecret(secret), title="mine")).id


def asking(tmp_path: Path) -> str:
    """A graph that asks a model."""
    graph = Graph("ask")
    node = graph.add("AITextGeneratorBlock", "ask", prompt="capital of Peru", model="gpt-4o")
    graph.output("answer", node["response"])
    save_graph(graph, tmp_path / "ask.yaml")
    return str(tmp_path / "ask.yaml")


def keys_asked_with(models: ModelServer) -> list[str]:
    return [asked.headers.get("authorization", "") for asked in models.asked]


async def test_a_credential_lives_and_its_secret_is_never_shown(shell: Shell, secret: str) -> None:
    options = ["--title", "mine", "--expires", "30d", "--secret-file", "-", "--json"]
    added = await shell("credentials", "add", "openai", *options, given=secret)
    credential_id = added.json["id"]
    listed = await shell("credentials", "list", "--provider", "openai")
    assert credential_id in listed.output
    shown = (await shell("credentials", "show", credential_id, "--json")).json
    assert (shown["type"], shown["state"], shown["version"], shown["title"]) == ("API_KEY", "ACTIVE", 1, "mine")

    other = f"other-{secret}"
    updated = await shell("credentials", "update", credential_id, "--secret-file", "-", "--json", given=other)
    assert updated.json["version"] == 2
    renamed = await shell("credentials", "update", credential_id, "--title", "a < b <b>c</b>", "--expires", "never")
    assert renamed.code == 0, renamed.errors
    shown = (await shell("credentials", "show", credential_id, "--json")).json
    assert (shown["title"], shown["expires"], shown["version"]) == ("a < b c", None, 2)

    assert (await shell("credentials", "delete", credential_id)).code == 0
    gone = await shell("credentials", "show", credential_id)
    assert gone.code == 1
    assert "[CREDENTIAL_NOT_FOUND]" in gone.errors
    told = [added, listed, updated, renamed, gone]
    assert not [one for one in told if secret in one.output + one.errors]


async def test_a_secret_that_is_typed_is_not_seen(shell: Shell, secret: str) -> None:
    done = await shell.typed("credentials", "add", "openai", "--title", "typed", lines=[secret, secret])
    assert done.code == 0, done.output
    assert "API key: " in done.output
    assert "kept " in done.output
    assert secret not in done.output


async def test_a_secret_typed_in_two_ways_is_asked_for_again(shell: Shell, secret: str) -> None:
    lines = [secret, "another", secret, secret]
    done = await shell.typed("credentials", "add", "openai", "--title", "typed", lines=lines)
    assert done.code == 0, done.output
    assert "do not match" in done.output
    assert secret not in done.output


async def test_a_question_that_is_not_answered_keeps_nothing(shell: Shell) -> None:
    done = await shell.typed("credentials", "add", "openai", "--title", "typed", lines=["\x04"])
    assert done.code == 130
    assert done.output.rstrip().endswith("Interrupted.")
    assert (await shell("credentials", "list", "--json")).json == []


async def test_a_credential_of_another_user_is_nobody(shell: Shell, stack: Stack, secret: str) -> None:
    credential_id = await keep(shell, secret)
    stranger = Shell(shell.home, stack.user_token("stranger"))
    commands = (["show"], ["delete", "--force"], ["update", "--title", "x"], ["test"])
    tried = [stranger("credentials", first, credential_id, *others) for first, *others in commands]
    for done in await asyncio.gather(*tried):
        assert done.code == 1
        assert "[CREDENTIAL_NOT_FOUND]" in done.errors


async def test_a_block_is_run_with_the_credential_that_is_named(shell: Shell, models: ModelServer, secret: str) -> None:
    credential_id = await keep(shell, secret)
    await keep(shell, f"other-{secret}")
    options = ["--input", "prompt=capital of Peru", "--input", "model=gpt-4o"]
    done = await shell(
        "blocks", "run", "AITextGeneratorBlock", *options, "--credentials", f"credentials={credential_id}"
    )
    assert done.code == 0, done.errors
    assert "Lima" in done.output
    assert keys_asked_with(models)[-1] == f"Bearer {secret}"
    assert secret not in done.output + done.errors


async def test_a_graph_is_run_with_the_credential_that_is_named(
    shell: Shell, models: ModelServer, secret: str, tmp_path: Path
) -> None:
    credential_id = await keep(shell, secret)
    other_id = await keep(shell, f"other-{secret}")
    named = {f"openai_api_key={credential_id}": secret, f"ask.credentials={other_id}": f"other-{secret}"}
    for pair, key in named.items():
        done = await shell("run", asking(tmp_path), "--follow", "--credentials", pair)
        assert done.code == 0, done.errors
        assert "answer = Lima" in done.output
        assert keys_asked_with(models)[-1] == f"Bearer {key}"

    async def counted() -> bool:
        # Uses are written some seconds later, together.
        return bool((await shell("credentials", "show", credential_id, "--json")).json["uses"])

    await until(counted, "the use is counted")


async def test_a_credential_that_does_not_fit_is_refused_before_anything_runs(
    shell: Shell, secret: str, tmp_path: Path
) -> None:
    wrong = await keep(shell, secret, provider="github")
    for named in (wrong, str(uuid.uuid4())):
        done = await shell("run", asking(tmp_path), "--credentials", f"ask.credentials={named}")
        assert done.code == 1, done.output
        assert "CREDENTIAL" in done.errors
        assert "ask.credentials" in done.errors
    assert (await shell("executions", "list", "--json")).json == []


async def test_deleting_a_credential_that_a_graph_names_is_refused_with_the_place(
    shell: Shell, secret: str, tmp_path: Path
) -> None:
    credential_id = await keep(shell, secret)
    graph = Graph("ask")
    reference = {"id": credential_id, "provider": "openai", "type": "api_key", "title": "mine"}
    node = graph.add("AITextGeneratorBlock", "ask", prompt="x", model="gpt-4o", credentials=reference)
    graph.output("answer", node["response"])
    save_graph(graph, tmp_path / "named.yaml")
    made = (await shell("graphs", "create", str(tmp_path / "named.yaml"), "--json")).json

    refused = await shell("credentials", "delete", credential_id)
    assert refused.code == 1
    assert "[CREDENTIAL_IN_USE]" in refused.errors
    assert "--force" in refused.errors
    assert made["id"] in refused.errors

    forced = await shell("credentials", "delete", credential_id, "--force", "--json")
    assert [use["graph_id"] for use in forced.json["uses"]] == [made["id"]]


async def test_providers_are_listed_and_those_that_are_not_configured_say_so(shell: Shell) -> None:
    names = [one["name"] for one in (await shell("credentials", "providers", "--json")).json]
    assert {"github", "google", "slack"} <= set(names)
    done = await shell("credentials", "connect", "github", "--no-browser", "--wait", "5")
    assert done.code == 1
    assert "[PROVIDER_NOT_CONFIGURED]" in done.errors


async def test_keys_are_rotated_and_secrets_stay_of_use(
    shell: Shell, home: Path, models: ModelServer, secret: str
) -> None:
    credential_id = await keep(shell, secret)
    developer = Shell(home)
    before = [one["id"] for one in (await developer("admin", "vault-keys", "--json")).json]
    rotated = await developer("admin", "rotate-keys", "--new", "--batch", "2")
    assert rotated.code == 0, rotated.errors
    assert "0 remain" in rotated.errors
    keys = (await developer("admin", "vault-keys", "--json")).json
    [active] = [one for one in keys if one["active"]]
    assert active["id"] not in before
    assert active["secrets"] >= 1

    options = ["--input", "prompt=capital of Peru", "--input", "model=gpt-4o"]
    done = await shell(
        "blocks", "run", "AITextGeneratorBlock", *options, "--credentials", f"credentials={credential_id}"
    )
    assert done.code == 0, done.errors
    assert keys_asked_with(models)[-1] == f"Bearer {secret}"

    refused = await developer("admin", "rotate-keys", "--key", "no-such-key")
    assert refused.code == 1
    assert "no-such-key" in refused.errors
