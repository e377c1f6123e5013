"""What can be done with presets: make, read, change, delete, and get one ready for a start.

A preset is judged by the graph's schema of when its inputs, credentials or version are stored. The graph may change
after that: what no longer fits is told by the start, which judges the inputs that it makes of both.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID, uuid4

import orjson
from blockyard import values as json_values
from blockyard.graph.v1.graph_pb2 import Graph
from blockyard.graph.v1.preset_pb2 import Preset
from google.protobuf.timestamp_pb2 import Timestamp
from jsonschema import Draft202012Validator

from services.common.errors import InvalidArgument, Violation
from services.common.structs import from_struct
from services.graph.blocks import NO_REFERENCES
from services.graph.documents import read_inputs
from services.graph.errors import (
    GraphNotFound,
    PresetConflict,
    PresetInvalid,
    PresetNotFound,
    PresetRequestIdReused,
    TooManyPresets,
)
from services.graph.graphs import LONGEST_REQUEST_ID, MOST_USES, Graphs
from services.graph.records import NewPreset, PresetContent, PresetRow
from services.graph.repository.presets import PresetRepository
from services.graph.rules import values
from services.graph.validation import LONGEST_DESCRIPTION, LONGEST_NAME

CHANGEABLE = ("graph_version", "name", "description", "inputs", "credentials")
"""The fields of a preset that may be changed."""
JUDGED = frozenset({"graph_version", "inputs", "credentials"})
"""Those of them that its graph must fit. Whatever became of the graph, a preset can be renamed."""
ATTEMPTS = 4
MOST_CREDENTIALS = 1_000
MOST_PROBLEMS = 10
"""Of one input."""


@dataclass(frozen=True, slots=True)
class PresetLimits:
    """Bounds of a user's presets."""

    of_user: int
    bytes: int
    depth: int


@dataclass(frozen=True, slots=True, eq=False)
class Presets:
    """All of it for one user at a time: whoever asks is named in every question."""

    repository: PresetRepository
    graphs: Graphs
    limits: PresetLimits

    async def create(self, user_id: str, preset: Preset, request_id: str) -> PresetRow:
        """A new preset; the one that the same request made before, if it did."""
        if len(request_id) > LONGEST_REQUEST_ID:
            raise InvalidArgument(violations=[Violation("request_id", f"longer than {LONGEST_REQUEST_ID} characters")])
        graph_id = _graph_id(preset.graph_id)
        content = self._content(preset)
        request_hash = _hash(graph_id, content)
        made = await self._made_before(user_id, request_id, request_hash)
        if made is not None:
            return made
        _check_name(content)
        await self._judge(user_id, graph_id, content)
        new = NewPreset(uuid4(), graph_id, user_id, content, request_id or None, request_hash)
        if not await self.repository.insert(new, self.limits.of_user):
            # The same request at the same time was faster; or there is no room; or the graph was deleted meanwhile.
            made = await self._made_before(user_id, request_id, request_hash)
            if made is not None:
                return made
            if await self.repository.count(user_id) >= self.limits.of_user:
                raise TooManyPresets(f"You have {self.limits.of_user} presets, which is the limit: delete some.")
            raise GraphNotFound
        return await self.get(user_id, new.preset_id)

    async def get(self, user_id: str, preset_id: UUID) -> PresetRow:
        """A preset with its inputs."""
        row = await self.repository.get(user_id, preset_id)
        if row is None:
            raise PresetNotFound
        return row

    async def page(
        self, user_id: str, graph_id: UUID | None, before: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[PresetRow]:
        """The user's presets, newest first, without inputs."""
        return await self.repository.page(user_id, graph_id, before, limit)

    async def update(self, user_id: str, preset_id: UUID, change: Preset, names: Sequence[str]) -> PresetRow:
        """The preset, with the named fields as in the change."""
        changed = self._content(change)
        for _ in range(ATTEMPTS):
            row = await self.get(user_id, preset_id)
            if change.graph_id and _graph_id(change.graph_id) != row.graph_id:
                raise InvalidArgument(violations=[Violation("graph_id", "cannot be changed: make another preset")])
            if not names:
                return row
            content = replace(row.content, **{name: getattr(changed, name) for name in names})
            _check_name(content)
            if not JUDGED.isdisjoint(names):
                await self._judge(user_id, row.graph_id, content)
            if await self.repository.replace(row, content):
                return await self.get(user_id, preset_id)
        raise PresetConflict

    async def delete(self, user_id: str, preset_id: UUID) -> None:
        """The preset is gone."""
        if not await self.repository.delete(user_id, preset_id):
            raise PresetNotFound

    async def to_start(self, user_id: str, preset_id: UUID, graph_id: UUID | None) -> PresetRow:
        """The preset for a start, of that graph if one is named."""
        row = await self.get(user_id, preset_id)
        if graph_id is not None and graph_id != row.graph_id:
            problem = f"is not the preset's, which is of graph {row.graph_id}; it may be left out"
            raise InvalidArgument(violations=[Violation("graph_id", problem)])
        return row

    async def credential_uses(self, user_id: str, credential_id: UUID) -> Sequence[PresetRow]:
        """Presets that name a credential, the newest first."""
        return await self.repository.naming_credential(user_id, credential_id, MOST_USES)

    def _content(self, preset: Preset) -> PresetContent:
        """What a request says, or PresetInvalid with all that is malformed."""
        violations = [*_text_violations(preset)]
        inputs = read_inputs(preset.inputs, preset.inputs_json, "", self.limits.depth, violations)
        data = json_values.encode(inputs)
        if len(data) > self.limits.bytes:
            violations.append(Violation("inputs", f"has {len(data)} bytes, at most {self.limits.bytes} are taken"))
        credentials, problems = _read_credentials(preset.credentials)
        if violations or problems:
            raise PresetInvalid(violations=[*violations, *problems])
        return PresetContent(preset.graph_version, preset.name, preset.description, data, credentials)

    async def _judge(self, user_id: str, graph_id: UUID, content: PresetContent) -> None:
        graph = await self.graphs.get(user_id, graph_id, content.graph_version)
        violations = [*_input_violations(graph, orjson.loads(content.inputs))]
        if content.credentials:
            violations += _credentials_violations(await self.graphs.with_credentials(user_id, graph), content)
        if violations:
            raise PresetInvalid(violations=violations)

    async def _made_before(self, user_id: str, request_id: str, request_hash: bytes) -> PresetRow | None:
        found = await self.repository.made_by_request(user_id, request_id) if request_id else None
        if found is None:
            return None
        preset_id, hash_then = found
        if hash_then != request_hash:
            raise PresetRequestIdReused
        return await self.get(user_id, preset_id)


def preset_message(row: PresetRow) -> Preset:
    """The message, with inputs as JSON alone."""
    content = row.content
    return Preset(
        id=str(row.preset_id),
        graph_id=str(row.graph_id),
        graph_version=content.graph_version,
        user_id=row.user_id,
        name=content.name,
        description=content.description,
        inputs_json=content.inputs,
        credentials=content.credentials,
        create_time=_time(row.create_time),
        update_time=_time(row.update_time),
    )


def _graph_id(text: str) -> UUID:
    if not text:
        raise PresetInvalid(violations=[Violation("graph_id", "is required")])
    try:
        return UUID(text)
    except ValueError:
        raise GraphNotFound(f"There is no graph with the id {text[:100]!r}.") from None


def _check_name(content: PresetContent) -> None:
    if not content.name:
        raise PresetInvalid(violations=[Violation("name", "is required: 1 to 200 characters")])


def _text_violations(preset: Preset) -> Iterator[Violation]:
    if len(preset.name) > LONGEST_NAME:
        yield Violation("name", f"is longer than {LONGEST_NAME} characters")
    if len(preset.description) > LONGEST_DESCRIPTION:
        yield Violation("description", f"is longer than {LONGEST_DESCRIPTION} characters")
    if preset.graph_version < 0:
        yield Violation("graph_version", f"must not be negative, got {preset.graph_version}")


def _read_credentials(given: Mapping[str, str]) -> tuple[dict[str, str], list[Violation]]:
    """Ids as they are written everywhere. Whatever else stands there may be a secret, and is not repeated."""
    if len(given) > MOST_CREDENTIALS:
        return {}, [Violation("credentials", f"more than {MOST_CREDENTIALS:,}")]
    ids: dict[str, str] = {}
    problems = []
    for name, text in given.items():
        try:
            ids[name] = str(UUID(text))
        except ValueError:
            problem = "expected the id of a credential: keep the secret in the vault (CreateCredential)"
            problems.append(Violation(f"credentials.{name[:200]}", problem))
    return ids, problems


def _input_violations(graph: Graph, inputs: Mapping[str, Any]) -> Iterator[Violation]:
    """Each input alone: what a start must be given, it may give itself."""
    schemas: Mapping[str, Any] = from_struct(graph.input_schema).get("properties", {})
    known = ", ".join(schemas) or "none"
    for name, value in inputs.items():
        path = f"inputs.{name[:100]}"
        schema = schemas.get(name)
        if schema is None:
            yield Violation(path, f"the graph has no input {name[:100]!r}; it has: {known[:250]}")
        elif schema.get("secret"):
            yield Violation(path, "is a secret, which no preset keeps: give it at the start, or use a credential")
        elif value is not None:
            problems = values.problems(Draft202012Validator(schema, registry=NO_REFERENCES), value)
            for place, problem in islice(problems, MOST_PROBLEMS):
                yield Violation(f"{path}{place}", problem)


def _credentials_violations(graph: Graph, content: PresetContent) -> Iterator[Violation]:
    names = {one.name for one in graph.credentials_fields}
    places = {f"{pin.node_id}.{pin.pin}" for one in graph.credentials_fields for pin in one.pins}
    known = ", ".join(sorted(names)) or "none"
    for name in content.credentials:
        if name not in names and name not in places:
            yield Violation(f"credentials.{name[:200]}", f"the graph has no such field; it has: {known[:250]}")


def _hash(graph_id: UUID, content: PresetContent) -> bytes:
    """What makes two requests the same."""
    parts = [
        str(graph_id),
        content.graph_version,
        content.name,
        content.description,
        [*sorted(content.credentials.items())],
    ]
    return hashlib.sha256(orjson.dumps(parts) + b"\0" + content.inputs).digest()


def _time(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
