"""Traces: the edge's spans go to the collector, and services are told which one theirs belong to."""

from pathlib import Path

from blockyard.graph.v1.graph_service_pb2 import GetGraphResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.gateway.conftest import fronted
from tests.integration.gateway.upstream import answering
from tests.stack.collector import Collector, collector
from tests.waiting import until

GET = "graph.v1.GraphService/GetGraph"


def traces(kept: Collector) -> set[str]:
    """The ids of the traces that spans of the edge belong to."""
    requests = [ExportTraceServiceRequest.FromString(content) for content in kept.received]
    return {
        span.trace_id.hex()
        for request in requests
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


async def test_a_trace_of_the_caller_goes_on_at_the_edge_and_in_the_service(tmp_path: Path) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with (
        collector() as kept,
        fronted(tmp_path, {"BLOCKYARD_EDGE_COLLECTOR_ENDPOINTS": kept.address}) as front,
    ):
        front.answer(GET, answering(GetGraphResponse()))
        await front.client.get("/api/graphs/g", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
        await front.client.get("/api/graphs/g")
        parents = [call.metadata["traceparent"].split("-") for call in front.graph.calls]
        await until(lambda: {parent[1] for parent in parents} <= traces(kept), "the spans are exported")
    assert parents[0][1] == trace
    assert parents[0][2] != "b7ad6b7169203331"
    assert parents[1][1] != trace
