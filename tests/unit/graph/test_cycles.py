"""Cycles that are refused before an execution could go round them, and those that are none of that kind."""

import pytest
from blockyard.graph.v1.graph_pb2 import Graph, Node
from hypothesis import given
from hypothesis import strategies as st

from services.execution.engine.plan import NodeKind
from services.execution.planning import Limits, compile_plan
from services.graph.documents import read_document
from services.graph.layout import lay_out
from services.graph.rules.fan_outs import gathered_fan_outs
from tests.unit.graph.building import BLOCKS, block_id, catalogue, errors, graph, link, node

STEP = node("step", "StepBlock", items=[1])


def own_items(of: str = "") -> Graph:
    """A Collect whose list is joined with each of its own items."""
    collect = node("all", "CollectBlock", of=of) if of else node("all", "CollectBlock")
    return graph(
        [STEP, node("join", "PairBlock"), collect],
        [link("step.item", "join.a"), link("all.items", "join.b"), link("join.pair", "all.item")],
    )


@pytest.mark.parametrize("of", ["", "step"])
def test_a_collect_that_gathers_what_it_gives_is_refused(of: str) -> None:
    assert errors(own_items(of)) == {
        "nodes[2]": "lies on a cycle of its items, 'all' -> 'join' -> 'all': it gathers the fan-out of 'step', which "
        "does not lie on that cycle, so it would wait for what it gives itself"
    }


def test_a_collect_of_the_whole_execution_on_a_cycle_is_refused() -> None:
    found = errors(
        graph(
            [node("a", "TextBlock", text="a"), node("all", "CollectBlock"), node("s", "SwitchBlock")],
            [link("a.text", "all.item"), link("all.items", "s.value"), link("s.no", "all.item")],
        )
    )
    assert found == {
        "nodes[1]": "lies on a cycle of its items, 'all' -> 's' -> 'all': it gathers the whole execution, so it would "
        "wait for what it gives itself"
    }


def test_a_collect_linked_to_itself_is_refused() -> None:
    found = errors(
        graph([STEP, node("all", "CollectBlock")], [link("step.item", "all.item"), link("all.items", "all.item")])
    )
    assert list(found) == ["nodes[1]"]
    assert "'all' -> 'all'" in found["nodes[1]"]


def test_a_collect_on_a_cycle_through_its_fan_out_begins_anew_each_time() -> None:
    """A search in rounds: all that one round has found is where the next one begins."""
    written = graph(
        [node("begin", "TextBlock", text="a"), node("round", "StepBlock"), node("all", "CollectBlock")],
        [link("begin.text", "round.items"), link("round.item", "all.item"), link("all.items", "round.items")],
    )
    assert errors(written) == {}


def test_a_second_way_round_that_leaves_the_fan_out_out_is_refused() -> None:
    written = graph(
        [node("begin", "TextBlock", text="a"), node("round", "StepBlock"), node("all", "CollectBlock", of="round")],
        [
            link("begin.text", "round.items"),
            link("round.item", "all.item"),
            link("all.items", "round.items"),
            link("all.count", "all.item"),
        ],
    )
    assert list(errors(written)) == ["nodes[2]"]


def test_an_inner_collect_belongs_to_the_inner_fan_out() -> None:
    """The outer Collect's fan-out is the outer one, and through that one the cycle goes."""
    written = graph(
        [
            node("outer", "StepBlock"),
            node("inner", "StepBlock"),
            node("rows", "CollectBlock"),
            node("all", "CollectBlock"),
        ],
        [
            link("outer.item", "inner.items"),
            link("inner.item", "rows.item"),
            link("rows.items", "all.item"),
            link("all.items", "outer.items"),
        ],
    )
    assert errors(written) == {}
    written.nodes[3].inputs_json = b'{"of": "inner"}'
    assert errors(written) == {}
    written.links[3].sink_node_id, written.links[3].sink_pin = "rows", "item"
    assert list(errors(written)) == ["nodes[2]", "nodes[3]"]


def test_of_two_collects_in_a_row_the_second_gathers_nothing_of_the_one_fan_out() -> None:
    written = graph(
        [node("rows", "CollectBlock"), node("round", "StepBlock"), node("all", "CollectBlock")],
        [link("round.item", "rows.item"), link("rows.items", "all.item"), link("all.items", "round.items")],
    )
    found = errors(written)
    assert list(found) == ["nodes[2]"]
    assert "it gathers the whole execution" in found["nodes[2]"]


def test_a_crawler_beside_its_collect_is_no_cycle_of_the_collect() -> None:
    written = graph(
        [node("begin", "TextBlock", text="a"), node("fetch", "StepBlock"), node("all", "CollectBlock")],
        [link("begin.text", "fetch.items"), link("fetch.item", "fetch.items"), link("fetch.key", "all.item")],
    )
    assert errors(written) == {}


@pytest.mark.parametrize("pin", ["item_$_0", "item_#_name", "item_@_field"])
def test_parts_of_items_are_not_gathered(pin: str) -> None:
    found = errors(graph([STEP, node("all", "CollectBlock", item=[])], [link("step.item", f"all.{pin}")]))
    assert found == {
        "links[0].sink_pin": f"a Collect gathers whole items: link to 'item', not to its part '{pin}'",
    }


def test_a_cycle_of_outputs_alone_is_refused() -> None:
    found = errors(
        graph(
            [node("a", "OutputBlock", name="a"), node("b", "OutputBlock", name="b"), node("c", "TextBlock", text="c")],
            [link("c.text", "a.value"), link("a.output", "b.value"), link("b.output", "a.value")],
        )
    )
    assert found == {
        "nodes[0]": "lies on a cycle of outputs alone, 'a' -> 'b' -> 'a': a value would go round it without end"
    }


def test_each_cycle_of_outputs_is_told_once() -> None:
    names = [f"o{at}" for at in range(20)]
    ring = [link(f"{one}.output", f"{other}.value") for one, other in zip(names, [*names[1:], names[0]], strict=True)]
    alone = node("alone", "OutputBlock", name="alone")
    found = errors(
        graph(
            [*(node(name, "OutputBlock", name=name) for name in names), alone],
            [*ring, link("alone.name", "alone.value")],
        )
    )
    assert found == {
        "nodes[0]": "lies on a cycle of outputs alone, 'o0' -> 'o1' -> 'o2' -> 'o3' -> ... -> 'o19' -> 'o0': "
        "a value would go round it without end",
        "nodes[20]": "lies on a cycle of outputs alone, 'alone' -> 'alone': a value would go round it without end",
    }


def test_outputs_in_a_loop_with_something_that_can_end_it_are_allowed() -> None:
    written = graph(
        [node("a", "TextBlock", text="a"), node("s", "SwitchBlock"), node("out", "OutputBlock", name="out")],
        [link("a.text", "s.value"), link("s.no", "out.value"), link("out.output", "s.value")],
    )
    assert errors(written) == {}


PINS = {"StepBlock": ("items", "item"), "PairBlock": ("a", "pair"), "CollectBlock": ("item", "items")}


@st.composite
def written_graphs(draw: st.DrawFn) -> Graph:
    """Fan-outs, joins and Collects, linked from the earlier ones to the later ones."""
    kinds = draw(st.lists(st.sampled_from(sorted(PINS)), min_size=2, max_size=10))
    ends = [(a, b) for b in range(1, len(kinds)) for a in draw(st.sets(st.integers(0, b - 1), min_size=1, max_size=2))]
    links = [link(f"n{a}.{PINS[kinds[a]][1]}", f"n{b}.{PINS[kinds[b]][0]}") for a, b in ends]
    nodes: list[Node] = []
    for at, kind in enumerate(kinds):
        above = [f"n{other}" for other in range(at) if kinds[other] == "StepBlock"]
        of = draw(st.sampled_from(["", *above])) if kind == "CollectBlock" and draw(st.booleans()) else ""
        nodes.append(node(f"n{at}", block_id(kind), of=of) if of else node(f"n{at}", block_id(kind)))
    return graph(nodes, draw(st.permutations(links)))


@given(written_graphs())
def test_the_fan_out_of_a_collect_is_the_one_that_an_execution_gathers(written: Graph) -> None:
    document, malformed = read_document(written, deepest=25)
    layout, unresolved = lay_out(document, catalogue())
    assert not malformed
    assert not unresolved

    plan = compile_plan(written, {block.id: block for block in BLOCKS}, Limits(1, 1, 1))

    compiled = {at: one.of for at, one in enumerate(plan.nodes) if one.kind is NodeKind.COLLECT}
    assert {at: of.index if of else -1 for at, of in gathered_fan_outs(layout).items()} == compiled
