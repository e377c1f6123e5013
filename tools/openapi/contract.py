"""The contract as REST serves it: the methods that have an address (google.api.http), and all comments."""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool

from services.gateway.http_rules import VARIABLE, http_rules
from tools.stubs import DEPENDENCIES, PROTO, ROOT, bring_dependencies

__all__ = ["ROOT", "Binding", "Contract", "Method", "Service", "read_contract"]


@dataclass(frozen=True, slots=True)
class Binding:
    """An address of a method."""

    verb: str
    path: str
    """As the proto writes it: "/api/graphs/{graph_id}"."""
    body: str
    """The field that the body is; "*" where the body is the whole request, "" where there is none."""

    @property
    def variables(self) -> tuple[str, ...]:
        """The fields that stand in the path: "graph_id", "graph.id"."""
        return tuple(VARIABLE.findall(self.path))


@dataclass(frozen=True, slots=True)
class Method:
    """A method that has an address."""

    name: str
    full_name: str
    """As permissions name it: "/blockyard.graph.v1.GraphService/GetGraph"."""
    comment: str
    request: Descriptor
    answer: Descriptor
    streams: bool
    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """A service with such methods."""

    name: str
    comment: str
    methods: tuple[Method, ...]


@dataclass(frozen=True, slots=True)
class Contract:
    """All of it."""

    services: tuple[Service, ...]
    comments: Mapping[str, str]
    """By full name of messages, fields, enums and their values (which are named below their enum)."""
    pool: DescriptorPool


def read_contract() -> Contract:
    """What stands in proto/ now, whatever the stubs in sdk/ are made of."""
    bring_dependencies()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "descriptors"
        _compile(target)
        return contract_of(FileDescriptorSet.FromString(target.read_bytes()))


def contract_of(files: FileDescriptorSet) -> Contract:
    """The contract that descriptors hold. They must come with their imports, and with source info for the comments."""
    pool, comments = DescriptorPool(), dict[str, str]()
    for file in files.file:
        comments.update(_comments(file))
        pool.Add(file)
    services = [
        _service(file.package, service, comments, pool)
        for file in sorted(files.file, key=lambda one: one.name)
        for service in file.service
    ]
    return Contract(tuple(service for service in services if service.methods), comments, pool)


def _compile(target: Path) -> None:
    sources = sorted(str(source) for source in PROTO.rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"-I{DEPENDENCIES}"]
    outputs = ["--include_imports", "--include_source_info", f"--descriptor_set_out={target}"]
    subprocess.run([*command, *outputs, *sources], check=True)


def _service(
    package: str, service: ServiceDescriptorProto, comments: Mapping[str, str], pool: DescriptorPool
) -> Service:
    full_name = f"{package}.{service.name}"
    methods = (_method(full_name, method, comments, pool) for method in service.method)
    return Service(service.name, comments.get(full_name, ""), tuple(one for one in methods if one.bindings))


def _method(service: str, method: MethodDescriptorProto, comments: Mapping[str, str], pool: DescriptorPool) -> Method:
    return Method(
        method.name,
        f"/{service}/{method.name}",
        comments.get(f"{service}.{method.name}", ""),
        pool.FindMessageTypeByName(method.input_type.removeprefix(".")),
        pool.FindMessageTypeByName(method.output_type.removeprefix(".")),
        method.server_streaming,
        tuple(Binding(*rule) for rule in http_rules(method.name, method.options)),
    )


def _comments(file: FileDescriptorProto) -> dict[str, str]:
    """What stands above each thing in a file, by its full name."""
    names = dict(_names(file))
    return {
        names[tuple(location.path)]: _joined(location.leading_comments)
        for location in file.source_code_info.location
        if location.leading_comments and tuple(location.path) in names
    }


def _joined(comment: str) -> str:
    """The paragraphs of a comment, each on a line of its own."""
    paragraphs = comment.strip().split("\n\n")
    return "\n\n".join(" ".join(line.strip() for line in one.splitlines()) for one in paragraphs)


Place = tuple[int, ...]
"""Where something stands in a file: numbers of fields of descriptor.proto, and positions in their lists."""


def _names(file: FileDescriptorProto) -> Iterator[tuple[Place, str]]:
    yield from _messages((4,), file.package, file.message_type)
    yield from _enums((5,), file.package, file.enum_type)
    for at, service in enumerate(file.service):
        name = f"{file.package}.{service.name}"
        yield (6, at), name
        yield from (((6, at, 2, number), f"{name}.{method.name}") for number, method in enumerate(service.method))


def _messages(place: Place, scope: str, messages: Iterable[DescriptorProto]) -> Iterator[tuple[Place, str]]:
    for at, message in enumerate(messages):
        here, name = (*place, at), f"{scope}.{message.name}"
        yield here, name
        yield from (((*here, 2, number), f"{name}.{field.name}") for number, field in enumerate(message.field))
        yield from _messages((*here, 3), name, message.nested_type)
        yield from _enums((*here, 4), name, message.enum_type)


def _enums(place: Place, scope: str, enums: Sequence[EnumDescriptorProto]) -> Iterator[tuple[Place, str]]:
    for at, enum in enumerate(enums):
        here, name = (*place, at), f"{scope}.{enum.name}"
        yield here, name
        yield from (((*here, 2, number), f"{name}.{value.name}") for number, value in enumerate(enum.value))
