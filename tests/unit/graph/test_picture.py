"""Pictures of graphs."""

from blockyard.graph.v1.graph_pb2 import Graph

from services.graph.documents import read_document
from services.graph.layout import lay_out
from services.graph.picture import mermaid
from tests.unit.graph.building import catalogue, graph, link, node


def picture(written: Graph) -> list[str]:
    document, _ = read_document(written, 25)
    layout, _ = lay_out(document, catalogue())
    return [line.strip() for line in mermaid(layout).splitlines()]


def test_nodes_have_the_shape_of_their_blocks_and_static_links_are_dotted() -> None:
    lines = picture(
        graph(
            [
                node("in", "InputBlock", name="i"),
                node("step", "StepBlock"),
                node("all", "CollectBlock"),
                node("out", "OutputBlock", name="o"),
            ],
            [link("in.result", "step.items"), link("step.item", "all.item"), link("all.items", "out.value")],
        )
    )
    assert lines == [
        "flowchart LR",
        'n0(["Input<br/>in"])',
        'n1["Step<br/>step"]',
        'n2[\\"Collect<br/>all"/]',
        'n3((("Output<br/>out")))',
        'n0 -. "result → items" .-> n1',
        'n1 -- "item → item" --> n2',
        'n2 -- "items → value" --> n3',
    ]


def test_texts_cannot_break_out_of_their_label() -> None:
    written = graph([node("n", "TextBlock")], [link('n.a"]; click n0 "x', "n.values_#_<b>")])
    written.nodes[0].metadata.customized_name = 'x"]\n  <script>`${"'
    lines = picture(written)
    assert lines[1] == 'n0["x#34;#93; #60;script#62;#96;$#123;#34;<br/>n"]'
    assert lines[2] == 'n0 -- "a#34;#93;#59; click n0 #34;x → values_#35;_#60;b#62;" --> n0'


def test_a_graph_whose_block_is_gone_can_be_drawn() -> None:
    assert picture(graph([node("n", "GoneBlock")]))[1] == 'n0["GoneBlock<br/>n"]'
