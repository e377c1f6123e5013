"""Warnings: what is allowed but may surprise."""

from blockyard.graph.v1.graph_pb2 import Link

from tests.unit.graph.building import graph, link, node, warnings

OUT = node("out", "OutputBlock", name="out")


def test_two_independent_sources_race() -> None:
    found = warnings(
        graph(
            [node("a", "TextBlock", text="a"), node("b", "TextBlock", text="b"), OUT],
            [link("a.text", "out.value"), link("b.text", "out.value")],
        )
    )
    assert list(found) == ["links[1].sink_pin"]
    assert "races with links[0] into the pin 'value' of node 'out'" in found["links[1].sink_pin"]


def test_two_ways_from_one_pin_race() -> None:
    found = warnings(
        graph(
            [node("a", "TextBlock", text="a"), node("b", "TextBlock"), node("c", "TextBlock"), OUT],
            [
                link("a.text", "b.text"),
                link("a.text", "c.text"),
                link("b.text", "out.value"),
                link("c.text", "out.value"),
            ],
        )
    )
    assert list(found) == ["links[3].sink_pin"]


def test_branches_of_one_node_may_exclude_each_other() -> None:
    found = warnings(
        graph(
            [node("s", "SwitchBlock", value=1), node("b", "TextBlock"), OUT],
            [link("s.yes", "b.text"), link("b.text", "out.value"), link("s.no", "out.value")],
        )
    )
    assert found == {}


def test_a_result_and_its_error_may_exclude_each_other() -> None:
    found = warnings(
        graph(
            [node("a", "TextBlock", text="a"), OUT],
            [link("a.text", "out.value"), link("a.error", "out.value")],
        )
    )
    assert found == {}


def test_a_loop_is_no_race() -> None:
    found = warnings(
        graph(
            [node("start", "TextBlock", text="a"), node("loop", "SwitchBlock"), OUT],
            [link("start.text", "loop.value"), link("loop.no", "loop.value"), link("loop.yes", "out.value")],
        )
    )
    assert found == {}


def test_a_collect_orders_what_arrives() -> None:
    found = warnings(
        graph(
            [node("a", "StepBlock", items=[1]), node("b", "StepBlock", items=[2]), node("c", "CollectBlock"), OUT],
            [link("a.item", "c.item"), link("b.item", "c.item"), link("c.items", "out.value")],
        )
    )
    assert found == {}


def test_what_waits_for_itself_never_runs() -> None:
    found = warnings(
        graph(
            [node("a", "TextBlock"), node("b", "TextBlock"), node("c", "PairBlock", a=1), OUT],
            [
                link("a.text", "b.text"),
                link("b.text", "a.text"),
                link("b.text", "c.b"),
                link("c.pair", "out.value"),
            ],
        )
    )
    assert list(found) == ["nodes[0]", "nodes[1]", "nodes[2]", "nodes[3]"]
    assert found["nodes[0]"].startswith("never runs: its pin 'text' waits for 'b'")


def test_executions_without_results_are_warned_of() -> None:
    found = warnings(graph([node("a", "TextBlock", text="a")]))
    assert found == {"nodes": "no node is an output, so executions will have no results"}


def test_a_constant_of_a_linked_pin_is_never_used() -> None:
    found = warnings(
        graph(
            [node("a", "TextBlock", text="a"), node("b", "TextBlock", text="b"), OUT],
            [link("a.text", "b.text"), link("b.text", "out.value")],
        )
    )
    assert found == {"nodes[1].inputs.text": "is never used, since values come to this pin over a link"}


def inner_and_outer(*links: Link, **constants: str) -> dict[str, str]:
    """Warnings of two nodes that fan out, one behind the other, a text and a Collect, linked like this."""
    nodes = [
        node("outer", "StepBlock", items=[[1], [2]]),
        node("inner", "StepBlock"),
        node("text", "TextBlock"),
        node("all", "CollectBlock", **constants),
        OUT,
    ]
    return warnings(graph(nodes, [link("outer.item", "inner.items"), *links, link("all.items", "out.value")]))


def test_a_collect_behind_a_fan_out_of_which_nothing_is_linked_gathers_nothing() -> None:
    found = inner_and_outer(link("inner.error", "text.text"), link("text.text", "all.item"))
    assert list(found) == ["nodes[3].inputs.of"]
    assert found["nodes[3].inputs.of"].startswith("gathers nothing of the fan-out of 'inner'")
    assert "'item', 'key'" in found["nodes[3].inputs.of"]


def test_a_collect_that_names_a_fan_out_of_which_nothing_comes_is_warned_of_too() -> None:
    found = inner_and_outer(link("inner.error", "text.text"), link("text.text", "all.item"), of="inner")
    assert list(found) == ["nodes[3].inputs.of"]


def test_a_collect_that_names_the_fan_out_that_does_lead_to_it_is_in_order() -> None:
    assert inner_and_outer(link("inner.error", "text.text"), link("text.text", "all.item"), of="outer") == {}


def test_a_collect_of_items_or_of_parts_of_them_is_in_order() -> None:
    assert inner_and_outer(link("inner.item_$_0", "text.text"), link("text.text", "all.item")) == {}


def test_what_a_collect_has_gathered_stems_from_the_fan_outs_around_it() -> None:
    nodes = [
        node("outer", "StepBlock", items=[[1], [2]]),
        node("inner", "StepBlock"),
        node("rows", "CollectBlock"),
        node("all", "CollectBlock", of="outer"),
        node("again", "CollectBlock", of="inner"),
        OUT,
    ]
    links = [
        link("outer.item", "inner.items"),
        link("inner.item", "rows.item"),
        link("rows.items", "all.item"),
        link("rows.items", "again.item"),
        link("all.items", "out.value"),
    ]
    found = warnings(graph(nodes, links))
    assert list(found) == ["nodes[4].inputs.of"]


def test_a_crawler_gathers_what_it_finds() -> None:
    nodes = [node("begin", "TextBlock", text="a"), node("crawl", "StepBlock"), node("all", "CollectBlock"), OUT]
    links = [
        link("begin.text", "crawl.items"),
        link("crawl.item", "crawl.items"),
        link("crawl.item", "all.item"),
        link("all.items", "out.value"),
    ]
    assert warnings(graph(nodes, links)) == {}


def test_thousands_of_links_into_one_pin_are_judged_in_no_time() -> None:
    count = 900
    nodes = [node(f"n{number}", "TextBlock", text="a") for number in range(count)]
    links = [link(f"n{number}.text", "out.value") for number in range(count)]
    assert 0 < len(warnings(graph([*nodes, OUT], links))) < 30
