"""Links from pins of tools, compiled: what a model is told, and where each argument goes."""

import json
from typing import Any

import pytest
from blockyard.block import LinkedTool
from blockyard.graph.v1.block_pb2 import Block, BlockType, Effect
from blockyard.graph.v1.graph_pb2 import Graph, Link, Node, NodeMetadata
from blockyard.runner.v1.heartbeat_pb2 import Heartbeat

from services.common.ids import new_id
from services.common.structs import to_struct
from services.execution.dispatch import Dispatcher, DispatchLimits
from services.execution.engine import Machine, Started, State, Topology
from services.execution.engine.plan import Plan, decode_plan, encode_plan
from services.execution.live import Live
from services.execution.planning import Limits, compile_plan
from services.execution.runners import Runners
from services.runner.inputs import decode_tools

LIMITS = Limits(max_node_executions=100, max_duration_ms=1000, timeout_ms=500)
SEARCH = {
    "properties": {
        "topic": {"type": "string", "description": "What to look for.", "title": "Topic", "advanced": False},
        "most": {"type": "integer", "minimum": 1, "default": 10},
        "filters": {
            "type": "object",
            "description": "What to leave out.",
            "properties": {"year": {"type": "integer", "description": "Since when."}},
            "additionalProperties": {"type": "string"},
            "default": {},
        },
        "rows": {"type": "array", "items": {"type": "number"}},
        "Größe": {"type": "string"},
    },
    "required": ["topic", "rows", "Größe"],
}
BLOCKS = {
    "decide": Block(
        id="decide",
        name="DecideBlock",
        type=BlockType.BLOCK_TYPE_AI,
        input_schema=to_struct(
            {"properties": {"prompt": {}, "history": {"fed_back": True}, "last": {"fed_back": True}}}
        ),
    ),
    "search": Block(id="search", name="SearchBlock", description="Looks it up.", input_schema=to_struct(SEARCH)),
    "agent": Block(
        id="agent",
        name="RunGraphBlock",
        type=BlockType.BLOCK_TYPE_AGENT,
        description="Runs a graph.",
        input_schema=to_struct({"properties": {"graph_id": {"type": "string"}}, "required": ["graph_id"]}),
    ),
    "in": Block(id="in", type=BlockType.BLOCK_TYPE_INPUT, static_output=True, effect=Effect.EFFECT_PURE),
    "work": Block(id="work"),
}


def node(name: str, block: str, /, called: str = "", **constants: Any) -> Node:
    metadata = NodeMetadata(customized_name=called)
    return Node(id=name, block_id=block, inputs_json=json.dumps(constants).encode(), metadata=metadata)


def compiled(nodes: list[Node], *links: str) -> Plan:
    """Links as "a.pin b.pin"."""
    graph = Graph(id="g", nodes=nodes)
    for link in links:
        source, sink = (end.split(".", 1) for end in link.split(" "))
        graph.links.append(Link(source_node_id=source[0], source_pin=source[1], sink_node_id=sink[0], sink_pin=sink[1]))
    return compile_plan(graph, BLOCKS, LIMITS)


def tools(nodes: list[Node], *links: str) -> list[dict[str, Any]]:
    """Of the first node."""
    told: list[dict[str, Any]] = json.loads(compiled(nodes, *links).nodes[0].tools)
    return told


def test_a_tool_has_the_linked_pins_alone() -> None:
    [tool] = tools(
        [node("d", "decide"), node("s", "search", rows=[1])],
        "d.tools_^_s_~_topic s.topic",
        "d.tools_^_s_~_most s.most",
    )
    assert tool == {
        "name": "SearchBlock",
        "description": "Looks it up.",
        "parameters": {
            "type": "object",
            "properties": {
                "topic": {"type": "string", "description": "What to look for."},
                "most": {"type": "integer", "minimum": 1},
            },
            "required": ["topic"],
            "additionalProperties": False,
        },
        "pins": {"topic": "tools_^_s_~_topic", "most": "tools_^_s_~_most"},
    }


@pytest.mark.parametrize(
    ("pin", "argument", "schema"),
    [
        (
            "filters_#_year",
            "filters_year",
            {"type": "integer", "description": "Part '_#_year' of 'filters': Since when."},
        ),
        (
            "filters_@_site",
            "filters_site",
            {"type": "string", "description": "Part '_@_site' of 'filters': What to leave out."},
        ),
        ("rows_$_0", "rows_0", {"type": "number", "description": "Part '_$_0' of 'rows'"}),
        ("Größe", "Gr_e", {"type": "string"}),
    ],
)
def test_an_argument_has_a_name_that_models_take_and_leads_to_its_exact_pin(
    pin: str, argument: str, schema: dict[str, Any]
) -> None:
    [tool] = tools([node("d", "decide"), node("s", "search")], f"d.tools_^_s_~_{pin} s.{pin}")
    assert tool["pins"] == {argument: f"tools_^_s_~_{pin}"}
    assert tool["parameters"]["properties"] == {argument: schema}


def test_a_part_of_a_required_pin_is_required() -> None:
    [tool] = tools(
        [node("d", "decide"), node("s", "search")],
        "d.tools_^_s_~_rows_$_0 s.rows_$_0",
        "d.tools_^_s_~_filters_#_a s.filters_#_a",
    )
    assert tool["parameters"]["required"] == ["rows_0"]


def test_arguments_and_tools_of_one_name_are_told_apart() -> None:
    long = "x" * 100
    found = tools(
        [
            node("d", "decide"),
            node("s", "search"),
            node("t", "search"),
            node("u", "search", called="Find it, please!"),
            node("v", "search", called=long),
            node("w", "search", called=long),
            node("x", "search", called="%"),
        ],
        *(f"d.tools_^_{sink}_~_topic {sink}.topic" for sink in "stuvwx"),
        "d.tools_^_s_~_filters_#_a s.filters_#_a",
        "d.tools_^_s_~_filters_@_a s.filters_@_a",
    )
    assert [tool["name"] for tool in found] == [
        "SearchBlock",
        "SearchBlock_2",
        "Find_it_please",
        "x" * 64,
        "x" * 62 + "_2",
        "tool",
    ]
    assert found[0]["pins"] == {
        "topic": "tools_^_s_~_topic",
        "filters_a": "tools_^_s_~_filters_#_a",
        "filters_a_2": "tools_^_s_~_filters_@_a",
    }


def test_a_tool_that_is_a_graph_takes_what_the_graph_takes() -> None:
    schema = {
        "title": "Planner",
        "description": "Plans a journey.",
        "properties": {"from": {"type": "string"}, "to": {"type": "string"}},
        "required": ["to"],
    }
    [tool] = tools(
        [node("d", "decide"), node("a", "agent", graph_id="g2", input_schema=schema)],
        "d.tools_^_a_~_to a.to",
    )
    assert (tool["name"], tool["description"]) == ("Planner", "Plans a journey.")
    assert tool["parameters"]["properties"] == {"to": {"type": "string"}}
    assert tool["parameters"]["required"] == ["to"]


def test_links_of_old_files_get_the_pin_that_names_their_sink() -> None:
    plan = compiled(
        [node("d", "decide"), node("s", "search"), node("t", "search")],
        "d.tools_^_search_~_topic s.topic",
        "d.tools_^_search_~_topic t.topic",
        "d.tools_^_s_~_other_name s.most",
        "d.tools_^_SEARCH_~_topic s.topic",
    )
    assert [link.source_pin for link in plan.links] == [
        "tools_^_s_~_topic",
        "tools_^_t_~_topic",
        "tools_^_s_~_most",
    ]


def test_other_nodes_have_no_tools_and_plans_without_that_field_are_read() -> None:
    plan = compiled([node("a", "work"), node("b", "work")], "a.x b.y")
    assert [each.tools for each in plan.nodes] == [b"", b""]
    assert decode_plan(encode_plan(plan)) == plan


def loop(*more: str) -> Plan:
    nodes = [node("d", "decide"), node("s", "search"), node("p", "in", name="p"), node("w", "work")]
    return compiled(
        nodes,
        "p.result d.prompt",
        "d.tools_^_s_~_topic s.topic",
        "s.found d.last",
        "d.conversations d.history",
        "d.finished w.x",
        *more,
    )


def shown(plan: Plan) -> set[str]:
    """Links as "a.pin b.pin", of a second node with its number; "*" where they are latched."""
    names = [f"{each.id}{at}" if each.id == "d" else each.id for at, each in enumerate(plan.nodes)]
    return {
        f"{names[one.source]}.{one.source_pin} {names[one.sink]}.{one.sink_pin}{'*' if one.static else ''}"
        for one in plan.links
    }


def test_a_node_in_a_loop_runs_first_without_what_comes_back() -> None:
    plan = loop()
    assert [each.id for each in plan.nodes] == ["d", "s", "p", "w", "d"]
    assert plan.nodes[0] == plan.nodes[4]
    assert shown(plan) == {
        "p.result d0.prompt*",
        "p.result d4.prompt*",
        "d0.tools_^_s_~_topic s.topic",
        "d4.tools_^_s_~_topic s.topic",
        "s.found d4.last",
        "d0.conversations d4.history",
        "d4.conversations d4.history",
        "d0.finished w.x",
        "d4.finished w.x",
    }


def test_a_loop_over_tools_has_a_topology() -> None:
    topology = Topology(loop())
    start, follower = topology.places[0], topology.places[4]
    assert [inlet.name for inlet in start.inlets] == ["prompt"]
    assert {inlet.name: inlet.static for inlet in follower.inlets} == {"prompt": True, "last": False, "history": False}
    assert start.outlets.keys() == follower.outlets.keys()
    assert not follower.outlets["tools_^_s_~_topic"].many


def test_a_task_has_the_tools_of_its_node() -> None:
    plan = compiled([node("d", "decide"), node("s", "search"), node("w", "work")], "d.tools_^_s_~_topic s.topic")
    machine = Machine(Topology(plan), State(1))
    runners = Runners(silence=7.0)
    runners.hear(Heartbeat(runner_id="one", pool="default", slots=5), 0.0)
    dispatcher = Dispatcher(DispatchLimits(2.0, 0, 0, 8, 5_000.0), runners, "me")
    execution_id = new_id()
    live = Live(execution_id.bytes, execution_id, 0, "anna", "g", 1, 0, "", machine)
    for execution in machine.apply([Started({})], 0).queued:
        dispatcher.queue(live, execution.number, execution.attempt)

    tasks = {task.node_id: task for message in dispatcher.take(0.0) for task in message.batch.tasks}

    assert decode_tools(tasks["d"].tools) == (
        LinkedTool(
            "SearchBlock",
            "Looks it up.",
            {
                "type": "object",
                "properties": {"topic": {"type": "string", "description": "What to look for."}},
                "required": ["topic"],
                "additionalProperties": False,
            },
            {"topic": "tools_^_s_~_topic"},
        ),
    )
    assert tasks["w"].tools == b""


def test_what_does_not_come_back_is_waited_for() -> None:
    nodes = [node("p", "in", name="p"), node("d", "decide"), node("w", "work")]
    plan = compiled(nodes, "p.result d.history", "d.finished w.x")
    assert [each.id for each in plan.nodes] == ["p", "d", "w"]


def test_values_from_outside_serve_every_round() -> None:
    nodes = [node("d", "decide"), node("s", "search"), node("w", "work")]
    plan = compiled(nodes, "w.y d.prompt", "d.tools_^_s_~_topic s.topic", "s.found d.last", "d.conversations d.history")
    assert "w.y d0.prompt" in shown(plan)
    assert "w.y d3.prompt*" in shown(plan)
