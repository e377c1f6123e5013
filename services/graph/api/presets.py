"""PresetService: translate, authorise, delegate, answer."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from blockyard.graph.v1 import preset_service_pb2 as messages
from blockyard.graph.v1.preset_pb2 import Preset
from blockyard.graph.v1.preset_service_pb2_grpc import PresetServiceServicer
from grpc.aio import ServicerContext

from services.common.field_masks import changed_fields
from services.common.identity import current_caller
from services.common.paging import decode_page_token, encode_page_token, page_size
from services.common.structs import to_struct
from services.graph.api.graphs import graph_id
from services.graph.errors import PresetNotFound
from services.graph.presets import CHANGEABLE, Presets, preset_message
from services.graph.records import PresetRow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EXACT = {"inputs_json": "inputs"}
"""Whoever writes the exact form names it."""

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


class PresetApi(PresetServiceServicer):
    """The public methods; every caller sees its own presets only."""

    def __init__(self, presets: Presets, token_secret: str) -> None:
        self._presets = presets
        self._token_secret = token_secret

    async def CreatePreset(
        self, request: messages.CreatePresetRequest, context: Context
    ) -> messages.CreatePresetResponse:
        """Creates a preset."""
        row = await self._presets.create(current_caller().user_id, request.preset, request.request_id)
        return messages.CreatePresetResponse(preset=_whole(row))

    async def GetPreset(self, request: messages.GetPresetRequest, context: Context) -> messages.GetPresetResponse:
        """Gets a preset."""
        row = await self._presets.get(current_caller().user_id, preset_id(request.preset_id))
        return messages.GetPresetResponse(preset=_whole(row))

    async def ListPresets(self, request: messages.ListPresetsRequest, context: Context) -> messages.ListPresetsResponse:
        """Lists the caller's presets."""
        user, size = current_caller().user_id, page_size(request.page_size)
        graph = graph_id(request.graph_id) if request.graph_id else None
        scope = f"ListPresets {user} {graph or ''}"
        before = None
        if request.page_token:
            moment, last = decode_page_token(self._token_secret, scope, request.page_token)
            before = _EPOCH + int(moment) * _MICROSECOND, UUID(str(last))
        rows = await self._presets.page(user, graph, before, size + 1)
        answer = messages.ListPresetsResponse(presets=[_listed(row) for row in rows[:size]])
        if len(rows) > size:
            answer.next_page_token = encode_page_token(self._token_secret, scope, _position(rows[size - 1]))
        return answer

    async def UpdatePreset(
        self, request: messages.UpdatePresetRequest, context: Context
    ) -> messages.UpdatePresetResponse:
        """Changes a preset."""
        user, key = current_caller().user_id, preset_id(request.preset.id)
        names = changed_fields(request.update_mask, request.preset, CHANGEABLE, _EXACT)
        row = await self._presets.update(user, key, request.preset, names)
        return messages.UpdatePresetResponse(preset=_whole(row))

    async def DeletePreset(
        self, request: messages.DeletePresetRequest, context: Context
    ) -> messages.DeletePresetResponse:
        """Deletes a preset."""
        await self._presets.delete(current_caller().user_id, preset_id(request.preset_id))
        return messages.DeletePresetResponse()


def preset_id(text: str) -> UUID:
    """The id in a request. What is no id names no preset."""
    try:
        return UUID(text)
    except ValueError:
        raise PresetNotFound(f"There is no preset with the id {text[:100]!r}.") from None


def _whole(row: PresetRow) -> Preset:
    preset = preset_message(row)
    preset.inputs.CopyFrom(to_struct(orjson.loads(preset.inputs_json)))
    return preset


def _listed(row: PresetRow) -> Preset:
    preset = preset_message(row)
    preset.ClearField("inputs_json")
    return preset


def _position(row: PresetRow) -> list[str | int]:
    return [(row.create_time - _EPOCH) // _MICROSECOND, str(row.preset_id)]
