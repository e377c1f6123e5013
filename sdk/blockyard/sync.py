"""The client for programs without async: the same methods, run on an event loop in a thread of its own.

with blockyard.sync.connect() as client:
    print(client.run(graph, {"text": "hello"}))
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Generator, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from blockyard import client as asynchronous
from blockyard.calls import DEFAULT_DEADLINE
from blockyard.client import ExecutionHandle, GraphRecord, Json, Results
from blockyard.client.accounts import AccountClient, AuditClient, CreditsClient, UsersClient
from blockyard.client.blocks import BlocksClient
from blockyard.client.credentials import CredentialsClient, VaultClient
from blockyard.client.executions import CreditsPolicy, ExecutionsClient
from blockyard.client.graphs import GraphLike, GraphsClient
from blockyard.client.notifications import NotificationsClient
from blockyard.client.presets import PresetsClient
from blockyard.client.schedules import SchedulesClient
from blockyard.client.triggers import TriggersClient
from blockyard.client.webhooks import WebhooksClient
from blockyard.events import Event, EventKind

__all__ = [
    "Account",
    "Audit",
    "Blocks",
    "Client",
    "Credentials",
    "Credits",
    "EventStream",
    "Execution",
    "Executions",
    "Graphs",
    "Notifications",
    "Presets",
    "Schedules",
    "Triggers",
    "Users",
    "Vault",
    "Webhooks",
    "connect",
]

A = TypeVar("A")
R = TypeVar("R")
P = ParamSpec("P")


class _Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="blockyard-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """Runs it there and waits. Ctrl-C while waiting cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, source: AsyncIterator[R]) -> Generator[R]:
        """The items of an async iterator, each fetched when it is asked for."""
        iterator = aiter(source)
        try:
            while True:
                try:
                    yield self.run(_next(iterator))
                except StopAsyncIteration:
                    return
        finally:
            close = getattr(iterator, "aclose", None)
            if close is not None and self._loop.is_running():
                self.run(close())

    def stop(self) -> None:
        """Ends the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(iterator: AsyncIterator[R]) -> R:
    return await anext(iterator)


class _Blocking(Generic[A]):
    """Something async, and the loop that its methods run on."""

    def __init__(self, loop: _Loop, inner: A) -> None:
        self._loop = loop
        self._inner = inner


def _blocking(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[_Blocking[A], P], R]:
    """A method that runs the async one to its end; arguments and result keep their types."""

    def call(self: _Blocking[A], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._loop.run(method(self._inner, *args, **kwargs))

    call.__doc__ = method.__doc__
    return call


def _iterating(
    method: Callable[Concatenate[A, P], AsyncIterator[R]],
) -> Callable[Concatenate[_Blocking[A], P], Iterator[R]]:
    """A method that gives what the async one does, item by item."""

    def call(self: _Blocking[A], /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        return self._loop.iterate(method(self._inner, *args, **kwargs))

    call.__doc__ = method.__doc__
    return call


class Graphs(_Blocking[GraphsClient]):
    """The caller's graphs; see blockyard.client.graphs.GraphsClient."""

    create = _blocking(GraphsClient.create)
    get = _blocking(GraphsClient.get)
    list = _iterating(GraphsClient.list)
    update = _blocking(GraphsClient.update)
    delete = _blocking(GraphsClient.delete)
    versions = _iterating(GraphsClient.versions)
    set_active_version = _blocking(GraphsClient.set_active_version)
    fork = _blocking(GraphsClient.fork)
    validate = _blocking(GraphsClient.validate)
    picture = _blocking(GraphsClient.picture)
    import_file = _blocking(GraphsClient.import_file)
    export = _blocking(GraphsClient.export)


class Schedules(_Blocking[SchedulesClient]):
    """The caller's schedules; see blockyard.client.schedules.SchedulesClient."""

    create = _blocking(SchedulesClient.create)
    get = _blocking(SchedulesClient.get)
    list = _iterating(SchedulesClient.list)
    update = _blocking(SchedulesClient.update)
    pause = _blocking(SchedulesClient.pause)
    resume = _blocking(SchedulesClient.resume)
    delete = _blocking(SchedulesClient.delete)


class Presets(_Blocking[PresetsClient]):
    """The caller's presets; see blockyard.client.presets.PresetsClient."""

    create = _blocking(PresetsClient.create)
    get = _blocking(PresetsClient.get)
    list = _iterating(PresetsClient.list)
    update = _blocking(PresetsClient.update)
    delete = _blocking(PresetsClient.delete)


class Triggers(_Blocking[TriggersClient]):
    """The caller's triggers; see blockyard.client.triggers.TriggersClient."""

    create = _blocking(TriggersClient.create)
    get = _blocking(TriggersClient.get)
    list = _iterating(TriggersClient.list)
    update = _blocking(TriggersClient.update)
    rotate = _blocking(TriggersClient.rotate)
    delete = _blocking(TriggersClient.delete)
    deliveries = _iterating(TriggersClient.deliveries)


class Webhooks(_Blocking[WebhooksClient]):
    """The caller's webhooks; see blockyard.client.webhooks.WebhooksClient."""

    create = _blocking(WebhooksClient.create)
    get = _blocking(WebhooksClient.get)
    list = _iterating(WebhooksClient.list)
    update = _blocking(WebhooksClient.update)
    delete = _blocking(WebhooksClient.delete)
    rotate = _blocking(WebhooksClient.rotate)
    deliveries = _iterating(WebhooksClient.deliveries)
    retry = _blocking(WebhooksClient.retry)
    replay = _blocking(WebhooksClient.replay)
    test = _blocking(WebhooksClient.test)


class Blocks(_Blocking[BlocksClient]):
    """The catalogue; see blockyard.client.blocks.BlocksClient."""

    list = _iterating(BlocksClient.list)
    categories = _blocking(BlocksClient.categories)
    get = _blocking(BlocksClient.get)
    versions = _blocking(BlocksClient.versions)
    run = _blocking(BlocksClient.run)


class Execution(_Blocking[ExecutionHandle]):
    """One execution; see blockyard.client.ExecutionHandle."""

    get = _blocking(ExecutionHandle.get)
    watch = _iterating(ExecutionHandle.watch)
    nodes = _iterating(ExecutionHandle.nodes)
    wait = _blocking(ExecutionHandle.wait)
    result = _blocking(ExecutionHandle.result)
    results = _blocking(ExecutionHandle.results)
    stop = _blocking(ExecutionHandle.stop)
    explain = _blocking(ExecutionHandle.explain)

    @property
    def id(self) -> str:
        """Its id."""
        return self._inner.id


class Executions(_Blocking[ExecutionsClient]):
    """The caller's executions; see blockyard.client.executions.ExecutionsClient."""

    get = _blocking(ExecutionsClient.get)
    list = _iterating(ExecutionsClient.list)
    stop = _blocking(ExecutionsClient.stop)
    stop_all = _blocking(ExecutionsClient.stop_all)
    nodes = _iterating(ExecutionsClient.nodes)
    results = _blocking(ExecutionsClient.results)
    watch = _iterating(ExecutionsClient.watch)
    events = _iterating(ExecutionsClient.events)
    between = _iterating(ExecutionsClient.between)
    wait = _blocking(ExecutionsClient.wait)
    explain = _blocking(ExecutionsClient.explain)
    resume_node = _blocking(ExecutionsClient.resume_node)
    repair_streams = _blocking(ExecutionsClient.repair_streams)
    _start = _blocking(ExecutionsClient.start)

    def start(
        self,
        graph_id: str = "",
        inputs: Mapping[str, Json] | None = None,
        *,
        preset: str = "",
        version: int = 0,
        request_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
        credentials: Mapping[str, str] | None = None,
        credits_policy: CreditsPolicy = "wait",
    ) -> Execution:
        """Starts an execution; once this returns it ends, whatever dies. Arguments as of ExecutionsClient.start."""
        handle = self._start(
            graph_id,
            inputs,
            preset=preset,
            version=version,
            request_id=request_id,
            labels=labels,
            priority=priority,
            credentials=credentials,
            credits_policy=credits_policy,
        )
        return Execution(self._loop, handle)

    def handle(self, execution_id: str) -> Execution:
        """The handle of an execution that was started before. Makes no call."""
        return Execution(self._loop, self._inner.handle(execution_id))


class Credentials(_Blocking[CredentialsClient]):
    """The caller's credentials; see blockyard.client.credentials.CredentialsClient."""

    create = _blocking(CredentialsClient.create)
    get = _blocking(CredentialsClient.get)
    list = _iterating(CredentialsClient.list)
    update = _blocking(CredentialsClient.update)
    delete = _blocking(CredentialsClient.delete)
    test = _blocking(CredentialsClient.test)
    providers = _blocking(CredentialsClient.providers)
    connect = _blocking(CredentialsClient.connect)
    complete = _blocking(CredentialsClient.complete)


class Vault(_Blocking[VaultClient]):
    """The keys of the vault; see blockyard.client.credentials.VaultClient."""

    list_keys = _blocking(VaultClient.list_keys)
    rotate = _blocking(VaultClient.rotate)


class Account(_Blocking[AccountClient]):
    """The caller's account; see blockyard.client.accounts.AccountClient."""

    me = _blocking(AccountClient.me)
    update = _blocking(AccountClient.update)
    create_key = _blocking(AccountClient.create_key)
    list_keys = _iterating(AccountClient.list_keys)
    revoke_key = _blocking(AccountClient.revoke_key)


class Users(_Blocking[UsersClient]):
    """All users; see blockyard.client.accounts.UsersClient."""

    list = _iterating(UsersClient.list)
    get = _blocking(UsersClient.get)
    create = _blocking(UsersClient.create)
    set_access = _blocking(UsersClient.set_access)


class Credits(_Blocking[CreditsClient]):
    """Credits; see blockyard.client.accounts.CreditsClient."""

    get = _blocking(CreditsClient.get)
    transactions = _iterating(CreditsClient.transactions)
    spending = _blocking(CreditsClient.spending)
    top_up = _blocking(CreditsClient.top_up)


class Notifications(_Blocking[NotificationsClient]):
    """What the caller is told by e-mail; see blockyard.client.notifications.NotificationsClient."""

    get = _blocking(NotificationsClient.get)
    update = _blocking(NotificationsClient.update)


class Audit(_Blocking[AuditClient]):
    """The audit log; see blockyard.client.accounts.AuditClient."""

    list = _iterating(AuditClient.list)


class Client:
    """The async client's sync face, with the same parts. Use it as a context manager."""

    graphs: Graphs
    presets: Presets
    schedules: Schedules
    blocks: Blocks
    executions: Executions
    triggers: Triggers

    def __init__(self, client: asynchronous.Client) -> None:
        self._client = client

    def __enter__(self) -> Self:
        self._loop = _Loop()
        client = self._loop.run(self._client.__aenter__())
        self.graphs = Graphs(self._loop, client.graphs)
        self.presets = Presets(self._loop, client.presets)
        self.schedules = Schedules(self._loop, client.schedules)
        self.blocks = Blocks(self._loop, client.blocks)
        self.executions = Executions(self._loop, client.executions)
        self.triggers = Triggers(self._loop, client.triggers)
        return self

    @property
    def webhooks(self) -> Webhooks:
        """The caller's webhooks."""
        return Webhooks(self._loop, self._client.webhooks)

    @property
    def credentials(self) -> Credentials:
        """The caller's credentials."""
        return Credentials(self._loop, self._client.credentials)

    @property
    def vault(self) -> Vault:
        """The keys of the vault. For administrators."""
        return Vault(self._loop, self._client.vault)

    @property
    def account(self) -> Account:
        """The caller's account and API keys."""
        return Account(self._loop, self._client.account)

    @property
    def credits(self) -> Credits:
        """The caller's credits; for administrators those of all."""
        return Credits(self._loop, self._client.credits)

    @property
    def notifications(self) -> Notifications:
        """What the caller is told by e-mail."""
        return Notifications(self._loop, self._client.notifications)

    @property
    def users(self) -> Users:
        """All users. For administrators."""
        return Users(self._loop, self._client.users)

    @property
    def audit(self) -> Audit:
        """The audit log. For administrators."""
        return Audit(self._loop, self._client.audit)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._loop.run(self._client.__aexit__(kind, error, trace))
        finally:
            self._loop.stop()

    def run(
        self,
        graph: GraphLike | GraphRecord | str,
        inputs: Mapping[str, Json] | None = None,
        timeout: float | None = None,
        *,
        preset: str = "",
        credentials: Mapping[str, str] | None = None,
        absent_as_none: bool = False,
    ) -> Results:
        """Runs a graph (by id, a record of it, or one that is stored first) to its end, and gives its results."""
        work = self._client.run(
            graph, inputs, timeout, preset=preset, credentials=credentials, absent_as_none=absent_as_none
        )
        return self._loop.run(work)

    def events(
        self,
        execution: str | Collection[str] = (),
        after: int | str = "",
        *,
        graph: str | Collection[str] = (),
        kinds: Collection[EventKind] = (),
        user: str = "",
    ) -> "EventStream":
        """Events as they come, without gaps; arguments as of the async client's `events`."""
        stream = self._client.events(execution, after, graph=graph, kinds=kinds, user=user)
        return EventStream(self._loop, stream)


class EventStream(Iterator[Event]):
    """Events, with `for`; see blockyard.client.EventStream."""

    def __init__(self, loop: _Loop, inner: asynchronous.EventStream) -> None:
        self._inner = inner
        self._events = loop.iterate(inner)

    def __next__(self) -> Event:
        return next(self._events)

    @property
    def cursor(self) -> int | str:
        """Give it as `after` to go on behind the events that came."""
        return self._inner.cursor

    def close(self) -> None:
        """Ends it."""
        self._events.close()


def connect(
    address: str | None = None,
    token: str | None = None,
    *,
    home: Path | str | None = None,
    deadline: float = DEFAULT_DEADLINE,
) -> Client:
    """A sync client; arguments as of blockyard.connect."""
    return Client(asynchronous.connect(address, token, home=home, deadline=deadline))
