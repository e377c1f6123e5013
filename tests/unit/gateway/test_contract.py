"""What the edge takes from the contract: public methods alone, with all that REST must know of them."""

from services.common.permissions import INTERNAL, PERMISSIONS
from services.gateway import contract

METHODS = {method.path: method for method in contract.public_methods()}
FIELDS = contract.fields_of_bodies()


def test_what_only_parts_of_blockyard_call_is_not_public() -> None:
    internal = {method for method, permission in PERMISSIONS.items() if permission in INTERNAL}
    assert internal
    assert not internal & METHODS.keys()


def test_a_method_is_known_with_its_paths_bodies_and_kind() -> None:
    update = METHODS["/blockyard.graph.v1.GraphService/UpdateGraph"]
    watch = METHODS["/blockyard.execution.v1.ExecutionService/WatchExecution"]
    stop = METHODS["/blockyard.execution.v1.ExecutionService/StopExecution"]
    assert update.bindings == (contract.Binding("PATCH", "/api/graphs/{graph.id}", "blockyard.graph.v1.Graph"),)
    assert (update.domain, update.streams, update.only_reads) == ("graph", False, False)
    assert (watch.streams, watch.only_reads, watch.bindings[0].body) == (True, True, "")
    assert [binding.path for binding in stop.bindings] == [
        "/api/graphs/{graph_id}/executions/{execution_id}/stop",
        "/api/executions/{execution_id}:stop",
    ]


def test_descriptors_hold_the_details_of_errors_and_each_file_after_what_it_imports() -> None:
    files = contract.descriptor_set().file
    names = [file.name for file in files]
    assert {"google/rpc/error_details.proto", "google/rpc/status.proto", "google/api/httpbody.proto"} <= set(names)
    assert all(names.index(needed) < names.index(file.name) for file in files for needed in file.dependency)


def test_no_message_of_a_body_holds_itself() -> None:
    """The edge looks through a body by functions that call each other as deep as messages hold messages."""
    left = {name: {kind for kind in fields.values() if kind is not True} for name, fields in FIELDS.items()}
    while leaves := [name for name, held in left.items() if not held & left.keys()]:
        for name in leaves:
            del left[name]
    assert left == {}


def test_fields_of_bodies_go_by_both_names_and_lead_to_the_messages_in_them() -> None:
    graph, start = FIELDS["blockyard.graph.v1.Graph"], FIELDS["blockyard.execution.v1.StartExecutionRequest"]
    assert graph["nodes"] == "blockyard.graph.v1.Node"
    assert FIELDS["blockyard.graph.v1.Node"]["blockId"] is FIELDS["blockyard.graph.v1.Node"]["block_id"] is True
    assert start["inputs"] is start["labels"] is True  # google.protobuf.Struct, and a map of texts
