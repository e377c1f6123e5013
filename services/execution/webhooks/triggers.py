"""What owners do with triggers: make, read, change, delete, and give another secret.

A trigger is judged by its graph of when it is stored. The graph may change after that; what no longer fits is then told
in the list of deliveries.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Any

import grpc
from pydantic import SecretStr

from services.common.errors import BlockyardError, InvalidArgument, Violation
from services.execution import templates
from services.execution.errors import RequestIdReused, TooManyTriggers, TriggerConflict, TriggerNotFound
from services.execution.repository.triggers import TriggerRepository
from services.execution.starting import LONGEST_REQUEST_ID, Starter
from services.execution.triggers import PAYLOAD
from services.execution.webhooks.records import (
    DeliveryPage,
    DeliveryRow,
    Kind,
    NewTrigger,
    Page,
    TriggerContent,
    TriggerRow,
)
from services.execution.webhooks.secrets import SecretKeys
from services.execution.webhooks.senders import Senders

ID_BYTES = 16
"""Of the address, which nobody can guess."""
ATTEMPTS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Triggers:
    """All of it for one user at a time: whoever asks is named in every question."""

    repository: TriggerRepository
    starter: Starter
    keys: SecretKeys
    senders: Senders
    most: int
    """Triggers of a user."""

    async def create(
        self, user_id: str, kind: Kind, content: TriggerContent, request_id: str
    ) -> tuple[TriggerRow, SecretStr]:
        """A new trigger with its secret; the one that the same request made before, if it did."""
        if len(request_id) > LONGEST_REQUEST_ID:
            raise InvalidArgument(violations=[Violation("request_id", f"longer than {LONGEST_REQUEST_ID} characters")])
        request_hash = _hash(kind, content)
        made = await self._made_before(user_id, request_id, request_hash)
        if made is None:
            graph_id = await self._judge(user_id, content)
            await self._check_secret(user_id, content)
            key_id, request = self.keys.newest_key, request_id or None
            new = NewTrigger(token_hex(ID_BYTES), user_id, kind, content, graph_id, key_id, request, request_hash)
            if await self.repository.insert(new, self.most):
                made = await self.get(user_id, new.trigger_id)
            else:
                # The same request at the same time was faster, or there is no room.
                made = await self._made_before(user_id, request_id, request_hash)
        if made is None:
            raise TooManyTriggers(f"You have {self.most} triggers, which is the limit: delete some.")
        return made, self._secret(made)

    async def get(self, user_id: str, trigger_id: str) -> TriggerRow:
        """A user's trigger."""
        row = await self.repository.get(user_id, trigger_id)
        if row is None:
            raise TriggerNotFound
        return row

    async def page(self, user_id: str, graph_id: str, below: Page | None, limit: int) -> Sequence[TriggerRow]:
        """The user's triggers, newest first; of one graph or ('') of all."""
        return await self.repository.page(user_id, graph_id, below, limit)

    async def update(self, user_id: str, trigger_id: str, kind: Kind | None, changes: Mapping[str, Any]) -> TriggerRow:
        """The trigger, with these fields of its content changed. Its kind, if one is named, must be what it is."""
        for _ in range(ATTEMPTS):
            row = await self.get(user_id, trigger_id)
            if kind not in (None, row.kind):
                problem = "cannot be changed: make another trigger"
                raise InvalidArgument(violations=[Violation("trigger.kind", problem)])
            if not changes:
                return row
            content = replace(row.content, **changes)
            if "template" in changes:
                graph_id = await self._judge(user_id, content)
            else:
                graph_id = row.graph_id or await self._found_graph(user_id, content)
            if "secret_credential_id" in changes:
                await self._check_secret(user_id, content)
            if await self.repository.replace(row, content, graph_id):
                return await self.get(user_id, trigger_id)
        raise TriggerConflict

    async def rotate(self, user_id: str, trigger_id: str, keep_seconds: float) -> tuple[TriggerRow, SecretStr]:
        """The trigger with its next secret; the present one stays valid for so long."""
        for _ in range(ATTEMPTS):
            row = await self.get(user_id, trigger_id)
            if row.content.secret_credential_id:
                problem = f"its secret is in credential {row.content.secret_credential_id}: update that"
                raise InvalidArgument(violations=[Violation("trigger_id", problem)])
            if await self.repository.rotate(row, self.keys.newest_key, keep_seconds):
                rotated = await self.get(user_id, trigger_id)
                return rotated, self._secret(rotated)
        raise TriggerConflict

    async def delete(self, user_id: str, trigger_id: str) -> None:
        """The trigger is gone."""
        if not await self.repository.delete(user_id, trigger_id):
            raise TriggerNotFound

    async def deliveries(
        self, user_id: str, trigger_id: str, below: DeliveryPage | None, limit: int
    ) -> Sequence[DeliveryRow]:
        """What came to a trigger of late, the latest first."""
        row = await self.get(user_id, trigger_id)
        return await self.repository.deliveries(row.trigger_id, below, limit)

    async def _judge(self, user_id: str, content: TriggerContent) -> str:
        """The graph that it starts. Raises what a start would be refused with."""
        request = templates.start_of(content.template, user_id, "", {})
        if PAYLOAD in request.inputs:
            problem = "comes with each delivery, and cannot be given here"
            raise InvalidArgument(violations=[Violation(f"trigger.start.inputs.{PAYLOAD}", problem)])
        return await templates.check_start(self.starter, request, "trigger.start", later=frozenset({PAYLOAD}))

    async def _found_graph(self, user_id: str, content: TriggerContent) -> str:
        """The graph that it starts; empty if that cannot be told: whatever became of it, a trigger can be disabled."""
        try:
            return await self._judge(user_id, content)
        except (BlockyardError, grpc.aio.AioRpcError):
            return ""

    async def _check_secret(self, user_id: str, content: TriggerContent) -> None:
        if content.secret_credential_id:
            await self.senders.check(user_id, content.secret_credential_id)

    async def _made_before(self, user_id: str, request_id: str, request_hash: bytes) -> TriggerRow | None:
        found = await self.repository.made_by_request(user_id, request_id) if request_id else None
        if found is None:
            return None
        trigger_id, hash_then = found
        if hash_then != request_hash:
            raise RequestIdReused
        return await self.get(user_id, trigger_id)

    def _secret(self, row: TriggerRow) -> SecretStr:
        """Empty if a credential holds it, or if its key is lost, as the trigger then says."""
        if row.content.secret_credential_id:
            return SecretStr("")
        return self.keys.present(row.kind, row.trigger_id, row.secret) or SecretStr("")


def _hash(kind: Kind, content: TriggerContent) -> bytes:
    """What makes two requests the same."""
    parts = [
        int(kind),
        content.name,
        content.events,
        content.conditions,
        content.disabled,
        content.secret_credential_id,
    ]
    return hashlib.sha256(repr(parts).encode() + b"\0" + content.template).digest()
