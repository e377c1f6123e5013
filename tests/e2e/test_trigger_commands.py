"""Webhooks that start graphs, through the edge and `blockyard triggers`, against the real stack."""

import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import blockyard
import httpx2
import jwt
import pytest
from blockyard.client import ApiKeySecret, TriggerStart, UserState
from blockyard.dev import Stack
from blockyard.graphs import Graph
from pydantic import SecretStr

from tests.e2e.commands import Shell
from tests.waiting import until
from tests.webhook_signing import github_signature, standard_signature


@pytest.fixture
def shell(home: Path, stack: Stack) -> Shell:
    """As a user of this test alone."""
    return Shell(home, stack.user_token(f"user-{uuid.uuid4().hex[:12]}"))


def hooked() -> Graph:
    graph = Graph("hooked")
    hook = graph.add("GenericWebhookTriggerBlock", "hook", constants={"from": "a test"})
    graph.output("payload", hook["payload"])
    graph.output("constants", hook["constants"])
    return graph


def signed(secret: str, body: bytes, message_id: str, at: float) -> Mapping[str, str]:
    signature = standard_signature(SecretStr(secret), message_id, int(at), body)
    return {"webhook-id": message_id, "webhook-timestamp": str(int(at)), "webhook-signature": signature}


async def test_a_webhook_of_github_starts_a_graph(stack: Stack, shell: Shell) -> None:
    async with blockyard.connect(token=shell.token, home=shell.home) as client:
        stored = await client.graphs.create(hooked())
        made = await shell("triggers", "create", stored.id, "--kind", "github", "--event", "push", "--json")
        path, secret = made.json["trigger"]["path"], SecretStr(made.json["secret"])
        body = json.dumps({"ref": "refs/heads/main", "id": 2**53 + 1}).encode()
        headers = {
            "content-type": "application/json",
            "x-github-event": "push",
            "x-github-delivery": str(uuid.uuid4()),
            "x-hub-signature-256": github_signature(secret, body),
        }
        async with httpx2.AsyncClient(base_url=stack.edge.url, timeout=30) as sender:
            taken = await sender.post(path, content=body, headers=headers)
            again = await sender.post(path, content=body, headers=headers)
            forged = await sender.post(path, content=body + b" ", headers=headers)
            large = await sender.post(path, content=b" " * ((1 << 20) + 1), headers=headers)
        assert (taken.status_code, again.status_code, forged.status_code) == (202, 202, 401), taken.text
        # By the edge, or by the service where it is too large by so little.
        assert large.status_code in (400, 413)
        assert again.json()["executionId"] == taken.json()["executionId"]
        execution = client.executions.handle(taken.json()["executionId"])
        assert await execution.result(30) == {"payload": [json.loads(body)], "constants": [{"from": "a test"}]}

        shown = await shell("triggers", "show", made.json["trigger"]["id"])
        assert [word in shown.output for word in ("STARTED", "REFUSED", execution.id)] == [True] * 3
        assert secret.get_secret_value() not in shown.output


async def test_a_trigger_lives(stack: Stack, shell: Shell) -> None:
    async with blockyard.connect(token=shell.token, home=shell.home) as client:
        stored = await client.graphs.create(hooked())
        made = await client.triggers.create(
            TriggerStart(stored.id, labels={"a": "b"}), name="mine", conditions={"data.state": "open", "n": None}
        )
        trigger, secret = made.record, made.secret.get_secret_value()
        assert (trigger.kind, dict(trigger.conditions), dict(trigger.labels)) == (
            "generic",
            {"data.state": "open", "n": None},
            {"a": "b"},
        )
        body = b'{"data": {"state": "open"}, "n": null}'
        async with httpx2.AsyncClient(base_url=stack.edge.url, timeout=30) as sender:

            async def post(message_id: str, content: bytes = body, at: float = 0.0) -> int:
                headers = signed(secret, content, message_id, at or time.time())
                return (await sender.post(trigger.path, content=content, headers=headers)).status_code

            assert await post("a") == 202
            assert await post("b", b"{}") == 202
            assert await post("c", at=time.time() - 3600) == 401
            assert await post("d", b"[]") == 400
            assert (await shell("triggers", "disable", trigger.id)).code == 0
            assert await post("e") == 409
            await client.triggers.update(trigger.id, disabled=False, events=["made"])
            assert await post("f") == 202
            await post_of_disabled_owner_is_refused(stack, shell, post)
            rotated = await shell("triggers", "rotate", trigger.id, "--keep-hours", "0")
            assert rotated.output.strip() not in ("", secret)
            assert await post("g") == 401
            assert (await shell("triggers", "delete", trigger.id)).code == 0
            assert await post("h") == 404
        assert [one async for one in client.triggers.list()] == []


async def test_what_a_trigger_wants_can_be_taken_away_again(shell: Shell) -> None:
    async with blockyard.connect(token=shell.token, home=shell.home) as client:
        stored = await client.graphs.create(hooked())
        made = await client.triggers.create(stored.id, events=["push"], conditions={"data.state": "open"})
        kept = await client.credentials.create("github", ApiKeySecret("w" * 40), title="the sender's")
        trigger_id = made.record.id
        both = await shell("triggers", "update", trigger_id, "--event", "push", "--no-events")
        assert (both.code, (await shell("triggers", "update", trigger_id)).code) == (2, 2)

        assert (await shell("triggers", "update", trigger_id, "--no-events")).code == 0
        after = await client.triggers.get(trigger_id)
        assert (after.events, dict(after.conditions)) == ((), {"data.state": "open"})
        held = await shell("triggers", "update", trigger_id, "--no-where", "--secret-credential", kept.id, "--json")
        assert (held.json["conditions"], held.json["secret_credential_id"]) == ({}, kept.id)
        own = await shell("triggers", "update", trigger_id, "--secret-credential", "", "--json")
        assert own.json["secret_credential_id"] == ""


async def post_of_disabled_owner_is_refused(stack: Stack, shell: Shell, post: Callable[..., Awaitable[int]]) -> None:
    """Until the owner is enabled again."""
    user_id = jwt.decode(shell.token, options={"verify_signature": False})["sub"]
    async with blockyard.connect(token=stack.user_token("root", "admin"), home=shell.home) as admin:
        await admin.users.set_access(user_id, state=UserState.DISABLED)

        async def answered(status: int) -> bool:
            return await post(uuid.uuid4().hex, b'{"type": "made", "data": {"state": "open"}, "n": null}') == status

        await until(lambda: answered(409), "the owner counts as disabled")
        await admin.users.set_access(user_id, state=UserState.ACTIVE)
        await until(lambda: answered(202), "the owner counts again")
