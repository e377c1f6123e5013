"""Ids of users as identity providers give them, through all of the stack: rows, subjects, events and files."""

from pathlib import Path

import blockyard
import pytest
from blockyard.client import ExecutionStatus
from blockyard.dev import Stack
from blockyard.graphs import Graph


def shout() -> Graph:
    graph = Graph("shout")
    upper = graph.add("TextProcessingBlock", "upper", text=graph.input("text"), operation="upper")
    graph.output("result", upper["processed_text"])
    return graph


@pytest.mark.parametrize(
    "user_id", ["auth0|5f7c.8ec7", "f:0190:ann.b", "ann+b@example.org", "a#EXT#@t.example", "$a=b~"]
)
async def test_a_user_with_such_an_id_runs_watches_and_lists(home: Path, stack: Stack, user_id: str) -> None:
    async with blockyard.connect(home=home, token=stack.user_token(user_id)) as client:
        made = await client.graphs.create(shout())
        execution = await client.executions.start(made.id, {"text": "hello"})

        events = [event async for event in client.executions.watch(execution.id)]

        assert (await execution.get()).status is ExecutionStatus.COMPLETED
        assert events
        assert await client.executions.results(execution.id) == {"result": ["HELLO"]}
        assert [one.id async for one in client.executions.list(graph_id=made.id)] == [execution.id]


async def test_ids_that_differ_by_what_is_escaped_in_subjects_are_different_users(home: Path, stack: Stack) -> None:
    async with (
        blockyard.connect(home=home, token=stack.user_token("same.name")) as dotted,
        blockyard.connect(home=home, token=stack.user_token("same-2Ename")) as spelled,
    ):
        made = await dotted.graphs.create(shout())

        assert made.id not in [graph.id async for graph in spelled.graphs.list()]
