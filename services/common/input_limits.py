"""What a request of a user may hold, before anything looks at it: bounds on texts, JSON and numbers of values, no
control characters, and no HTML in names and descriptions.

How each kind of message is looked through is worked out once. What a service knows better (names of 1 to 100
characters) it checks itself. Values of users (inputs of nodes and graphs) may hold any character: they are no names.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from services.common import json_limits
from services.common.errors import InvalidArgument, Violation
from services.common.plain_text import cleaned

LONGEST_TEXT = 20_000
MOST_VALUES = 100_000
"""Items of lists, entries of maps and values of Structs, all together."""
MOST_VIOLATIONS = 20

LONGEST: dict[str, int] = {
    "blockyard.graph.v1.ListBlocksRequest.category": 200,
    "blockyard.account.v1.ListUsersRequest.query": 500,
    "blockyard.account.v1.ListAuditEntriesRequest.actor": 200,
    "blockyard.account.v1.ListAuditEntriesRequest.action": 500,
    "blockyard.account.v1.ListAuditEntriesRequest.resource": 500,
    "blockyard.credentials.v1.StartAuthorizationRequest.redirect_uri": 2_000,
    "blockyard.credentials.v1.StartAuthorizationRequest.scopes": 500,
    "blockyard.credentials.v1.CompleteAuthorizationRequest.state": 500,
    "blockyard.credentials.v1.CompleteAuthorizationRequest.error": 500,
    "blockyard.credentials.v1.CompleteAuthorizationRequest.issuer": 2_000,
}
"""Characters of fields that take less than LONGEST_TEXT and whose service has no bound of its own."""

PLAIN_TEXTS = frozenset(
    {
        "blockyard.graph.v1.Graph.name",
        "blockyard.graph.v1.Graph.description",
        "blockyard.graph.v1.NodeMetadata.customized_name",
        "blockyard.graph.v1.ForkGraphRequest.name",
        "blockyard.graph.v1.ImportGraphRequest.name",
        "blockyard.graph.v1.Preset.name",
        "blockyard.graph.v1.Preset.description",
        "blockyard.execution.v1.Trigger.name",
        "blockyard.credentials.v1.CreateCredentialRequest.title",
        "blockyard.credentials.v1.UpdateCredentialRequest.title",
        "blockyard.credentials.v1.StartAuthorizationRequest.title",
        "blockyard.execution.v1.Schedule.name",
        "blockyard.account.v1.UpdateUserRequest.name",
        "blockyard.account.v1.CreateUserRequest.name",
        "blockyard.account.v1.CreateApiKeyRequest.name",
        "blockyard.account.v1.TopUpCreditsRequest.note",
        "blockyard.notification.v1.Webhook.description",
    }
)
"""Names and descriptions, which are shown to people."""

_UNNAMED = frozenset(
    {
        "blockyard.graph.v1.CreateGraphRequest.graph",
        "blockyard.graph.v1.UpdateGraphRequest.graph",
        "blockyard.graph.v1.ValidateGraphRequest.graph",
        "blockyard.graph.v1.CreatePresetRequest.preset",
        "blockyard.graph.v1.UpdatePresetRequest.preset",
        "blockyard.notification.v1.CreateWebhookRequest.webhook",
        "blockyard.notification.v1.UpdateWebhookRequest.webhook",
    }
)
"""Fields that paths leave out: rules of graphs speak of nodes[2], not of graph.nodes[2]."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SMALLEST_VALUE = 4
"""Bytes of the smallest value in a Struct: what is shorter than MOST_VALUES of them need not be counted."""

# The parts of a path, the last one first: put together only when there is something to say of the place.
Path: TypeAlias = "tuple[Path, str | int, str] | None"
Look: TypeAlias = "Callable[[_Findings, Any, Path], None]"  # Any: a value of whichever field


@dataclass(slots=True)
class _Findings:
    """What was found so far, and how many more values may be looked at."""

    violations: list[Violation] = field(default_factory=list)
    left: int = MOST_VALUES

    def add(self, path: Path, description: str) -> None:
        if len(self.violations) < MOST_VIOLATIONS:
            self.violations.append(Violation(_written(path), description))

    def take(self, number: int, path: Path) -> bool:
        """True if so many more values may be looked at."""
        if self.left >= 0:
            self.left -= number
            if self.left < 0:
                self.add(path, f"holds too much: at most {MOST_VALUES:,} values are taken in a request")
        return self.left >= 0


def check(request: Message) -> None:
    """Raises InvalidArgument, which names each field, for a request that breaks a limit; cleans names in place."""
    findings = _Findings()
    for name, look in _plan(request.DESCRIPTOR):
        look(findings, request, (None, name, "."))
    if findings.violations:
        raise InvalidArgument(violations=findings.violations)


@cache
def _plan(descriptor: Descriptor) -> tuple[tuple[str, Look], ...]:
    """The fields of a kind of message that hold text, in whatever depth, and how each is looked at."""
    looks = ((one.name, _look_at(one)) for one in descriptor.fields)
    return tuple((name, look) for name, look in looks if look is not None)


def _look_at(of: FieldDescriptor) -> "Look | None":
    message = of.message_type
    if message is not None and message.GetOptions().map_entry:
        return _map(of.name, _value_look(message.fields_by_name["value"]))
    look = _value_look(of)
    if look is None:
        return None
    if of.is_repeated:
        return _repeated(of.name, look)
    if message is not None:
        return _single_message(of.name, look, named=of.full_name not in _UNNAMED)
    if of.type == FieldDescriptor.TYPE_STRING and of.full_name in PLAIN_TEXTS:
        return _plain(of.name, look)
    return _single(of.name, look)


def _value_look(of: FieldDescriptor) -> "Look | None":
    """How one value of a field is looked at; None if nothing can be wrong with it."""
    if of.type == FieldDescriptor.TYPE_STRING:
        return _text(LONGEST.get(of.full_name, LONGEST_TEXT))
    if of.type == FieldDescriptor.TYPE_BYTES:
        return _json if of.name.endswith("_json") else None
    message = of.message_type
    if message is None:
        return None
    if message.full_name in ("google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"):
        return _struct
    return _message(message) if _has_text(message, frozenset()) else None


def _has_text(descriptor: Descriptor, above: frozenset[str]) -> bool:
    """Whether messages of this kind can hold text at all; times and numbers cannot."""
    if descriptor.full_name in above:
        return False
    above |= {descriptor.full_name}
    return any(
        of.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
        or (of.message_type is not None and _has_text(of.message_type, above))
        for of in descriptor.fields
    )


def _single(name: str, look: Look) -> Look:
    def at(findings: _Findings, message: Any, path: Path) -> None:
        value = getattr(message, name)
        if value:
            look(findings, value, path)

    return at


def _plain(name: str, look: Look) -> Look:
    def at(findings: _Findings, message: Any, path: Path) -> None:
        value = getattr(message, name)
        if value:
            look(findings, value, path)
            if "<" in value and len(value) <= LONGEST_TEXT:
                setattr(message, name, cleaned(value))

    return at


def _single_message(name: str, look: Look, *, named: bool) -> Look:
    def at(findings: _Findings, message: Any, path: Path) -> None:
        if message.HasField(name):
            look(findings, getattr(message, name), path if named or path is None else path[0])

    return at


def _repeated(name: str, look: Look) -> Look:
    def at(findings: _Findings, message: Any, path: Path) -> None:
        values = getattr(message, name)
        if values and findings.take(len(values), path):
            for number, value in enumerate(values):
                look(findings, value, (path, number, "["))

    return at


def _map(name: str, look: "Look | None") -> Look:
    text = _text(LONGEST_TEXT)

    def at(findings: _Findings, message: Any, path: Path) -> None:
        entries = getattr(message, name)
        if entries and findings.take(len(entries), path):
            for key in entries:
                place = (path, key, ".")
                if isinstance(key, str):
                    text(findings, key, place)
                if look is not None:
                    look(findings, entries[key], place)

    return at


def _message(descriptor: Descriptor) -> Look:
    def look(findings: _Findings, message: Any, path: Path) -> None:
        for name, at in _plan(descriptor):
            at(findings, message, (path, name, "."))

    return look


def _text(longest: int) -> Look:
    def look(findings: _Findings, text: str, path: Path) -> None:
        if len(text) > longest:
            findings.add(path, f"is {len(text):,} characters long, at most {longest:,} are taken")
        elif not text.isprintable():
            character = _CONTROL.search(text)
            if character:
                findings.add(path, _control_problem(character[0]))

    return look


def _control_problem(character: str) -> str:
    if character == "\0":
        return "holds a NUL character"
    return f"holds the control character U+{ord(character):04X}; take it out"


def _json(findings: _Findings, text: bytes, path: Path) -> None:
    problem = json_limits.problem(text)
    if problem:
        findings.add(path, problem)


def _struct(findings: _Findings, value: Message, path: Path) -> None:
    """A Struct, Value or ListValue. Depth needs no look: protobuf reads none that is nested 34 levels deep."""
    if value.ByteSize() > _SMALLEST_VALUE * MOST_VALUES:
        _count(findings, value, path)


def _count(findings: _Findings, value: Any, path: Path) -> None:  # Any: Struct, Value or ListValue
    waiting = [value]
    while waiting:
        one = waiting.pop()
        kind = one.DESCRIPTOR.name
        if kind == "Value":
            inner = one.WhichOneof("kind")
            if inner in ("struct_value", "list_value"):
                waiting.append(getattr(one, inner))
            continue
        inside = one.fields if kind == "Struct" else one.values
        if not findings.take(len(inside), path):
            return
        waiting.extend(inside.values() if kind == "Struct" else inside)


def _written(path: Path) -> str:
    """A path as clients read it: nodes[2].inputs.text."""
    parts: list[str] = []
    while path is not None:
        path, part, kind = path
        parts.append(f"[{part}]" if kind == "[" else f".{part}")
    return "".join(reversed(parts)).removeprefix(".")
