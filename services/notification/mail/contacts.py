"""How users are reached, and what their graphs are called: asked of the services that know, and kept for a while."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import grpc
import structlog
from blockyard.account.v1 import identity_service_pb2
from blockyard.account.v1.identity_service_pb2 import GetContactsRequest
from blockyard.runner.v1.catalogue_service_pb2 import GetGraphNamesRequest

if TYPE_CHECKING:  # there for type checkers alone
    from blockyard.account.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub
    from blockyard.runner.v1.catalogue_service_pb2_grpc import CatalogueServiceAsyncStub

ASK_SECONDS = 5.0
"""Deadline of a question."""
AT_ONCE = 100
KEPT_SECONDS = 60.0
"""For so long an answer holds: a user who is disabled, or moves, is known to have done so after this time."""
MOST_KEPT = 10_000

IDEMPOTENT_OF_ACCOUNT = ("blockyard.account.v1.IdentityService/GetContacts",)
IDEMPOTENT_OF_GRAPH = ("blockyard.runner.v1.CatalogueService/GetGraphNames",)

K = TypeVar("K")
V = TypeVar("V")

log = structlog.stdlib.get_logger(__name__)


class ContactsAway(Exception):
    """The account service is away, so nobody knows where a mail would go."""


@dataclass(frozen=True, slots=True)
class Contact:
    """How a user is reached."""

    user_id: str
    active: bool
    name: str
    email: str
    time_zone: str
    """May be empty."""


class _Remembered(Generic[K, V]):
    """Answers, for a while; the oldest go first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def of(self, keys: Iterable[K]) -> dict[K, V]:
        now = self._clock()
        found = {key: self._kept[key] for key in keys if key in self._kept}
        return {key: value for key, (until, value) in found.items() if until > now}

    def keep(self, answers: dict[K, V]) -> None:
        until = self._clock() + KEPT_SECONDS
        for key, value in answers.items():
            self._kept.pop(key, None)
            self._kept[key] = (until, value)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)


class Contacts:
    """Users, by the account service."""

    def __init__(self, stub: "IdentityServiceAsyncStub", clock: Callable[[], float] = time.monotonic) -> None:
        self._stub = stub
        self._known: _Remembered[str, Contact | None] = _Remembered(clock)

    async def of(self, user_ids: Sequence[str]) -> dict[str, Contact | None]:
        """How each of these is reached; None who is not known. Raises ContactsAway."""
        known = self._known.of(user_ids)
        missing = sorted(set(user_ids) - known.keys())
        for start in range(0, len(missing), AT_ONCE):
            asked = missing[start : start + AT_ONCE]
            try:
                answer = await self._stub.GetContacts(GetContactsRequest(user_ids=asked), timeout=ASK_SECONDS)
            except grpc.aio.AioRpcError as error:
                raise ContactsAway(f"the account service is away ({error.code().name})") from error
            found: dict[str, Contact | None] = dict.fromkeys(asked)
            found |= {one.user_id: _contact(one) for one in answer.contacts}
            self._known.keep(found)
            known |= found
        return known


def _contact(one: identity_service_pb2.Contact) -> Contact:
    return Contact(one.user_id, one.active, one.name, one.email, one.time_zone)


class GraphNames:
    """Names of graphs, by the graph service. A mail that cannot have them has their ids."""

    def __init__(self, stub: "CatalogueServiceAsyncStub", clock: Callable[[], float] = time.monotonic) -> None:
        self._stub = stub
        self._known: _Remembered[tuple[str, str], str] = _Remembered(clock)

    async def of(self, user_id: str, graph_ids: Iterable[str]) -> dict[str, str]:
        """Name by id of a user's graphs; without those that have none, or that nobody can tell now."""
        wanted = sorted({(user_id, graph_id) for graph_id in graph_ids if graph_id})
        known = self._known.of(wanted)
        missing = [graph_id for _, graph_id in wanted if (user_id, graph_id) not in known][:AT_ONCE]
        if missing:
            request = GetGraphNamesRequest(user_id=user_id, graph_ids=missing)
            try:
                answer = await self._stub.GetGraphNames(request, timeout=ASK_SECONDS)
            except grpc.aio.AioRpcError as error:
                log.warning("graphs in mails have no names", reason=error.details())
            else:
                found = {(user_id, graph_id): name for graph_id, name in answer.names.items()}
                self._known.keep(found)
                known |= found
        return {graph_id: name for (_, graph_id), name in known.items() if name}
