"""Traces across processes."""

from collections.abc import Iterator

import pytest
import structlog

from services.common import telemetry

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def tracing() -> Iterator[None]:
    from opentelemetry.sdk.trace import TracerProvider

    telemetry.use_tracer(TracerProvider().get_tracer("test"))
    yield
    telemetry.use_tracer(None)


def test_without_an_endpoint_nothing_travels() -> None:
    with telemetry.extract(TRACEPARENT), telemetry.span("work"):
        assert telemetry.inject() == ""


@pytest.mark.usefixtures("tracing")
def test_a_span_continues_the_trace_of_the_caller() -> None:
    with telemetry.extract(TRACEPARENT), telemetry.span("work", node="n1"):
        assert telemetry.inject().split("-")[1] == TRACEPARENT.split("-")[1]
        assert telemetry.inject() != TRACEPARENT
        assert structlog.contextvars.get_contextvars()["trace_id"] == TRACEPARENT.split("-")[1]
    assert telemetry.inject() == ""


@pytest.mark.usefixtures("tracing")
@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-xyz-1-01"])
def test_a_trace_that_cannot_be_read_is_begun_anew(traceparent: str) -> None:
    with telemetry.extract(traceparent), telemetry.span("work"):
        assert telemetry.inject() != ""
