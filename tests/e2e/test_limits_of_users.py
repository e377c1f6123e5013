"""Credits and rate limits, as users of the command line and the client meet them."""

from collections.abc import Mapping
from pathlib import Path

import blockyard
import httpx2
import pytest
from blockyard.client import Client
from blockyard.dev import Stack
from blockyard.errors import InsufficientCredits, RateLimited
from blockyard.graphs import Graph, save_graph

from tests.e2e.commands import Shell
from tests.waiting import until

ROOT = Path(__file__).parents[2]
PAID = {"BLOCKYARD_PACKAGES": '["tests.integration.runner.blocks"]', "PYTHONPATH": str(ROOT)}


def paid(folder: Path) -> str:
    """A graph that costs 40 credits."""
    graph = Graph("paid")
    graph.output("result", graph.add("PaidThreadBlock", "paid", value="x", count=2)["value"])
    save_graph(graph, folder / "paid.yaml")
    return str(folder / "paid.yaml")


async def test_runs_are_paid_for_and_refused_without_credits(tmp_path: Path) -> None:
    file = paid(tmp_path)
    settings = {**PAID, "BLOCKYARD_CREDITS_ENABLED": "true"}
    async with Stack(tmp_path, runners=1, edge=True, environment=settings) as stack:
        developer, user = Shell(tmp_path), Shell(tmp_path, stack.user_token("payer"))

        refused = await user("run", file)
        assert (refused.code, refused.output) == (1, "")
        assert "[INSUFFICIENT_CREDITS]" in refused.errors
        async with blockyard.connect(token=user.token, home=tmp_path) as client:
            [graph] = [one async for one in client.graphs.list()]
            with pytest.raises(InsufficientCredits):
                await client.run(graph.id)
        answer = await over_rest(stack, user.token, f"/api/graphs/{graph.id}/execute/0", {})
        assert (answer.status_code, answer.json()["details"][0]["reason"]) == (402, "INSUFFICIENT_CREDITS")

        assert (await developer("credits", "top-up", "payer", "1000")).code == 0

        async def it_runs() -> bool:
            return (await user("run", file, "--follow")).code == 0

        await until(it_runs, "a run is taken", 30)

        async def is_charged() -> bool:
            shown = (await user("credits", "show", "--json")).json
            return bool(shown["balance"] == 960 and shown["spent"] == 40 and shown["enabled"])

        await until(is_charged, "the run is charged", 30)
        history = (await user("credits", "history", "--json")).json
        assert [one["amount"] for one in history if one["kind"] == "CHARGE"] == [-40]
        spent = await user("credits", "spending")
        assert spent.output.splitlines()[1].split() == ["PaidThreadBlock", "1", "40"]


async def test_who_calls_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    limits = {"BLOCKYARD_RATE_LIMIT_WRITE": "2/minute", "BLOCKYARD_RATE_LIMIT_READ": "20/second"}
    async with Stack(tmp_path, runners=1, edge=True, environment=limits) as stack:
        async with blockyard.connect(token=stack.user_token("hasty"), home=tmp_path) as client:
            for number in range(2):
                await client.account.create_key(f"key {number}")
            with pytest.raises(RateLimited) as caught:
                await client.account.create_key("one too many")
            assert caught.value.reason == "RATE_LIMITED"
            assert caught.value.retry_after is not None
            assert 5 < caught.value.retry_after <= 60
            answer = await over_rest(stack, stack.user_token("hasty"), "/api/user/api-keys", {"name": "one too many"})
            assert (answer.status_code, answer.headers["x-ratelimit-remaining"]) == (429, "0")
            assert 5 < int(answer.headers["retry-after"]) <= 60
            # Those that may come again soon wait by themselves.
            found = [await one_user(client) for _ in range(40)]
            assert set(found) == {"hasty"}
            names = {key.name async for key in client.account.list_keys()}
            assert names == {"key 0", "key 1"}
        async with blockyard.connect(token=stack.user_token("patient"), home=tmp_path) as other:
            assert (await other.account.create_key("mine")).record.name == "mine"


async def over_rest(stack: Stack, token: str, path: str, body: Mapping[str, str]) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=stack.edge.url, timeout=30) as rest:
        return await rest.post(path, json=body, headers={"authorization": f"Bearer {token}"})


async def one_user(client: Client) -> str:
    return (await client.account.me()).id
