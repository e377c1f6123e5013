"""`blockyard webhooks` and `client.webhooks` against the real stack."""

import uuid
from datetime import timedelta
from pathlib import Path

import blockyard
import pytest
from blockyard.client import WebhookState
from blockyard.dev import Stack
from blockyard.events import EventKind

from tests.e2e.commands import Shell

NOBODY = "https://webhooks.invalid/events"


@pytest.fixture
def shell(home: Path, stack: Stack) -> Shell:
    """As a user of this test alone."""
    return Shell(home, stack.user_token(f"user-{uuid.uuid4().hex[:12]}"))


async def test_a_webhook_lives(shell: Shell) -> None:
    refused = await shell("webhooks", "create", "https://127.0.0.1/events")
    assert (refused.code, "loopback address" in refused.errors) == (1, True)

    made = (await shell("webhooks", "create", NOBODY, "--kind", "execution_completed", "--json")).json
    webhook_id = made["webhook"]["id"]
    assert made["secret"].startswith("whsec_")
    tried = await shell("webhooks", "test", webhook_id)
    assert (tried.code, "its host cannot be found" in tried.output) == (1, True)
    assert (await shell("webhooks", "update", webhook_id, "--state", "paused", "--kind", "node_failed")).code == 0
    assert "PAUSED" in (await shell("webhooks", "list")).output
    assert "node_failed" in (await shell("webhooks", "show", webhook_id)).output
    rotated = await shell("webhooks", "rotate", webhook_id, "--overlap", "1h")
    assert rotated.output.startswith("whsec_")
    again = (await shell("webhooks", "rotate", webhook_id, "--json")).json
    assert (again["webhook"]["id"], again["secret"] != rotated.output.strip()) == (webhook_id, True)
    replayed = await shell("webhooks", "replay", webhook_id, "--since", "2h", "--json")
    assert replayed.json["replay"].endswith("0 queued")
    assert (await shell("webhooks", "deliveries", webhook_id)).output.strip() == "Nothing was sent yet."
    assert "[WEBHOOK_DELIVERY_NOT_FOUND]" in (await shell("webhooks", "retry", webhook_id, str(uuid.uuid4()))).errors

    async with blockyard.connect(token=shell.token, home=shell.home) as client:
        changed = await client.webhooks.update(webhook_id, kinds=[EventKind.NODE_OUTPUT], state=WebhookState.ACTIVE)
        assert (changed.kinds, changed.state) == ((EventKind.NODE_OUTPUT,), WebhookState.ACTIVE)
        assert [one.id async for one in client.webhooks.list()] == [webhook_id]
        assert await client.webhooks.rotate(webhook_id, timedelta()) != rotated.output.strip()
    assert (await shell("webhooks", "delete", webhook_id)).code == 0
    assert "[WEBHOOK_NOT_FOUND]" in (await shell("webhooks", "show", webhook_id)).errors
