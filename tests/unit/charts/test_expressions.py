"""What alerts, dashboards and autoscalers ask Prometheus for is exported, by these names and with these labels."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest

from tests.charts.rendering import CHART, render
from tests.metrics import OF_THE_EDGE, Exported, exported

DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))
DOCUMENTATION = (CHART.parents[1] / "docs" / "operating.md").read_text()
OF_TARGETS = {"namespace", "pod", "app_kubernetes_io_component"}
"""Labels that the PodMonitor has Prometheus add to all."""
OTHERS = {
    one.name: one
    for one in (
        Exported("kubelet_volume_stats_available_bytes", "gauge", ("persistentvolumeclaim",)),
        Exported("kubelet_volume_stats_capacity_bytes", "gauge", ("persistentvolumeclaim",)),
        Exported("process_resident_memory_bytes", "gauge", ()),
        Exported("process_cpu_seconds_total", "counter", ()),
        Exported("certmanager_certificate_expiration_timestamp_seconds", "gauge", ("name",)),
        *OF_THE_EDGE,
    )
}
Node = Any  # of an expression: its classes have no common attributes


def samples() -> dict[str, Exported]:
    """Each metric that there is by the names of its samples."""
    return {name: one for one in {**exported(), **OTHERS}.values() for name in one.samples()}


def alerts() -> Iterator[tuple[str, str, str]]:
    """Where it is from, the expression, and words that name labels."""
    objects = render({"monitoring": {"prometheusRule": {"enabled": True}}}, "--namespace", "here")
    (rules,) = (one for one in objects if one["kind"] == "PrometheusRule")
    for rule in rules["spec"]["groups"][0]["rules"]:
        yield rule["alert"], rule["expr"], str(rule["annotations"])


def panels(path: Path) -> list[Any]:
    found: list[Any] = json.loads(path.read_text())["panels"]
    return found


def shown() -> Iterator[tuple[str, str, str]]:
    for path in DASHBOARDS:
        for panel in panels(path):
            for target in panel.get("targets", ()):
                where = f"{path.name}: {panel['title']}"
                yield where, target["expr"].replace("$__rate_interval", "5m"), target["legendFormat"]


def scaled() -> Iterator[tuple[str, str, str]]:
    autoscaling = {"kind": "keda", "prometheusAddress": "http://prometheus"}
    for one in render({"runnerPools": [{"name": "default", "autoscaling": autoscaling}]}):
        if one["kind"] == "ScaledObject":
            (trigger,) = one["spec"]["triggers"]
            yield one["metadata"]["name"], trigger["metadata"]["query"], ""


ALL = [*alerts(), *shown(), *scaled()]


def parts(node: Node, around: tuple[Node, ...] = ()) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    """All nodes of an expression, each with those around it."""
    yield node, around
    inner = [getattr(node, name) for name in ("lhs", "rhs", "expr", "vector_selector") if hasattr(node, name)]
    for one in [*inner, *getattr(node, "args", ())]:
        yield from parts(one, (*around, node))


def selectors(expression: str) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    for node, around in parts(promql.parse(expression)):
        if isinstance(node, promql.VectorSelector):
            yield node, around


@pytest.mark.parametrize(("where", "expression", "words"), ALL, ids=[where for where, *_ in ALL])
def test_an_expression_asks_for_what_is_exported(where: str, expression: str, words: str) -> None:
    grouped: set[str] = set()
    for selector, around in selectors(expression):
        metric = samples()[selector.name]
        labels = {*metric.labels, *OF_TARGETS} | ({"le"} if selector.name.endswith("_bucket") else set())
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= labels
        assert "namespace" in matched  # another release of the cluster has the same metrics
        calls = {node.func.name for node in around if isinstance(node, promql.Call)}
        counts = metric.kind in ("counter", "histogram")
        assert counts == bool(calls & {"rate", "increase"}), (
            "counters are looked at by their growth, and nothing else is"
        )
        for node in around:
            if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
                assert set(node.modifier.labels) <= labels
                grouped |= set(node.modifier.labels)
        if "histogram_quantile" in calls:
            assert "le" in grouped
    assert set(re.findall(r"{{\s*(?:\$labels\.)?(\w+)\s*}}", words)) <= grouped


def test_what_the_documentation_calls_an_alert_is_one() -> None:
    said = {
        line.split("`")[1]
        for line in DOCUMENTATION.splitlines()
        if line.startswith("| `blockyard_") and "**alert" in line
    }
    asked = {selector.name for _, expression, _ in alerts() for selector, _ in selectors(expression)}
    assert said
    assert said <= asked


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_is_one_of_grafana(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == path.stem
    assert board["schemaVersion"] >= 39
    assert "id" not in board  # Grafana gives it
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    ids = [panel["id"] for panel in panels(path)]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels(path):
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_metric_of_ours_is_on_a_dashboard_or_has_an_alert() -> None:
    asked = {samples()[selector.name].name for _, expression, _ in ALL for selector, _ in selectors(expression)}
    assert exported().keys() - asked == {
        "blockyard_ledger_credits_charged_total",
        "blockyard_blocks_by_category",
    }


def test_dashboards_are_config_maps_that_grafana_finds() -> None:
    objects = render({"monitoring": {"dashboards": {"enabled": True}}})
    maps = [one for one in objects if one["kind"] == "ConfigMap" and "grafana_dashboard" in one["metadata"]["labels"]]
    found = {name: text for one in maps for name, text in one["data"].items()}
    assert {name: json.loads(text) for name, text in found.items()} == {
        path.name: json.loads(path.read_text()) for path in DASHBOARDS
    }
