"""What becomes of an AutoGPT agent file: new ids, and a remark for everything that is not as in the file."""

import json
from typing import Any

import pytest
from blockyard.block.dynamic_pins import base_pin, is_dynamic
from blockyard.graph.v1.block_pb2 import BlockType
from blockyard.graph.v1.graph_pb2 import ON_ERROR_CONTINUE
from blockyard.graph.v1.graph_service_pb2 import GraphFileFormat

from services.common.structs import from_struct
from services.graph.catalogue import Snapshot
from services.graph.children import AGENT_EXECUTOR
from tests.unit.graph.agents import agent, agent_id, agent_link, agent_node, imported, prepared, remarks
from tests.unit.graph.building import TEXT, block, block_id

TEXT_BLOCK = block_id("TextBlock")
STEP_BLOCK = block_id("StepBlock")
UNKNOWN_BLOCK = "11111111-2222-4333-8444-555555555555"
WHOLE_OR_NOTHING = {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}


def constants(content: Any, index: int = 0, blocks: Snapshot | None = None) -> dict[str, Any]:
    """Those that a node of the imported graph has."""
    written: dict[str, Any] = json.loads(imported(content, blocks).nodes[index].inputs_json or b"{}")
    return written


def small_agent(**more: Any) -> dict[str, Any]:
    return agent(
        [
            agent_node("in", block_id("InputBlock"), name="topic", value="tea"),
            agent_node("text", TEXT_BLOCK, times=2),
            agent_node("out", block_id("OutputBlock"), name="result"),
        ],
        [
            agent_link("in.result", "text.text", is_static=True),
            agent_link("text.text", "out.value", is_static=False),
        ],
        **more,
    )


def test_an_agent_becomes_a_graph_that_runs() -> None:
    made = prepared(small_agent())
    [(_, graph)] = made.graphs

    assert made.format == GraphFileFormat.GRAPH_FILE_FORMAT_AUTOGPT
    assert made.remarks == []
    assert (graph.name, graph.description) == ("Sample", "What it is for")
    assert [node.block_id for node in graph.nodes] == [block_id("InputBlock"), TEXT_BLOCK, block_id("OutputBlock")]
    assert [(link.source_pin, link.sink_pin, link.static) for link in graph.links] == [
        ("result", "text", True),
        ("text", "value", False),
    ]
    assert constants(small_agent()) == {"name": "topic", "value": "tea"}
    assert (graph.nodes[1].metadata.position.x, graph.nodes[1].metadata.position.y) == (10.5, -3)


def test_graphs_nodes_and_links_get_new_ids() -> None:
    made = prepared(small_agent())
    [(graph_id, graph)] = made.graphs
    new = [str(graph_id), *(node.id for node in graph.nodes), *(link.id for link in graph.links)]
    old = {agent_id(name) for name in ("graph", "in", "text", "out")}

    assert len(set(new)) == 6
    assert old.isdisjoint(new)
    assert graph.links[0].source_node_id == graph.nodes[0].id
    assert graph.links[0].sink_node_id == graph.nodes[1].id


def test_a_failed_node_of_an_agent_does_not_fail_the_execution() -> None:
    assert {node.on_error for node in imported(small_agent()).nodes} == {ON_ERROR_CONTINUE}


def test_the_fields_of_an_export_that_say_nothing_here_are_taken_without_remark() -> None:
    more = {
        "forked_from_id": None,
        "forked_from_version": None,
        "user_id": "somebody",
        "created_at": "2026-01-05T10:00:00Z",
        "input_schema": {"type": "object"},
        "output_schema": {"type": "object"},
        "has_external_trigger": False,
        "has_human_in_the_loop": False,
        "has_sensitive_action": False,
        "trigger_setup_info": None,
        "credentials_input_schema": {},
        "instructions": None,
        "recommended_schedule_cron": None,
        "sub_graphs": [],
        "of_a_later_release": [1, 2],
    }
    assert remarks(small_agent(**more)) == []


def test_what_has_no_place_in_a_graph_is_told() -> None:
    content = small_agent(instructions="Press start", recommended_schedule_cron="0 9 * * 1")
    content["nodes"][1]["webhook_id"] = agent_id("webhook")
    assert remarks(content) == [
        ("PART_LEFT_OUT", "instructions"),
        ("PART_LEFT_OUT", "recommended_schedule_cron"),
        ("PART_LEFT_OUT", "nodes[1].webhook_id"),
    ]


def test_unknown_inputs_are_left_out_and_told() -> None:
    content = agent([agent_node("t", TEXT_BLOCK, text="a", secret=False, placeholder_values=[], api_key="old")])
    assert constants(content) == {"text": "a"}
    # `api_key` is no secret of ours to keep: the block has no such input.
    assert remarks(content) == [
        ("INPUT_UNKNOWN", f"nodes[0].input_default.{pin}") for pin in ("secret", "placeholder_values", "api_key")
    ]


def test_nulls_are_left_out_where_they_say_nothing() -> None:
    content = agent([agent_node("t", TEXT_BLOCK, text="a", times=None)])
    assert constants(content) == {"text": "a"}
    assert remarks(content) == [("INPUT_NULL", "nodes[0].input_default.times")]


def test_a_required_value_that_may_be_null_stays_null() -> None:
    content = agent([agent_node("p", block_id("PairBlock"), a=None, b=1)])
    assert constants(content) == {"a": None, "b": 1}
    assert remarks(content) == []


def test_a_missing_input_is_told_and_keeps_the_graph_from_running_only() -> None:
    content = agent([agent_node("t", TEXT_BLOCK)])
    assert remarks(content) == [("NOT_RUNNABLE", "nodes[0].inputs.text")]
    assert imported(content).nodes[0].block_id == TEXT_BLOCK


def test_nodes_without_input_default_and_metadata_are_taken() -> None:
    content = agent([{"id": "n", "block_id": STEP_BLOCK, "metadata": None}, {"id": "m", "block_id": STEP_BLOCK}])
    assert len(imported(content).nodes) == 2


@pytest.mark.parametrize(
    ("pin", "given", "kept"),
    [
        ("times", "3", 3),
        ("times", "many", 0),
        ("times", 2.5, 2),
        ("text", 7, "7"),
        ("text", {"a": 1}, '{"a": 1}'),
    ],
)
def test_constants_are_converted_as_a_run_would_do_it(pin: str, given: Any, kept: Any) -> None:
    content = agent([agent_node("t", TEXT_BLOCK, **{"text": "a", pin: given})])
    assert constants(content)[pin] == kept
    assert remarks(content) == [("INPUT_CONVERTED", f"nodes[0].input_default.{pin}")]


def test_lists_and_unions_are_converted_too() -> None:
    odd = block("OddBlock", {"maybe": WHOLE_OR_NOTHING, "rows": {"type": "array", "items": TEXT, "default": []}}, {})
    content = agent([agent_node("o", odd.id, maybe="12", rows="alone")])
    assert constants(content, blocks=Snapshot.of([odd])) == {"maybe": 12, "rows": ["alone"]}


def test_a_value_that_cannot_be_converted_is_kept_and_named() -> None:
    content = agent([agent_node("c", block_id("ChoiceBlock"), operation="Divide", x=1)])
    assert constants(content)["operation"] == "Divide"
    assert remarks(content) == [("NOT_RUNNABLE", "nodes[0].inputs.operation")]


def test_the_value_of_a_secret_is_not_in_the_remark() -> None:
    made = prepared(agent([agent_node("c", block_id("ChoiceBlock"), operation="Add", x=1, secret=4711)]))
    assert "4711" not in str(made.remarks)
    assert [one.field for one in made.remarks][:1] == ["nodes[0].input_default.secret"]


def test_constants_of_linked_pins_are_left_as_they_are() -> None:
    content = small_agent()
    content["nodes"][1]["input_default"] = {"text": {"left": "over"}}
    assert constants(content, 1) == {"text": {"left": "over"}}
    assert remarks(content) == []


def test_dynamic_constants_are_kept() -> None:
    content = agent([agent_node("o", block_id("ObjectBlock"), **{"values_#_a": 1, "values_#_b": "x"})])
    assert constants(content) == {"values_#_a": 1, "values_#_b": "x"}
    assert remarks(content) == []


CREDENTIALS = {"id": "c1", "provider": "openai", "type": "api_key", "title": "Mine"}


def test_credentials_are_dropped_and_told() -> None:
    secured = block("SecuredBlock", {"credentials": {"credentials_provider": ["openai"]}, "text": TEXT}, {})
    content = agent([agent_node("s", secured.id, text="a", credentials=CREDENTIALS)])
    assert constants(content, blocks=Snapshot.of([secured])) == {"text": "a"}
    assert remarks(content, Snapshot.of([secured])) == [
        ("CREDENTIALS_TO_FILL", "nodes[0].input_default.credentials"),
    ]
    assert "openai" in prepared(content, Snapshot.of([secured])).remarks[0].description


def test_required_credentials_that_a_file_does_not_mention_are_told() -> None:
    secured = block("SecuredBlock", {"smtp_credentials": {"credentials_provider": ["smtp"]}, "text": TEXT}, {})
    content = agent([agent_node("s", secured.id, text="a")])
    assert remarks(content, Snapshot.of([secured]))[0] == (
        "CREDENTIALS_TO_FILL",
        "nodes[0].input_default.smtp_credentials",
    )


def test_empty_credentials_that_are_not_required_go_without_saying() -> None:
    secured = block("SecuredBlock", {"credentials": {"credentials_provider": ["openai"], "default": None}}, {})
    content = agent([agent_node("s", secured.id, credentials=None)])
    assert remarks(content, Snapshot.of([secured])) == []


def test_a_node_of_an_unknown_block_keeps_its_place_and_its_constants() -> None:
    content = agent(
        [agent_node("u", UNKNOWN_BLOCK, prompt="Hi", credentials=CREDENTIALS), agent_node("t", TEXT_BLOCK)],
        [agent_link("u.answer", "t.text"), agent_link("u.more_#_x", "t.times")],
    )
    graph = imported(content)
    assert graph.nodes[0].block_id == UNKNOWN_BLOCK
    assert constants(content) == {"prompt": "Hi"}
    assert [link.source_pin for link in graph.links] == ["answer", "more_#_x"]
    assert remarks(content) == [
        ("CREDENTIALS_TO_FILL", "nodes[0].input_default.credentials"),
        ("BLOCK_UNKNOWN", "nodes[0].block_id"),
    ]


def test_a_link_to_a_pin_that_is_not_there_is_kept_and_named() -> None:
    content = agent(
        [agent_node("a", TEXT_BLOCK, text="a"), agent_node("b", TEXT_BLOCK, text="b")],
        [agent_link("a.gone", "b.text")],
    )
    assert remarks(content) == [("NOT_RUNNABLE", "links[0].source_pin")]


MODELS = block(
    "ModelBlock",
    {"prompt": TEXT, "model": {**TEXT, "default": "small", "examples": ["small", "large"]}},
    {},
    type=BlockType.BLOCK_TYPE_AI,
)


def test_an_unknown_model_is_kept_and_told() -> None:
    content = agent([agent_node("m", MODELS.id, prompt="Hi", model="gpt-of-old")])
    assert constants(content, blocks=Snapshot.of([MODELS]))["model"] == "gpt-of-old"
    assert remarks(content, Snapshot.of([MODELS])) == [("MODEL_UNKNOWN", "nodes[0].input_default.model")]


def test_a_known_model_is_not_worth_a_remark() -> None:
    content = agent([agent_node("m", MODELS.id, prompt="Hi", model="large")])
    assert remarks(content, Snapshot.of([MODELS])) == []


@pytest.mark.parametrize("said", [{}, {"is_static": None}, {"is_static": False}])
def test_links_from_a_static_block_are_static_whatever_the_file_says(said: dict[str, Any]) -> None:
    content = small_agent()
    content["links"][0].pop("is_static")
    content["links"][0].update(said)
    assert imported(content).links[0].static
    assert remarks(content) == [("STATIC_CHANGED", "links[0].is_static")]


def test_a_link_that_the_file_says_is_static_keeps_its_values_whatever_block_they_are_from() -> None:
    content = small_agent()
    content["links"][1]["is_static"] = True
    assert [(link.static, link.keep) for link in imported(content).links] == [(True, False), (True, True)]
    assert remarks(content) == []


def test_an_agent_may_be_started_without_inputs() -> None:
    content = small_agent()
    content["nodes"][0]["input_default"].pop("value")
    schema = from_struct(imported(content).input_schema)
    assert schema["properties"] == {"topic": {"title": "topic"}}
    assert schema["required"] == []


def test_a_link_that_is_there_twice_is_taken_once() -> None:
    content = small_agent()
    content["links"].append({**content["links"][0], "id": "another"})
    assert len(imported(content).links) == 2
    assert remarks(content) == [("LINK_LEFT_OUT", "links[2]")]


def test_links_to_notes_are_left_out() -> None:
    content = agent(
        [agent_node("t", TEXT_BLOCK, text="a"), agent_node("n", block_id("NoteBlock"), text="Look")],
        [agent_link("t.text", "n.text")],
    )
    assert len(imported(content).links) == 0
    assert remarks(content) == [("LINK_LEFT_OUT", "links[0]")]


def test_texts_that_are_too_long_are_made_shorter() -> None:
    content = small_agent(name="n" * 300, description="d\0" * 9_000)
    content["nodes"][0]["metadata"]["customized_name"] = "c" * 201
    graph = imported(content)
    assert len(graph.name) == 200
    assert graph.description == "d" * 9_000
    assert len(graph.nodes[0].metadata.customized_name) == 200
    assert [code for code, _ in remarks(content)] == ["TEXT_SHORTENED"] * 3


@pytest.mark.parametrize("name", ["DisabledBlock", "UnsetBlock"])
def test_a_block_that_cannot_be_placed_now_is_known_and_keeps_the_graph_from_running(name: str) -> None:
    content = agent([agent_node("a", block_id(name))])
    assert imported(content).nodes[0].block_id == block_id(name)
    assert remarks(content) == [("NOT_RUNNABLE", "nodes[0].block_id")]


def tool_agent(pin: str) -> dict[str, Any]:
    return agent(
        [agent_node("tools", UNKNOWN_BLOCK), agent_node("t", TEXT_BLOCK)], [agent_link(f"tools.{pin}", "t.text")]
    )


def test_a_tool_pin_names_the_new_node() -> None:
    content = tool_agent(f"tools_^_{agent_id('t')}_~_text")
    graph = imported(content)
    assert graph.links[0].source_pin == f"tools_^_{graph.nodes[1].id}_~_text"
    assert remarks(content) == [("BLOCK_UNKNOWN", "nodes[0].block_id")]


def test_an_old_tool_pin_is_renamed_after_the_node_that_it_leads_to() -> None:
    content = tool_agent("tools_^_write_text_~_text")
    graph = imported(content)
    assert graph.links[0].source_pin == f"tools_^_{graph.nodes[1].id}_~_text"
    assert remarks(content) == [
        ("TOOL_PIN_RENAMED", "links[0].source_name"),
        ("BLOCK_UNKNOWN", "nodes[0].block_id"),
    ]


def calling(name: str, graph_id: str, version: int = 1) -> dict[str, Any]:
    return agent_node(name, AGENT_EXECUTOR, graph_id=graph_id, graph_version=version, user_id="somebody", inputs={})


def sub_graph(name: str, *nodes: Any, version: int = 1) -> dict[str, Any]:
    inside = nodes or [agent_node(f"text of {name}", TEXT_BLOCK, text="a")]
    return agent(inside, id=agent_id(name), name=name, version=version)


def test_nodes_that_run_a_sub_graph_point_at_its_new_id() -> None:
    content = agent(
        [calling("call", agent_id("child"), version=3), calling("again", agent_id("other"))],
        sub_graphs=[sub_graph("child", version=3), sub_graph("other", calling("deep", agent_id("child"), 3))],
    )
    made = prepared(content)
    (_, main), (child_id, child), (other_id, other) = made.graphs

    called = [json.loads(node.inputs_json) for node in (*main.nodes, *other.nodes)]
    assert [one["graph_id"] for one in called] == [str(child_id), str(other_id), str(child_id)]
    assert [one["graph_version"] for one in called] == [1, 1, 1]
    assert {one["user_id"] for one in called} == {"anna"}
    assert (child.name, other.name) == ("child", "other")


def test_of_two_versions_of_a_sub_graph_the_named_one_is_meant() -> None:
    content = agent(
        [calling("call", agent_id("child"), version=2)],
        sub_graphs=[sub_graph("child", version=1), sub_graph("child", version=2)],
    )
    (_, main), _, (second_id, _) = prepared(content).graphs
    assert json.loads(main.nodes[0].inputs_json)["graph_id"] == str(second_id)


def test_remarks_on_a_sub_graph_name_its_place() -> None:
    content = agent([calling("call", agent_id("child"))], sub_graphs=[sub_graph("child", agent_node("t", TEXT_BLOCK))])
    assert ("NOT_RUNNABLE", "sub_graphs[0].nodes[0].inputs.text") in remarks(content)


@pytest.mark.parametrize("more", [{}, {"sub_graphs": None}])
def test_a_sub_graph_that_is_not_in_the_file_is_told(more: dict[str, Any]) -> None:
    content = agent([calling("call", agent_id("child"))], **more)
    assert ("SUB_GRAPH_MISSING", "nodes[0].input_default.graph_id") in remarks(content)
    assert constants(content)["graph_id"] == agent_id("child")


def test_the_same_file_and_seed_give_the_same_ids() -> None:
    assert prepared(small_agent()).graphs == prepared(small_agent()).graphs


def test_pins_of_tools_are_not_taken_for_selectors() -> None:
    assert base_pin("tools_^_node_~_field") == "tools"
    assert not is_dynamic("tools_^_node_~_field_#_key")
