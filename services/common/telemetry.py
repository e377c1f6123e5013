"""Logs, metrics and traces: JSON lines through structlog, Prometheus over HTTP, OpenTelemetry spans when asked for.

Without BLOCKYARD_OTLP_ENDPOINT nothing of OpenTelemetry is imported, and a span costs one comparison.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import prometheus_client
import structlog

from services.common import expiry
from services.common.addresses import host_and_port
from services.common.config import ProcessSettings
from services.common.errors import StartRefused

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_tracer: "Tracer | None" = None


def start(service: str, settings: ProcessSettings) -> None:
    """Start the metrics and traces of this process, as far as they are asked for, before anything else starts."""
    if settings.metrics_port:
        try:
            prometheus_client.start_http_server(settings.metrics_port, settings.host)
        except OSError as error:
            address = host_and_port(settings.host, settings.metrics_port)
            raise StartRefused(f"Metrics cannot be served on {address}: {error.strerror}.") from None
    if settings.tls_certificate is not None:
        expiry.watch(settings.tls_certificate)
    if settings.otlp_endpoint:
        _configure_traces(service, settings.otlp_endpoint)


def configure_logs(service: str, level: str, form: str) -> None:
    """One line for each event on stdout; the standard library's logging goes the same way."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_service(service),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(form)],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # Their INFO is our DEBUG: a line for each migration step or connection attempt.
    for name in ("alembic", "asyncio", "nats", "grpc"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def _rendering(form: str) -> list[structlog.types.Processor]:
    """Stack traces are plain on purpose: the fancier ones print the values of local variables, secrets included."""
    if form == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain)]


def _add_service(service: str) -> structlog.types.Processor:
    def add_service(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event.setdefault("service", service)
        return event

    return add_service


def _configure_traces(service: str, endpoint: str) -> None:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"blockyard-{service}"}))
    insecure = not endpoint.startswith("https://")
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=insecure)))
    use_tracer(provider.get_tracer("blockyard"))


def use_tracer(tracer: "Tracer | None") -> None:
    """Make spans with this tracer from now on, or none."""
    global _tracer
    _tracer = tracer


def span(name: str, **attributes: str | int | float | bool) -> AbstractContextManager[object]:
    """A span around a piece of work, child of the one around it; nothing at all when tracing is off."""
    if _tracer is None:
        return nullcontext()
    return _tracer.start_as_current_span(name, attributes=attributes)


def inject() -> str:
    """The present span as a W3C `traceparent`, to send along; empty when there is none."""
    if _tracer is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


@contextmanager
def extract(traceparent: str) -> Iterator[None]:
    """Make the spans inside children of the caller's span, and its trace id part of the logs."""
    if _tracer is None or not traceparent:
        yield
        return
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = context.attach(TraceContextTextMapPropagator().extract({"traceparent": traceparent}))
    trace_id = traceparent.split("-")[1] if traceparent.count("-") == 3 else ""
    try:
        with structlog.contextvars.bound_contextvars(trace_id=trace_id):
            yield
    finally:
        context.detach(token)
