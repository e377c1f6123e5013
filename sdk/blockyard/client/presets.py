"""Presets, through PresetService: inputs and credentials of a graph's starts, kept under a name."""

import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from blockyard import values
from blockyard.calls import Caller
from blockyard.graph.v1 import preset_pb2
from blockyard.graph.v1 import preset_service_pb2 as messages
from blockyard.records import Json, json_object, moment

if TYPE_CHECKING:
    from blockyard.graph.v1.preset_service_pb2_grpc import PresetServiceAsyncStub  # there for type checkers alone


@dataclass(frozen=True, slots=True)
class PresetRecord:
    """A preset. `graph_version` 0 is the graph's active one. `inputs` is empty in lists."""

    id: str
    graph_id: str
    graph_version: int
    name: str
    description: str
    inputs: Mapping[str, Json]
    credentials: Mapping[str, str]
    created: datetime | None
    updated: datetime | None

    @classmethod
    def from_proto(cls, proto: preset_pb2.Preset) -> "PresetRecord":
        """The value of a message."""
        return cls(
            id=proto.id,
            graph_id=proto.graph_id,
            graph_version=proto.graph_version,
            name=proto.name,
            description=proto.description,
            inputs=json_object(proto.inputs_json),
            credentials=dict(proto.credentials),
            created=moment(proto, "create_time"),
            updated=moment(proto, "update_time"),
        )


class PresetsClient:
    """The caller's presets. A start names one with `preset`; what the start gives itself comes before it."""

    def __init__(self, stub: "PresetServiceAsyncStub", call: Caller) -> None:
        self._stub = stub
        self._call = call

    async def create(
        self,
        graph_id: str,
        name: str,
        inputs: Mapping[str, Json] | None = None,
        *,
        version: int = 0,
        description: str = "",
        credentials: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> PresetRecord:
        """Makes a preset of a graph; not all inputs need to be there. `credentials` as of ExecutionsClient.start.

        Version 0 is the one that is active when it is started. The same `request_id` twice makes one preset.
        """
        preset = preset_pb2.Preset(
            graph_id=graph_id,
            graph_version=version,
            name=name,
            description=description,
            inputs_json=values.encode(dict(inputs or {})),
            credentials=credentials or {},
        )
        request = messages.CreatePresetRequest(preset=preset, request_id=request_id or str(uuid.uuid4()))
        answer = await self._call(self._stub.CreatePreset, request, messages.CreatePresetResponse, repeatable=True)
        return PresetRecord.from_proto(answer.preset)

    async def get(self, preset_id: str) -> PresetRecord:
        """A preset with its inputs."""
        request = messages.GetPresetRequest(preset_id=preset_id)
        answer = await self._call(self._stub.GetPreset, request, messages.GetPresetResponse, repeatable=True)
        return PresetRecord.from_proto(answer.preset)

    async def list(self, *, graph_id: str = "", page_size: int = 0) -> AsyncIterator[PresetRecord]:
        """The caller's presets, or those of one graph, newest first, without inputs."""
        token = ""
        while True:
            request = messages.ListPresetsRequest(page_size=page_size, page_token=token, graph_id=graph_id)
            answer = await self._call(self._stub.ListPresets, request, messages.ListPresetsResponse, repeatable=True)
            for preset in answer.presets:
                yield PresetRecord.from_proto(preset)
            token = answer.next_page_token
            if not token:
                return

    async def update(
        self,
        preset_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        version: int | None = None,
        inputs: Mapping[str, Json] | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> PresetRecord:
        """Changes what is given; inputs and credentials are replaced as a whole."""
        given = {
            "name": name,
            "description": description,
            "graph_version": version,
            "inputs": inputs,
            "credentials": credentials,
        }
        preset = preset_pb2.Preset(
            id=preset_id,
            name=name or "",
            description=description or "",
            graph_version=version or 0,
            inputs_json=values.encode(dict(inputs or {})),
            credentials=credentials or {},
        )
        paths = [field for field, value in given.items() if value is not None]
        if not paths:
            # No mask would mean all that is set.
            return await self.get(preset_id)
        request = messages.UpdatePresetRequest(preset=preset, update_mask=FieldMask(paths=paths))
        answer = await self._call(self._stub.UpdatePreset, request, messages.UpdatePresetResponse, repeatable=True)
        return PresetRecord.from_proto(answer.preset)

    async def delete(self, preset_id: str) -> None:
        """Deletes a preset. Executions that were started with it go on."""
        request = messages.DeletePresetRequest(preset_id=preset_id)
        await self._call(self._stub.DeletePreset, request, messages.DeletePresetResponse, repeatable=False)
