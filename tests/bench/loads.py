"""The graphs that are measured. Only their no-ops count as nodes; inputs, outputs and collecting come on top."""

from dataclasses import dataclass

from blockyard.graphs import Graph
from blockyard.records import Json, Results


@dataclass(frozen=True, slots=True)
class Load:
    """A graph, what it is started with, and what it must come to."""

    graph: Graph
    nodes: int
    inputs: dict[str, Json]
    results: Results


def chain(length: int) -> Load:
    """So many no-ops in a row."""
    graph = Graph(f"chain of {length}")
    value = graph.input("value")
    for _ in range(length):
        value = graph.add("NoOperationBlock", value=value)["value"]
    graph.output("value", value)
    return Load(graph, length, {"value": 1}, {"value": [1]})


def paid_chain(length: int) -> Load:
    """So many blocks in a row that do nothing, for a credit each."""
    graph = Graph(f"paid chain of {length}")
    value = graph.input("value")
    for _ in range(length):
        value = graph.add("BenchPaidBlock", value=value)["value"]
    graph.output("value", value)
    return Load(graph, length, {"value": 1}, {"value": [1]})


def fan_out(count: int) -> Load:
    """A no-op for each of so many items, and all collected."""
    graph = Graph(f"fan-out of {count}")
    items = graph.add("RangeBlock", count=count)
    passed = graph.add("NoOperationBlock", value=items["item"])
    graph.output("count", graph.add("CollectBlock", item=passed["value"])["count"])
    return Load(graph, count, {}, {"count": [count]})
