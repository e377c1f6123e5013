"""What sends mails, on a real PostgreSQL, beside the account and graph services, with a clock that a test moves."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from blockyard.account.v1 import account_pb2
from blockyard.account.v1 import account_service_pb2 as account_messages
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.event_pb2 import Event, EventBatch, EventKind
from blockyard.graph.v1 import graph_service_pb2 as graph_messages
from google.protobuf.field_mask_pb2 import FieldMask

from services.common import database, grpc_client
from services.common.ids import new_id
from services.notification.config import NotificationSettings
from services.notification.entries import Entry
from services.notification.mail.choices import Choices
from services.notification.mail.kinds import Frequency, MailKind
from services.notification.mail.starting import Mailing, choices_of, start_mailing
from tests import signing
from tests.integration.account.service import Service as Accounts
from tests.integration.account.service import account_service
from tests.integration.graph.service import Service as Graphs
from tests.integration.graph.service import graph_service
from tests.integration.notification.mail.receiver import Receiver
from tests.stack.postgres import as_role, migrated_database
from tests.unit.graph.building import BLOCKS, small_graph

BEGIN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
"""A Sunday."""
FAILED, COMPLETED = EventKind.EVENT_KIND_EXECUTION_FAILED, EventKind.EVENT_KIND_EXECUTION_COMPLETED


@dataclass(eq=False)
class Clock:
    """The time, as a test says."""

    now: datetime = BEGIN

    def __call__(self) -> datetime:
        return self.now

    def move(self, **units: float) -> None:
        """Later, by `timedelta`'s units."""
        self.now += timedelta(**units)


@dataclass(eq=False)
class MailHouse:
    """What a test works with."""

    accounts: Accounts
    graphs: Graphs
    database_url: str
    receiver: Receiver
    pool: "asyncpg.Pool[asyncpg.Record]"
    clock: Clock
    settings: NotificationSettings
    resources: AsyncExitStack
    mailing: Mailing
    choices: Choices
    sequence: int = 0
    emails: dict[str, str] = field(default_factory=dict)

    async def user(self, name: str = "ann", email: str | None = None, **fields: Any) -> str:
        """A user with an address of their own; answers the id, by which no other test knows them."""
        user_id = f"{name}-{new_id()}"
        email = f"{user_id}@example.org" if email is None else email
        changed = {"name": name.capitalize(), "email": email, **fields}
        request = account_messages.UpdateUserRequest(update_mask=FieldMask(paths=list(changed)), **changed)
        await self.accounts.user(user_id).call("UpdateUser", request)
        self.emails[user_id] = email
        return user_id

    async def disable(self, user_id: str) -> None:
        state = account_pb2.USER_STATE_DISABLED
        request = account_messages.SetUserAccessRequest(user_id=user_id, state=state)
        await self.accounts.admin().call("SetUserAccess", request)

    async def graph(self, user_id: str, name: str) -> str:
        """A graph with this name."""
        request = graph_messages.CreateGraphRequest(graph=small_graph(name=name))
        return str((await self.graphs.user(user_id).call("CreateGraph", request)).graph.id)

    async def tell(self, *batches: EventBatch, mailing: Mailing | None = None) -> bool:
        """Turns are taken in."""
        entries = [Entry.of_turn(0, at, batch.SerializeToString()) for at, batch in enumerate(batches, start=1)]
        async with self.pool.acquire() as connection, connection.transaction():
            return await (mailing or self.mailing).sorter.take_turns(connection, entries)

    async def end(self, user_id: str, many: int = 1, kind: EventKind.ValueType = FAILED, graph_id: str = "g") -> None:
        """So many executions end."""
        await self.tell(*(self.ended(user_id, kind, graph_id) for _ in range(many)))

    def ended(self, user_id: str, kind: EventKind.ValueType = FAILED, graph_id: str = "g") -> EventBatch:
        """The last turn of an execution."""
        self.sequence += 1
        event = Event(sequence=9, kind=kind, message=f"no luck {self.sequence}" if kind == FAILED else "")
        event.time.FromDatetime(self.clock())
        return EventBatch(execution_id=str(new_id()), graph_id=graph_id, user_id=user_id, events=[event])

    async def choose(self, user_id: str, **frequencies: Frequency) -> None:
        """How often the user is told of kinds, by their names in small letters."""
        chosen = {MailKind[name.upper()]: frequency for name, frequency in frequencies.items()}
        await self.choices.update(user_id, chosen, None, None)

    async def look(self) -> None:
        """The sender does what is due."""
        await self.mailing.sender.look()

    def mails(self, user_id: str) -> Sequence[Any]:
        """What arrived for a user."""
        return self.receiver.of(self.emails[user_id])

    def subjects(self, user_id: str) -> list[str]:
        return [str(one["Subject"]) for one in self.mails(user_id)]

    async def rows(self, user_id: str) -> list[tuple[int, int, str]]:
        """State, attempts and reason of a user's mails."""
        rows = await self.pool.fetch(
            "SELECT state, attempts, reason FROM mails WHERE user_id = $1 ORDER BY mail_id", user_id
        )
        return [(row["state"], row["attempts"], row["reason"]) for row in rows]

    async def another(self, **settings: Any) -> Mailing:
        """A further replica, or one with other settings."""
        values = {**self.settings.model_dump(), **settings}
        return await build(NotificationSettings(**values), self.pool, self.resources, self.clock)


async def build(
    settings: NotificationSettings, pool: "asyncpg.Pool[asyncpg.Record]", resources: AsyncExitStack, clock: Clock
) -> Mailing:
    credentials = grpc_client.ServiceCredentials(signing.SERVICE_SECRET, "notification")
    mailing = await start_mailing(settings, pool, credentials, resources, clock)
    assert mailing is not None
    return mailing


@asynccontextmanager
async def mail_house(postgres: PostgresServer, receiver: Receiver, **settings: Any) -> AsyncIterator[MailHouse]:
    """Everything, on fresh databases."""
    async with AsyncExitStack() as stack:
        accounts = await stack.enter_async_context(account_service(postgres))
        graphs = await stack.enter_async_context(graph_service(postgres))
        await graphs.register(BLOCKS)
        url = stack.enter_context(migrated_database(postgres.url, "notification"))
        own = as_role(url, "notification")
        pool = await stack.enter_async_context(database.connect(own, "notification", pool_size=5))
        values: dict[str, Any] = {
            **signing.SETTINGS,
            "database_url": own,
            "account_address": accounts.address,
            "graph_address": graphs.address,
            "smtp_host": "127.0.0.1",
            "smtp_port": receiver.port,
            "smtp_security": "none",
            "smtp_timeout": 5,
            "mail_sender": "Blockyard <by@example.com>",
            "public_url": "https://blockyard.example.org",
            "mails_per_hour": 3,
            **settings,
        }
        clock, checked = Clock(), NotificationSettings(**values)
        mailing = await build(checked, pool, stack, clock)
        choices = choices_of(checked, pool, clock)
        yield MailHouse(accounts, graphs, url, receiver, pool, clock, checked, stack, mailing, choices)
