"""How the execution service asks the graph service what an execution runs on."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from blockyard.runner.v1.catalogue_service_pb2_grpc import CatalogueServiceStub

from services.execution.catalogue import BUSY_SECONDS, Catalogue
from services.execution.errors import GraphNotFound
from services.execution.planning import Limits
from tests.integration.execution.catalogue import GraphBuilder, MemoryCatalogue, serving
from tests.waiting import until


def graph(*nodes: str) -> GraphBuilder:
    built = GraphBuilder("graph")
    for node in nodes:
        built.node(node)
    return built


@asynccontextmanager
async def asking(answers: MemoryCatalogue) -> AsyncIterator[Catalogue]:
    async with serving(answers) as address, grpc.aio.insecure_channel(address) as channel:
        yield Catalogue(CatalogueServiceStub(channel), Limits(1000, 60_000, 60_000))


async def test_starts_that_come_while_a_question_is_under_way_share_the_next_one() -> None:
    answers = MemoryCatalogue()
    answers.add(graph("a"))
    async with asking(answers) as catalogue, asyncio.TaskGroup() as tasks:
        answers.answering.clear()
        first = tasks.create_task(catalogue.runnable("anna", "graph", 0))
        await until(lambda: answers.questions == 1, "the first question")
        # The answer to the first was drawn up before this edit; whoever asks now must see it.
        answers.add(graph("a", "b"))
        later = [tasks.create_task(catalogue.runnable("anna", "graph", 0)) for _ in range(50)]
        answers.answering.set()
        assert len((await first).plan.nodes) == 1
        assert {len((await each).plan.nodes) for each in later} == {2}
        assert answers.questions == 2


async def test_a_graph_that_did_not_change_is_compiled_once() -> None:
    answers = MemoryCatalogue()
    answers.add(graph("a"))
    async with asking(answers) as catalogue:
        once = await catalogue.runnable("anna", "graph", 0)
        assert await catalogue.runnable("anna", "graph", 0) is once
        assert answers.questions == 2
        answers.add(graph("b"))
        assert [node.id for node in (await catalogue.runnable("anna", "graph", 0)).plan.nodes] == ["b"]


async def test_a_refusal_is_shared_and_not_kept() -> None:
    answers = MemoryCatalogue()
    async with asking(answers) as catalogue:
        answers.answering.clear()
        asked = [asyncio.ensure_future(catalogue.runnable("anna", "graph", 0)) for _ in range(20)]
        await until(lambda: answers.questions == 1, "the first question")
        answers.answering.set()
        refusals = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(refusal) for refusal in refusals} == {GraphNotFound}
        assert answers.questions == 2
        answers.add(graph("a"))
        assert await catalogue.runnable("anna", "graph", 0)


async def test_a_caller_that_goes_away_leaves_the_question_to_the_next() -> None:
    answers = MemoryCatalogue()
    answers.add(graph("a"))
    async with asking(answers) as catalogue:
        answers.answering.clear()
        gone, stays = (asyncio.ensure_future(catalogue.runnable("anna", "graph", 0)) for _ in range(2))
        await until(lambda: answers.questions == 1, "the first question")
        gone.cancel()
        await until(lambda: answers.questions == 2, "the question of the other caller")
        answers.answering.set()
        assert await stays
        with pytest.raises(asyncio.CancelledError):
            await gone


async def test_while_a_lease_of_the_active_version_holds_nobody_asks() -> None:
    answers = MemoryCatalogue()
    answers.lease_seconds = 3600
    answers.add(graph("a"))
    async with asking(answers) as catalogue:
        while not answers.leased:
            await catalogue.runnable("anna", "graph", 0)
        asked = answers.questions
        assert asked > 1, "the first question is of a graph that may never be asked for again"
        for _ in range(20):
            assert await catalogue.runnable("anna", "graph", 0)
        assert answers.questions == asked
        # Leases are of one user's graph, and of the active version.
        await catalogue.runnable("anna", "graph", 1)
        assert answers.questions == asked + 1


async def test_a_lease_that_has_run_out_is_not_used() -> None:
    answers = MemoryCatalogue()
    answers.lease_seconds = 0.2
    answers.add(graph("a"))
    async with asking(answers) as catalogue:
        async with asyncio.timeout(20):
            while not answers.leased:
                await catalogue.runnable("anna", "graph", 0)
        answers.add(graph("a", "b"))

        async def is_seen() -> bool:
            return len((await catalogue.runnable("anna", "graph", 0)).plan.nodes) == 2

        await until(is_seen, "the edit is seen")


async def test_slow_answers_keep_nobody_from_a_lease() -> None:
    answers = MemoryCatalogue()
    answers.lease_seconds = 3600
    answers.add(graph("a"))
    async with asking(answers) as catalogue, asyncio.TaskGroup() as tasks:
        answers.answering.clear()
        tasks.create_task(catalogue.runnable("anna", "graph", 0))
        await until(lambda: answers.questions == 1, "the first question")
        tasks.create_task(catalogue.runnable("anna", "graph", 0))
        began = time.monotonic()
        await until(lambda: time.monotonic() - began > BUSY_SECONDS, "a slow answer")
        answers.answering.set()
    assert answers.leased == 1


async def test_a_lease_counts_from_before_the_question() -> None:
    answers = MemoryCatalogue()
    answers.lease_seconds = 0.2
    answers.add(graph("a"))
    async with asking(answers) as catalogue:
        await catalogue.runnable("anna", "graph", 0)
        answers.answering.clear()
        asked = asyncio.ensure_future(catalogue.runnable("anna", "graph", 0))
        await until(lambda: answers.questions == 2, "the question")
        began = time.monotonic()
        await until(lambda: time.monotonic() - began > answers.lease_seconds, "the lease is over before it comes")
        answers.answering.set()
        await asked
        assert answers.leased == 1
        await catalogue.runnable("anna", "graph", 0)
        assert answers.questions == 3
