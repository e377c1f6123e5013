"""Prometheus metrics of e-mail."""

from dataclasses import dataclass, field

from prometheus_client import Counter, Gauge


@dataclass(frozen=True, slots=True)
class Metrics:
    """All of them; made once, since Prometheus keeps them by name."""

    mails: Counter = field(
        default_factory=lambda: Counter("blockyard_mails", "Mails by what became of them", ["outcome"])
    )
    waiting: Gauge = field(default_factory=lambda: Gauge("blockyard_mails_waiting", "Mails that wait to be sent"))
    oldest_seconds: Gauge = field(
        default_factory=lambda: Gauge("blockyard_mails_oldest_seconds", "How long the oldest of them has waited")
    )


METRICS = Metrics()
