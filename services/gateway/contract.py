"""What the edge must know of the contract: its public methods, and the descriptors that REST is made from.

A method is public when it has a `google.api.http` annotation. The stubs say so, so a method that is added to the
contract is served without a change here.
"""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import blockyard
from google.api import annotations_pb2, httpbody_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2

from services.gateway.http_rules import http_rules


@dataclass(frozen=True, slots=True)
class Binding:
    """One address of a method in REST: `Binding("GET", "/api/graphs/{graph_id}")`."""

    verb: str
    path: str
    body: str = ""
    """Full name of the message that the body is read as; "" if the method takes none."""


@dataclass(frozen=True, slots=True)
class PublicMethod:
    """A method that users may call through the edge."""

    service: str
    """Full name, such as `blockyard.graph.v1.GraphService`."""
    name: str
    streams: bool
    """Whether it answers with a stream."""
    bindings: tuple[Binding, ...]

    @property
    def path(self) -> str:
        """Its path in gRPC."""
        return f"/{self.service}/{self.name}"

    @property
    def domain(self) -> str:
        """The part of the contract that it belongs to, which is the service that has it: `graph`."""
        return self.service.split(".")[1]

    @property
    def only_reads(self) -> bool:
        """Whether calling it again changes nothing."""
        return all(binding.verb == "GET" for binding in self.bindings)


def public_methods() -> list[PublicMethod]:
    """All public methods, in the order of their paths."""
    found = [
        _public(method)
        for file in _files()
        for service in file.services_by_name.values()
        for method in service.methods
        if method.GetOptions().HasExtension(annotations_pb2.http)
    ]
    return sorted(found, key=lambda method: method.path)


def fields_of_bodies() -> dict[str, dict[str, str | bool]]:
    """The fields of each message that a body may hold, by both of their names.

    Of a field: True where anything goes, else the message in it.
    """
    found: dict[str, dict[str, str | bool]] = {}
    waiting = [binding.body for method in public_methods() for binding in method.bindings if binding.body]
    while waiting:
        name = waiting.pop()
        if name in found or name.startswith("google."):
            continue
        fields = _messages()[name].fields
        found[name] = {spelling: _kind(field) for field in fields for spelling in (field.name, field.json_name)}
        waiting += [kind for kind in found[name].values() if isinstance(kind, str)]
    return dict(sorted(found.items()))


def descriptor_set() -> FileDescriptorSet:
    """Public methods with everything that they, and the details of errors, are made of."""
    details = (error_details_pb2.DESCRIPTOR, status_pb2.DESCRIPTOR, httpbody_pb2.DESCRIPTOR)
    made = FileDescriptorSet()
    for file in _with_dependencies([*_files(), *details]):
        file.CopyToProto(made.file.add())
    return made


def _files() -> list[FileDescriptor]:
    """The files of the contract that declare services: those whose stubs have a second half for gRPC."""
    stubs = sorted(stub for folder in blockyard.__path__ for stub in Path(folder).glob("*/v1/*_pb2_grpc.py"))
    modules = (f"blockyard.{stub.parts[-3]}.v1.{stub.stem.removesuffix('_grpc')}" for stub in stubs)
    return [importlib.import_module(module).DESCRIPTOR for module in modules]


@cache
def _messages() -> dict[str, Descriptor]:
    """The messages of the contract by their full names, those declared in others too."""
    waiting = [message for file in _with_dependencies(_files()) for message in file.message_types_by_name.values()]
    found: dict[str, Descriptor] = {}
    while waiting:
        message = waiting.pop()
        found[message.full_name] = message
        waiting += message.nested_types
    return found


def _kind(field: FieldDescriptor) -> str | bool:
    message = field.message_type
    if message is None:
        return True
    if message.GetOptions().map_entry:
        assert _kind(message.fields_by_name["value"]) is True, f"{field.full_name}: edge.lua knows no maps of messages"
        return True
    return True if message.full_name.startswith("google.") else message.full_name


def _with_dependencies(files: Iterable[FileDescriptor]) -> list[FileDescriptor]:
    """Each file after those that it imports, as readers of descriptor sets want them."""
    ordered: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        if file.name in ordered:
            return
        for dependency in file.dependencies:
            add(dependency)
        ordered[file.name] = file

    for file in files:
        add(file)
    return list(ordered.values())


def _public(method: MethodDescriptor) -> PublicMethod:
    bindings = tuple(_binding(method, *rule) for rule in http_rules(method.full_name, method.GetOptions()))
    return PublicMethod(method.containing_service.full_name, method.name, method.server_streaming, bindings)


def _binding(method: MethodDescriptor, verb: str, path: str, body: str) -> Binding:
    request = method.input_type
    message = request if body in ("", "*") else request.fields_by_name[body].message_type
    assert message is not None, f"{method.full_name}: its body must be a message"
    return Binding(verb.upper(), path, message.full_name if body else "")
