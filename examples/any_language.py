"""Blockyard without its package: what any language with gRPC can do, shown in Python with gRPC alone.

No stubs are generated and nothing of Blockyard is imported. The services describe themselves (server reflection), and
every message is built from what they say; JSON goes in and out. Start `./task dev` in another terminal, then:

    .venv/bin/python examples/any_language.py
"""

import json
import os
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

GRAPH = {
    "name": "shout",
    "nodes": [
        {"id": "text", "block_id": "AgentInputBlock", "inputs": {"name": "text"}},
        {"id": "upper", "block_id": "TextProcessingBlock", "inputs": {"operation": "upper"}},
        {"id": "result", "block_id": "AgentOutputBlock", "inputs": {"name": "result"}},
    ],
    "links": [
        {"source_node_id": "text", "source_pin": "result", "sink_node_id": "upper", "sink_pin": "text"},
        {"source_node_id": "upper", "source_pin": "processed_text", "sink_node_id": "result", "sink_pin": "value"},
    ],
}


class Server:
    """One server, known by its address alone."""

    def __init__(self, address: str, token: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.metadata = (("authorization", f"Bearer {token}"),)
        self.reflection = ProtoReflectionDescriptorDatabase(self.channel)
        # A pool of its own, which asks the server for every description it lacks.
        self.pool = descriptor_pool.DescriptorPool(self.reflection)

    def method(self, service: str, name: str) -> MethodDescriptor:
        """What the server says of a method."""
        return self.pool.FindServiceByName(service).methods_by_name[name]

    def call(self, method: str, **request: Any) -> Any:  # JSON, as the answer's message describes it
        """Calls `package.Service/Method`: a JSON object in, a JSON object out; of a stream a list of them."""
        service, _, name = method.partition("/")
        described = self.method(service, name)
        message = json_format.ParseDict(request, message_factory.GetMessageClass(described.input_type)())
        answer_class = message_factory.GetMessageClass(described.output_type)
        codec = (f"/{method}", type(message).SerializeToString, answer_class.FromString)
        if described.server_streaming:
            answers = self.channel.unary_stream(*codec)(message, metadata=self.metadata, timeout=30)
            return [_as_json(answer) for answer in answers]
        return _as_json(self.channel.unary_unary(*codec)(message, metadata=self.metadata, timeout=30))


def describe(method: MethodDescriptor) -> str:
    """A method with the fields of its request."""
    stream = "stream of " if method.server_streaming else ""
    fields = ", ".join(field.name for field in method.input_type.fields)
    return f"{method.full_name}({fields}) -> {stream}{method.output_type.full_name}"


def main() -> None:
    """Lists, describes, creates a graph, starts it, follows it, and reads its results."""
    home = Path(os.environ.get("BLOCKYARD_HOME") or Path.home() / ".blockyard")
    state = json.loads((home / "dev" / "state.json").read_text())
    token = Path(state["token_path"]).read_text().strip()
    graphs = Server(state["addresses"]["graph"], token)
    executions = Server(state["addresses"]["execution"], token)

    for server in (graphs, executions):
        print("services:", ", ".join(sorted(server.reflection.get_services())))
    service = "blockyard.execution.v1.ExecutionService"
    print(describe(executions.method(service, "StartExecution")))

    graph = graphs.call("blockyard.graph.v1.GraphService/CreateGraph", graph=GRAPH)["graph"]
    print("graph:", graph["id"])
    started = executions.call(f"{service}/StartExecution", graph_id=graph["id"], inputs={"text": "hello"})
    execution_id = started["execution"]["id"]
    for answer in executions.call(f"{service}/WatchExecution", execution_id=execution_id):
        for event in answer["events"]:
            print("event:", event["sequence"], event["kind"])
    print("results:", executions.call(f"{service}/GetExecutionResults", execution_id=execution_id)["results"])


def _as_json(message: Any) -> Any:  # a message whose class exists only at run time
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


if __name__ == "__main__":
    main()
