"""A graph as a Mermaid flowchart: a shape for each kind of block, pins on the arrows, dotted where values stay."""

from blockyard.graph.v1.block_pb2 import BlockType

from services.graph.layout import Layout, PlacedLink, PlacedNode

_SHAPES: dict[int, tuple[str, str]] = {
    BlockType.BLOCK_TYPE_INPUT: ("([", "])"),
    BlockType.BLOCK_TYPE_OUTPUT: ("(((", ")))"),
    BlockType.BLOCK_TYPE_NOTE: (">", "]"),
    BlockType.BLOCK_TYPE_WEBHOOK: ("((", "))"),
    BlockType.BLOCK_TYPE_WEBHOOK_MANUAL: ("((", "))"),
    BlockType.BLOCK_TYPE_AGENT: ("[[", "]]"),
    BlockType.BLOCK_TYPE_AI: ("{{", "}}"),
    BlockType.BLOCK_TYPE_HUMAN_IN_THE_LOOP: ("[/", "/]"),
    BlockType.BLOCK_TYPE_COLLECT: ("[\\", "/]"),
}
_RECTANGLE = ("[", "]")
_LONGEST_LABEL = 80
# Signs that end a label, begin markup in it, or stand for an entity themselves.
_ENTITIES = {ord(sign): f"#{ord(sign)};" for sign in '"#&<>`\\{}[]()|;'}


def mermaid(layout: Layout) -> str:
    """The picture's text."""
    lines = ["flowchart LR"]
    lines += [f"    {_node(node)}" for node in layout.nodes]
    lines += [f"    {_link(link)}" for link in layout.links]
    return "\n".join(lines) + "\n"


def _node(node: PlacedNode) -> str:
    opening, closing = _SHAPES.get(node.block.type, _RECTANGLE) if node.block else _RECTANGLE
    return f'n{node.index}{opening}"{_label(node)}"{closing}'


def _label(node: PlacedNode) -> str:
    block = node.block.name.removesuffix("Block") if node.block else node.message.block_id
    name = node.message.metadata.customized_name or block
    # <br/> is Mermaid's own, and the one piece of markup that no text of a user's can contain.
    return _escaped(name) if name == node.id else f"{_escaped(name)}<br/>{_escaped(node.id)}"


def _link(link: PlacedLink) -> str:
    pins = f"{_escaped(link.message.source_pin)} → {_escaped(link.message.sink_pin)}"
    arrow = f'-. "{pins}" .->' if link.static else f'-- "{pins}" -->'
    return f"n{link.source.index} {arrow} n{link.sink.index}"


def _escaped(text: str) -> str:
    """Plain text on one line, whatever it holds."""
    line = " ".join(text.split())
    if len(line) > _LONGEST_LABEL:
        line = f"{line[: _LONGEST_LABEL - 1]}…"
    return "".join(sign if sign.isprintable() else " " for sign in line).translate(_ENTITIES)
