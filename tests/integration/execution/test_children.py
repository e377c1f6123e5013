"""Executions that a node of another one waits for: results, failures, stops, lineage, and whatever dies meanwhile."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import EventBatch, EventKind
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.execution.v1.execution_pb2 import ExecutionStatus, NodeExecutionStatus
from blockyard.runner.v1.task_pb2 import Task
from blockyard.values import encode_reference

from services.common.blobs import BlobStore, blob_key
from services.execution.children import MOST_NESTED, RESULT_BYTES
from services.execution.large_values import LIMIT
from tests.integration.execution.house import Client, House, house
from tests.integration.execution.protocol_runner import Held, running
from tests.integration.execution.test_guarantees import ended, node_executions
from tests.integration.execution.test_lost_commits import looking
from tests.waiting import until


def child(built: House, graph_id: str = "child") -> None:
    """Input "x" -> work -> output "y"."""
    graph = built.graph(graph_id)
    graph.input("x", required=True)
    graph.node("work")
    graph.output("y")
    graph.link("x.result", "work.a")
    graph.link("work.result", "y.value")
    built.catalogue.add(graph)


def parent(built: House, graph_id: str = "parent", /, **constants: Any) -> None:
    """A node "agent" that runs "child" with the parent's input "x"; "out" is its result, "failure" its error."""
    graph = built.graph(graph_id)
    graph.input("x", required=True)
    graph.node("agent", "AGENT", **{"graph_id": "child", "graph_version": 0, "inputs": {}, **constants})
    graph.output("out")
    graph.link("x.result", "agent.x")
    graph.link("agent.y", "out.value")
    built.catalogue.add(graph)


def doubled(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield "result", inputs["a"] * 2


def broken(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise ValueError("no such luck")
    yield


def held(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    raise Held


async def waiting_node(client: Client, execution_id: str) -> Any:
    """The node execution that waits, once there is one."""

    async def found() -> Any:
        nodes = await node_executions(client, execution_id)
        waits = [node for node in nodes if node.status == NodeExecutionStatus.NODE_EXECUTION_STATUS_WAITING]
        return waits[0] if waits and waits[0].child_execution_id else None

    return await until(found, "a node waits for its child")


async def test_the_results_of_a_child_are_the_outputs_of_its_node(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        child(built)
        parent(built)
        await built.add_replica()
        async with running(built.bus, {"work": doubled}):
            client = built.client()
            execution = await client.start("parent", inputs={"x": 2**53 + 1}, priority=7)
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [2**54 + 2]}
            (agent,) = [node for node in await node_executions(client, execution.id) if node.node_id == "agent"]
            run = await client.get(agent.child_execution_id)
            assert (run.graph_id, run.priority, run.parent_execution_id) == ("child", 7, execution.id)
            assert run.parent_node_execution == agent.number
            listed = await client.call(
                "ListExecutions", messages.ListExecutionsRequest(parent_execution_id=execution.id)
            )
            assert [one.id for one in listed.executions] == [run.id]


async def test_the_events_of_a_child_name_the_execution_that_waits_for_it(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        child(built)
        parent(built)
        await built.add_replica()
        batches: list[EventBatch] = []
        await built.bus.subscribe("blockyard.event.*.*.*", lambda one: batches.append(EventBatch.FromString(one.data)))
        async with running(built.bus, {"work": doubled}):
            client = built.client()
            execution = await client.start("parent", inputs={"x": 1})
            events = await client.events(execution.id)
            last = (execution.id, len(events))
            await until(lambda: last in [(b.execution_id, b.events[-1].sequence) for b in batches], "all is told")
        parents = {(batch.graph_id, batch.parent_execution_id) for batch in batches}
        assert parents == {("parent", ""), ("child", execution.id)}
        waits = [
            event for batch in batches for event in batch.events if event.kind == EventKind.EVENT_KIND_NODE_WAITING
        ]
        assert [event.waits_for_person for event in waits] == [False], "it is no person who is waited for"


async def test_constants_are_inputs_and_links_come_before_them(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        graph = built.graph("child")
        for name in ("x", "y"):
            graph.input(name)
            graph.node(f"{name}-out", "OUTPUT", name=name)
            graph.link(f"{name}.result", f"{name}-out.value")
        built.catalogue.add(graph)
        above = built.graph("parent")
        above.input("given")
        inputs = {"x": "constant", "y": "constant", "unknown": "left out"}
        above.node("agent", "AGENT", graph_id="child", inputs=inputs)
        above.link("given.result", "agent.x")
        for name in ("x", "y"):
            above.output(name)
            above.link(f"agent.{name}", f"{name}.value")
        built.catalogue.add(above)
        await built.add_replica()
        client = built.client()
        execution = await client.start("parent", inputs={"given": "linked"})
        await client.events(execution.id)
        assert await client.results(execution.id) == {"x": ["linked"], "y": ["constant"]}


async def test_a_waiting_parent_holds_no_runner_and_says_what_it_waits_for(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        child(built)
        parent(built)
        await built.add_replica()
        async with running(built.bus, {"work": held}) as runner:
            client = built.client()
            execution = await client.start("parent", inputs={"x": 1})
            agent = await waiting_node(client, execution.id)
            await until(lambda: len(runner.held) == 1, "the child's node runs")
            assert [task.node_id for task in runner.ran] == ["work"]
            explained = await client.call(
                "ExplainExecution", messages.ExplainExecutionRequest(execution_id=execution.id)
            )
            assert explained.execution.status == ExecutionStatus.EXECUTION_STATUS_WAITING
            (waits,) = explained.waiting
            assert (waits.node_execution, waits.reason) == (agent.number, "the end of another execution")


async def test_a_child_is_stopped_with_its_parent(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        child(built)
        parent(built, "middle")
        graph = built.graph("parent")
        graph.input("x")
        graph.node("agent", "AGENT", graph_id="middle")
        graph.link("x.result", "agent.x")
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"work": held}) as runner:
            client = built.client()
            execution = await client.start("parent", inputs={"x": 1})
            middle = (await waiting_node(client, execution.id)).child_execution_id
            lowest = (await waiting_node(client, middle)).child_execution_id
            await until(lambda: len(runner.held) == 1, "the lowest runs")
            await client.call("StopExecution", messages.StopExecutionRequest(execution_id=execution.id))
            for execution_id in (middle, lowest):
                await ended(client, execution_id)
                stopped = await client.get(execution_id)
                assert stopped.status == ExecutionStatus.EXECUTION_STATUS_CANCELLED
                assert stopped.status_message == "the execution that it is a part of has ended"


async def test_a_child_that_fails_fails_its_node(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        child(built)
        parent(built)
        await built.add_replica()
        async with running(built.bus, {"work": broken}):
            client = built.client()
            execution = await client.start("parent", inputs={"x": 1})
            await client.events(execution.id)
            failed = await client.get(execution.id)
            assert failed.status == ExecutionStatus.EXECUTION_STATUS_FAILED
            (agent,) = [node for node in await node_executions(client, execution.id) if node.node_id == "agent"]
            assert agent.error == f"execution {agent.child_execution_id} of graph child: node work failed: no such luck"


async def test_a_child_that_was_stopped_alone_fails_its_node(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        child(built)
        parent(built)
        await built.add_replica()
        async with running(built.bus, {"work": held}):
            client = built.client()
            execution = await client.start("parent", inputs={"x": 1})
            agent = await waiting_node(client, execution.id)
            await client.call("StopExecution", messages.StopExecutionRequest(execution_id=agent.child_execution_id))
            await ended(client, execution.id)
            failed = await client.get(execution.id)
            assert failed.status == ExecutionStatus.EXECUTION_STATUS_FAILED
            assert failed.status_message.endswith("stopped by anna")


async def test_a_retried_node_runs_its_graph_again(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        child(built)
        graph = built.graph("parent")
        graph.node("agent", "AGENT", attempts=2, graph_id="child", inputs={"x": 1})
        graph.output("out")
        graph.link("agent.y", "out.value")
        built.catalogue.add(graph)
        await built.add_replica()
        tries: list[Task] = []

        def second(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
            tries.append(task)
            yield from (broken if len(tries) == 1 else doubled)(inputs, task)

        async with running(built.bus, {"work": second}):
            client = built.client()
            execution = await client.start("parent")
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [2]}
            assert len({task.execution_id for task in tries}) == 2


async def test_what_cannot_be_run_fails_the_node_and_says_why(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        child(built)
        parent(built, "lost", graph_id="nowhere")
        parent(built, "nameless", graph_id="")
        parent(built, "crooked", inputs=[1])
        graph = built.graph("lacking")
        graph.node("agent", "AGENT", graph_id="child")
        built.catalogue.add(graph)
        await built.add_replica()
        client = built.client()
        for graph_id, inputs, message in (
            ("lost", {"x": 1}, "the graph cannot be run: There is no graph nowhere."),
            ("nameless", {"x": 1}, "graph_id: expected the id of the graph to run"),
            ("crooked", {"x": 1}, "inputs: expected an object, got list"),
            ("lacking", {}, "the graph cannot be run: inputs.x: this input is required"),
        ):
            execution = await client.start(graph_id, inputs=inputs)
            await client.events(execution.id)
            found = await client.get(execution.id)
            assert found.status == ExecutionStatus.EXECUTION_STATUS_FAILED
            assert message in found.status_message, graph_id


async def test_a_graph_that_runs_itself_comes_to_an_end(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        parent(built, "child")
        await built.add_replica()
        client = built.client()
        execution = await client.start("child", inputs={"x": 1})
        await client.events(execution.id, timeout=60)
        found = await client.get(execution.id)
        assert found.status == ExecutionStatus.EXECUTION_STATUS_FAILED
        assert f"limit reached: {MOST_NESTED} graphs that run one another" in found.status_message


async def test_results_that_are_too_large_together_fail_the_node(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        child(built)
        parent(built)
        await built.add_replica()

        def large(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
            yield "result", "x" * (RESULT_BYTES + 1)

        async with running(built.bus, {"work": large}):
            client = built.client()
            execution = await client.start("parent", inputs={"x": 1})
            await client.events(execution.id)
            found = await client.get(execution.id)
            assert "its results are larger than 4 MiB together" in found.status_message


def fanning(built: House) -> None:
    """A child that gives "y" once for each item of its input "x", and "count" once; a parent that runs it for each item
    of its own fan-out, gathers what stems from that, and from each run of the child."""
    graph = built.graph("child")
    graph.input("x", required=True)
    graph.node("split", many=("item",))
    graph.output("y")
    graph.node("length")
    graph.output("count")
    graph.link("x.result", "split.list")
    graph.link("split.item", "y.value")
    graph.link("x.result", "length.list")
    graph.link("length.count", "count.value")
    built.catalogue.add(graph)
    above = built.graph("parent")
    above.input("lists", required=True)
    above.node("split", many=("item",))
    above.node("agent", "AGENT", graph_id="child")
    above.node("all", "COLLECT", of="split")
    above.node("each", "COLLECT", of="agent")
    above.node("counts", "COLLECT", of="split")
    for name in ("all", "each", "counts"):
        above.node(f"{name} out", "OUTPUT", name=name)
        above.link(f"{name}.items", f"{name} out.value")
    above.link("lists.result", "split.list")
    above.link("split.item", "agent.x")
    above.link("agent.y", "all.item")
    above.link("agent.y", "each.item")
    above.link("agent.count", "counts.item")
    built.catalogue.add(above)


def split(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    for item in inputs["list"]:
        yield "item", item


def length(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
    yield "count", len(inputs["list"])


async def test_results_of_children_are_gathered_in_the_order_of_both_fan_outs(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        fanning(built)
        await built.add_replica()
        async with running(built.bus, {"split": split, "length": length}):
            client = built.client()
            lists = [["a", "b", "c"], [], ["d"], ["e", "f"]]
            execution = await client.start("parent", inputs={"lists": lists})
            await client.events(execution.id)
            results = await client.results(execution.id)
            assert results["all"] == [["a", "b", "c", "d", "e", "f"]]
            assert results["counts"] == [[3, 0, 1, 2]]
            assert results["each"] == lists


async def test_a_parent_that_is_taken_over_has_one_child_for_each_node(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        child(built)
        parent(built)
        replica = await built.add_replica()
        async with running(built.bus, {"work": held}) as runner:
            client = built.client()
            started = [await client.start("parent", inputs={"x": at}) for at in range(5)]
            await until(lambda: len(runner.held) == 5, "all children run")
            await replica.close()
            built.replicas.clear()
            await built.add_replica()
            client = built.client()
            runner.blocks = {"work": doubled}
            for task in list(runner.held.values()):
                await runner._run(task)
            for execution in started:
                await ended(client, execution.id)
            assert [await client.results(one.id) for one in started] == [{"out": [at * 2]} for at in range(5)]
            assert await rows.fetchval("SELECT count(*) FROM executions") == 10


async def test_an_end_that_was_not_told_is_found_by_the_clock(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        child(built)
        parent(built)
        replica = await built.add_replica()
        async with running(built.bus, {"work": held}) as runner:
            client = built.client()
            execution = await client.start("parent", inputs={"x": 4})
            run = (await waiting_node(client, execution.id)).child_execution_id
            await until(lambda: len(runner.held) == 1, "the child's node runs")
            # The parent's row is locked, so nobody can tell it; then the replica that knew of the end is gone.
            async with rows.transaction():
                await rows.execute("SELECT FROM executions WHERE execution_id = $1 FOR UPDATE", execution.id)
                runner.blocks = {"work": doubled}
                (task,) = runner.held.values()
                await runner._run(task)
                await ended(client, run)
                await replica.close()
                built.replicas.clear()
            assert await rows.fetchval("SELECT NOT parent_told FROM executions WHERE execution_id = $1", run)
            await built.add_replica()
            client = built.client()
            await ended(client, execution.id)
            assert await client.results(execution.id) == {"out": [8]}
            assert await rows.fetchval("SELECT parent_told FROM executions WHERE execution_id = $1", run)


async def test_a_child_whose_parent_has_ended_meanwhile_is_found_by_the_clock(postgres: PostgresServer) -> None:
    async with house(postgres) as built, looking(built) as rows:
        child(built)
        parent(built)
        replica = await built.add_replica()
        async with running(built.bus, {"work": held}) as runner:
            client = built.client()
            execution = await client.start("parent", inputs={"x": 4})
            run = (await waiting_node(client, execution.id)).child_execution_id
            await until(lambda: len(runner.held) == 1, "the child's node runs")
            await replica.close()
            built.replicas.clear()
            # As an end would leave it whose stop of the child got lost.
            await rows.execute("UPDATE executions SET status = 6 WHERE execution_id = $1", execution.id)
            await built.add_replica()
            client = built.client()
            await ended(client, run)
            assert (await client.get(run)).status == ExecutionStatus.EXECUTION_STATUS_CANCELLED


async def test_a_child_starts_when_its_graph_can_be_asked_for_again(postgres: PostgresServer) -> None:
    async with house(postgres, unload_after=0) as built:
        child(built)
        parent(built)
        built.catalogue.away.add("child")
        await built.add_replica()
        async with running(built.bus, {"work": doubled}):
            client = built.client()
            execution = await client.start("parent", inputs={"x": 3})
            questions = built.catalogue.questions
            await until(lambda: built.catalogue.questions > questions + 2, "it is asked for again and again")
            assert (await client.get(execution.id)).status == ExecutionStatus.EXECUTION_STATUS_WAITING
            built.catalogue.away.clear()
            await ended(client, execution.id)
            assert await client.results(execution.id) == {"out": [6]}


async def results_after_a_restart(built: House) -> dict[str, list[Any]]:
    """Results of a parent that a second replica loads while its child runs, and whose child it asks for again."""
    graph = built.graph("parent")
    graph.node("agent", "AGENT", graph_id="child", inputs={"x": 1})
    graph.node("beside")
    graph.output("out")
    graph.link("agent.y", "out.value")
    built.catalogue.add(graph)
    lost = built.graph("lost", "berta")
    lost.node("agent", "AGENT", graph_id="nowhere")
    built.catalogue.add(lost)
    async with running(built.bus, {"work": held, "beside": held}) as runner:
        client = built.client(replica=-1)
        execution = await client.start("parent")
        await waiting_node(client, execution.id)
        await until(lambda: len(runner.held) == 2, "both run")
        await built.replicas.pop().close()
        asked = built.catalogue.questions
        await built.add_replica()
        client = built.client()
        await until(lambda: built.catalogue.questions > asked, "the child is asked for again")
        # Another child is wanted later and is refused: by then the answer to the first question has come too.
        other = built.client("berta")
        await ended(other, (await other.start("lost")).id)
        tasks = {task.node_id: task for task in runner.held.values()}
        runner.blocks = {"work": doubled, "beside": lambda inputs, task: iter(())}
        for name in ("work", "beside"):
            await runner._run(tasks[name])
        await ended(client, execution.id)
        return await client.results(execution.id)


async def test_a_child_whose_graph_is_deleted_meanwhile_is_still_waited_for(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        child(built)
        replica = await built.add_replica()
        replica.resources.callback(built.catalogue.graphs.pop, "child")
        assert await results_after_a_restart(built) == {"out": [2]}


async def test_a_limit_that_is_reached_meanwhile_refuses_no_child_that_runs(postgres: PostgresServer) -> None:
    async with house(postgres, unended_executions=2) as built:
        child(built)
        await built.add_replica()
        assert await results_after_a_restart(built) == {"out": [2]}


async def test_whatever_a_link_brings_as_the_graph_to_run_fails_its_node_alone(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        child(built)
        graph = built.graph("parent")
        for name in ("graph_id", "graph_version", "inputs"):
            graph.input(name)
        graph.node("agent", "AGENT")
        graph.output("out")
        for name in ("graph_id", "graph_version", "inputs"):
            graph.link(f"{name}.result", f"agent.{name}")
        graph.link("agent.y", "out.value")
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"work": doubled}):
            client = built.client()
            for graph_id, version, message in (
                ("child", True, "graph_version: expected the number of a version"),
                ("child", 2**31, "graph_version: expected the number of a version"),
                ("child", 1.0, "graph_version: expected the number of a version"),
                ("x" * 100_000, 0, "graph_id: expected the id of the graph to run, got 100,000 characters"),
                ("a\x00b", 1, "the graph cannot be run: There is no graph"),
                (["child"], 1, "graph_id: expected the id of the graph to run"),
            ):
                inputs = {"graph_id": graph_id, "graph_version": version, "inputs": {"x": 1}}
                execution = await client.start("parent", inputs=inputs)
                await client.events(execution.id)
                assert message in (await client.get(execution.id)).status_message, version
            execution = await client.start(
                "parent", inputs={"graph_id": "child", "graph_version": 1, "inputs": {"x": 1}}
            )
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [2]}


async def test_a_graph_that_no_plan_can_be_made_of_fails_its_node_alone(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        child(built)
        parent(built)
        parent(built, "astray", graph_id="crooked")
        graph = built.graph("crooked")
        graph.input("x")
        graph.node("all", "COLLECT", of="nobody")
        graph.link("x.result", "all.item")
        built.catalogue.add(graph)
        await built.add_replica()
        async with running(built.bus, {"work": doubled}):
            client = built.client()
            astray = await client.start("astray", inputs={"x": 1})
            await client.events(astray.id)
            assert "the graph cannot be run" in (await client.get(astray.id)).status_message
            execution = await client.start("parent", inputs={"x": 1})
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": [2]}


async def test_inputs_that_come_from_the_blob_store_or_in_parts_are_inputs_all_the_same(
    postgres: PostgresServer,
) -> None:
    async with house(postgres) as built:
        graph = built.graph("child")
        for name in ("x", "y", "z"):
            graph.input(name)
            graph.node(f"{name}-out", "OUTPUT", name=name)
            graph.link("z.result_#_y" if name == "z" else f"{name}.result", f"{name}-out.value")
        built.catalogue.add(graph)
        above = built.graph("parent")
        above.node("make")
        above.node("agent", "AGENT", graph_id="child")
        for name in ("x", "y", "z"):
            above.output(name)
            above.link(f"agent.{name}", f"{name}.value")
        above.link("make.all", "agent.inputs")
        above.link("make.all", "agent.z")
        above.link("make.part", "agent.inputs_#_y")
        built.catalogue.add(above)
        await built.add_replica()
        stored = json.dumps({"x": "x" * (LIMIT + 1), "y": [0]}).encode()
        key = blob_key("of", "make", "all", hashlib.sha256(stored).hexdigest())
        reference = await BlobStore(f"file://{built.folder / 'blobs'}").put(key, stored)

        def make(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
            yield "all", json.loads(encode_reference(reference.key, reference.size, reference.sha256))
            yield "part", 7

        async with running(built.bus, {"make": make}):
            client = built.client()
            execution = await client.start("parent")
            await client.events(execution.id)
            assert await client.results(execution.id) == {"x": ["x" * (LIMIT + 1)], "y": [7], "z": [[0]]}


async def test_a_large_result_of_a_child_has_parts_for_its_parent(postgres: PostgresServer) -> None:
    async with house(postgres) as built:
        child(built)
        graph = built.graph("parent")
        graph.node("agent", "AGENT", graph_id="child", inputs={"x": 1})
        graph.output("out")
        graph.link("agent.y_#_city", "out.value")
        built.catalogue.add(graph)
        await built.add_replica()
        stored = json.dumps({"city": "Ulm", "text": "x" * (LIMIT + 1)}).encode()
        key = blob_key("of", "work", "result", hashlib.sha256(stored).hexdigest())
        reference = await BlobStore(f"file://{built.folder / 'blobs'}").put(key, stored)

        def make(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
            yield "result", json.loads(encode_reference(reference.key, reference.size, reference.sha256))

        async with running(built.bus, {"work": make}):
            client = built.client()
            execution = await client.start("parent")
            await client.events(execution.id)
            assert await client.results(execution.id) == {"out": ["Ulm"]}
