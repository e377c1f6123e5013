"""Where a credential is named: the graph service knows of graphs, the execution service of what runs."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import grpc
import structlog
from blockyard.credentials.v1.credential_pb2 import CredentialUse
from blockyard.runner.v1.catalogue_service_pb2 import CatalogueServiceFindCredentialUsesRequest
from blockyard.runner.v1.task_service_pb2 import FindCredentialUsesRequest

from services.common.errors import Unavailable, Violation

ASK_SECONDS = 5.0
MOST_USES = 100

log = structlog.stdlib.get_logger(__name__)


class UsesUnknown(Unavailable):
    """Whether the credential is in use cannot be told now. Try again, or delete it with force."""


@dataclass(frozen=True, slots=True, eq=False)
class Uses:
    """Asks both at once."""

    # Any: the generated stubs' types depend on the kind of channel.
    catalogue: Any
    tasks: Any

    async def find(self, user_id: str, credential_id: UUID, *, as_far_as_known: bool) -> Sequence[CredentialUse]:
        """The places, at most 100. Who is away is left out where that will do; else it is UsesUnknown."""
        of_graphs = CatalogueServiceFindCredentialUsesRequest(user_id=user_id, credential_id=str(credential_id))
        of_tasks = FindCredentialUsesRequest(user_id=user_id, credential_id=str(credential_id))
        found = await asyncio.gather(
            _asked("graph", self.catalogue.FindCredentialUses(of_graphs, timeout=ASK_SECONDS)),
            _asked("execution", self.tasks.FindCredentialUses(of_tasks, timeout=ASK_SECONDS)),
        )
        if None in found and not as_far_as_known:
            raise UsesUnknown
        return [use for uses in found for use in uses or ()][:MOST_USES]


async def _asked(service: str, answer: Awaitable[Any]) -> Sequence[CredentialUse] | None:
    try:
        return list((await answer).uses)
    except grpc.aio.AioRpcError as error:
        log.warning("uses of a credential are not known", asked=service, code=error.code().name, reason=error.details())
        return None


def place_of(use: CredentialUse) -> Violation:
    """A place in words."""
    node = f"nodes/{use.node_id}.{use.pin}"
    if use.execution_id:
        return Violation(f"executions/{use.execution_id}/{node}", "an execution that has not ended was started with it")
    if use.trigger_id:
        return Violation(f"triggers/{use.trigger_id}", "the trigger names it")
    if use.schedule_id:
        return Violation(f"schedules/{use.schedule_id}", "the schedule names it")
    if use.preset_id:
        return Violation(f"graphs/{use.graph_id}/presets/{use.preset_id}", "the preset names it")
    return Violation(f"graphs/{use.graph_id}/versions/{use.graph_version}/{node}", "the graph names it")
