"""Graphs as a program builds them, and as files hold them.

graph = Graph("shout")
text = graph.input("text")
upper = graph.add("TextProcessingBlock", text=text, operation="upper")
graph.output("result", upper["processed_text"])
"""

from blockyard.graphs.builder import Graph, Node, Pin
from blockyard.graphs.files import graph_from_mapping, graph_to_mapping, load_graph, save_graph

__all__ = ["Graph", "Node", "Pin", "graph_from_mapping", "graph_to_mapping", "load_graph", "save_graph"]
