"""How a graph is stored: in two serialised parts, so that lists read the small one alone.

Messages that are serialised one behind the other are one merged message; that is how the parts come together again.
"""

from datetime import datetime

from blockyard.graph.v1.graph_pb2 import Graph
from google.protobuf.timestamp_pb2 import Timestamp

from services.graph.credentials import uses_of
from services.graph.documents import copy_fields
from services.graph.records import GraphContent, GraphRow

_HEAD = ("name", "description", "limits", "input_schema", "output_schema")
_BODY = ("nodes", "links")


def content_of(graph: Graph) -> GraphContent:
    """What a version keeps of a graph."""
    head, body = Graph(), Graph()
    copy_fields(graph, head, _HEAD)
    copy_fields(graph, body, _BODY)
    credential_ids = {use.credential_id for use in uses_of(graph)}
    return GraphContent(graph.name, head.SerializeToString(), body.SerializeToString(), sorted(credential_ids))


def graph_of(row: GraphRow) -> Graph:
    """The message, as far as the row was read. Constants are in `inputs_json` alone."""
    graph = Graph.FromString(row.head + row.body)
    graph.id = str(row.graph_id)
    graph.version = row.version
    graph.active_version = row.active_version
    graph.latest_version = row.latest_version
    graph.user_id = row.user_id
    graph.forked_from_id = str(row.forked_from_id or "")
    graph.forked_from_version = row.forked_from_version or 0
    graph.create_time.CopyFrom(_time(row.create_time))
    graph.update_time.CopyFrom(_time(row.version_time))
    return graph


def _time(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
