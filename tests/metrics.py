"""The metrics that the services and runners export, by what Prometheus knows of them."""

import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import REGISTRY

from services.runner.metrics import COUNTERS, GAUGES, LISTED, RunMetrics

SERVICES = Path(__file__).parents[1] / "services"


@dataclass(frozen=True)
class Exported:
    """A metric; its name has the ending that a counter's samples have."""

    name: str
    kind: str
    labels: tuple[str, ...]

    def samples(self) -> list[str]:
        """The names that expressions know it by."""
        if self.kind != "histogram":
            return [self.name]
        return [self.name + ending for ending in ("_bucket", "_sum", "_count")]


OF_THE_EDGE = (
    Exported("envoy_http_downstream_rq_xx", "counter", ("envoy_http_conn_manager_prefix", "envoy_response_code_class")),
    Exported("envoy_http_downstream_rq_time", "histogram", ("envoy_http_conn_manager_prefix",)),
    Exported("envoy_http_downstream_cx_active", "gauge", ("envoy_http_conn_manager_prefix",)),
    Exported("envoy_http_downstream_rq_active", "gauge", ("envoy_http_conn_manager_prefix",)),
    Exported("envoy_http_local_rate_limit_rate_limited", "counter", ("envoy_local_http_ratelimit_prefix",)),
    Exported("envoy_cluster_membership_healthy", "gauge", ("envoy_cluster_name",)),
    Exported("envoy_cluster_membership_total", "gauge", ("envoy_cluster_name",)),
    Exported("envoy_server_memory_allocated", "gauge", ()),
)
"""What dashboards ask of Envoy, which calls counters as it likes: tests/integration/gateway looks for them at one."""


@cache
def exported() -> dict[str, Exported]:
    """All of ours, by name."""
    for source in SERVICES.rglob("*.py"):
        if "prometheus_client" in source.read_text():
            importlib.import_module(".".join(source.relative_to(SERVICES.parent).with_suffix("").parts))
    found = [_made(one) for one in set(REGISTRY._names_to_collectors.values()) if isinstance(one, MetricWrapperBase)]
    ours = [one for one in [*found, *_of_runners()] if one.name.startswith("blockyard_")]
    return {one.name: one for one in ours}


def _made(metric: MetricWrapperBase) -> Exported:
    # Nothing public says which labels a metric has before it has values.
    name = metric._name + ("_total" if metric._type == "counter" else "")
    return Exported(name, str(metric._type), tuple(metric._labelnames))


def _of_runners() -> list[Exported]:
    metrics, registry = RunMetrics(), CollectorRegistry()
    metrics.numbers.update(dict.fromkeys([*GAUGES, *COUNTERS], lambda: 0.0))
    metrics.lists.update(dict.fromkeys(LISTED, lambda: ["one"]))
    metrics.register(registry)
    made = []
    for family in registry.collect():
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        made.append(Exported(family.name + ("_total" if family.type == "counter" else ""), family.type, tuple(labels)))
    return made


def value(name: str, **labels: str) -> float:
    """What a metric of this process is now; 0 where it has no value yet."""
    return prometheus_client.REGISTRY.get_sample_value(name, labels) or 0.0
