"""What runs keep beyond their execution: whose it is, that each write is made once, and what is refused."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest
from blockyard.block.stored_values import LARGEST_VALUE, LONGEST_KEY
from blockyard.dev.postgres import PostgresServer
from blockyard.errors import from_rpc_error
from blockyard.execution.v1 import execution_service_pb2 as calls
from blockyard.runner.v1 import value_service_pb2 as messages
from blockyard.runner.v1.value_service_pb2_grpc import ValueServiceStub

from services.common import identity, migrate
from services.common.ids import first_id, new_id
from services.execution.large_values import LargeValues
from services.execution.repository.retention import Retention
from services.execution.retiring import drop_old
from tests import signing
from tests.integration.execution.house import SECRET, House, house
from tests.integration.execution.test_lost_commits import looking
from tests.integration.execution.test_retiring import blob_store, execution_of
from tests.stack.postgres import fresh_database

WITHIN, ACROSS = messages.VALUE_SCOPE_WITHIN_AGENT, messages.VALUE_SCOPE_ACROSS_AGENTS


@dataclass(eq=False)
class Task:
    """A run that puts and gets, as its runner does for it."""

    built: House
    execution_id: UUID
    node_execution: int = 1
    attempt: int = 1
    token: str = ""
    replica: int = 0

    async def put(self, key: str, value: Any, scope: messages.ValueScope.ValueType = WITHIN, number: int = 0) -> None:
        encoded = b"" if value is None else json.dumps(value).encode()
        await self.send_put(messages.ValueKey(scope=scope, key=key), encoded, number)

    async def send_put(self, key: messages.ValueKey, value: bytes, number: int = 0) -> None:
        request = messages.PutValueRequest(task=self._named(), key=key, value=value, number=number)
        await self._stub().PutValue(request, metadata=self._metadata(), timeout=20)

    async def get(self, key: str, scope: messages.ValueScope.ValueType = WITHIN) -> Any:
        place = messages.ValueKey(scope=scope, key=key)
        request = messages.GetValueRequest(task=self._named(), key=place)
        answer = await self._stub().GetValue(request, metadata=self._metadata(), timeout=20)
        return json.loads(answer.value) if answer.value else None

    def _named(self) -> messages.ValueTask:
        return messages.ValueTask(
            execution_id=self.execution_id.bytes, node_execution=self.node_execution, attempt=self.attempt
        )

    def _stub(self) -> Any:  # the generated stub: its type depends on the kind of channel
        return ValueServiceStub(self.built.replicas[self.replica].channel)

    def _metadata(self) -> list[tuple[str, str]]:
        token = self.token or signing.runner_token()
        return [("authorization", f"Bearer {token}")]


Starting = Callable[..., Any]


@asynccontextmanager
async def values_house(postgres: PostgresServer, **settings: Any) -> AsyncIterator[tuple[House, Starting]]:
    """A replica, and how an execution is started whose runs never end since there is no runner."""
    async with house(postgres, **settings) as built:
        await built.add_replica()

        async def started(graph_id: str = "graph", user_id: str = "anna") -> UUID:
            builder = built.graph(graph_id, user_id)
            builder.node("work")
            built.catalogue.add(builder)
            return UUID((await built.client(user_id).start(graph_id)).id)

        yield built, started


def refusal(failed: "pytest.ExceptionInfo[grpc.aio.AioRpcError]") -> tuple[str, str]:
    """(status code, message with what is wrong)"""
    return failed.value.code().name, str(from_rpc_error(failed.value))


async def test_another_execution_of_the_graph_gets_what_one_has_put(postgres: PostgresServer) -> None:
    async with values_house(postgres) as (built, started):
        value = {"numbers": [1, 2.5, 2**63], "text": "Grüße", "nothing": None}
        await Task(built, await started()).put("seen", value)

        assert await Task(built, await started()).get("seen") == value
        assert await Task(built, await started()).get("unseen") is None


async def test_graphs_are_apart_within_an_agent_and_share_what_is_across_agents(postgres: PostgresServer) -> None:
    async with values_house(postgres) as (built, started):
        one, two = Task(built, await started("one")), Task(built, await started("two"))
        await one.put("key", "of one")
        await one.put("key", "of all", ACROSS)

        assert await two.get("key") is None
        assert await two.get("key", ACROSS) == "of all"
        assert await one.get("key") == "of one"


async def test_users_see_nothing_of_each_other(postgres: PostgresServer) -> None:
    async with values_house(postgres) as (built, started):
        await Task(built, await started("graph", "anna")).put("key", "anna's", ACROSS)
        bens = Task(built, await started("graph-of-ben", "ben"))

        assert await bens.get("key", ACROSS) is None
        await bens.put("key", "ben's", ACROSS)

        assert await Task(built, await started("graph", "anna")).get("key", ACROSS) == "anna's"


async def test_a_repeated_write_changes_nothing_whatever_was_put_meanwhile(postgres: PostgresServer) -> None:
    async with values_house(postgres) as (built, started):
        execution_id = await started()
        first = Task(built, execution_id, node_execution=1)
        await first.put("key", "old")
        await Task(built, execution_id, node_execution=2).put("key", "new")

        await first.put("key", "old")
        await Task(built, execution_id, node_execution=1, attempt=2).put("key", "old")
        await Task(built, execution_id, node_execution=1, attempt=2).put("key", None)

        assert await first.get("key") == "new"


async def test_further_writes_of_one_task_are_writes_of_their_own(postgres: PostgresServer) -> None:
    async with values_house(postgres) as (built, started):
        task = Task(built, await started())
        await task.put("key", 1, number=0)
        await task.put("key", 2, number=1)
        await task.put("other", 3, number=0)
        await task.put("key", 4, ACROSS, number=0)

        assert [await task.get("key"), await task.get("other"), await task.get("key", ACROSS)] == [2, 3, 4]


async def test_writes_at_once_by_many_tasks_and_their_repeats_all_end_and_are_noted_once(
    postgres: PostgresServer,
) -> None:
    async with values_house(postgres) as (built, started), looking(built) as rows:
        execution_id = await started()
        await built.add_replica()
        numbers = [number for number in range(1, 41) for _ in range(3)]

        await asyncio.gather(
            *(
                Task(built, execution_id, number, replica=at % 2).put(f"key {number % 4}", number)
                for at, number in enumerate(numbers)
            )
        )

        assert await rows.fetchval("SELECT count(*) FROM value_writes") == 40
        kept = {f"key {n}": await Task(built, execution_id).get(f"key {n}") for n in range(4)}
        assert all(value % 4 == int(key[-1]) for key, value in kept.items())


async def test_null_removes_a_value(postgres: PostgresServer) -> None:
    async with values_house(postgres, values_of_user=1) as (built, started):
        execution_id = await started()
        await Task(built, execution_id, 1).put("one", 1)
        await Task(built, execution_id, 2).put("one", None)
        await Task(built, execution_id, 3).put("never there", None)
        await Task(built, execution_id, 4).put("two", 2)

        assert [await Task(built, execution_id).get(key) for key in ("one", "two")] == [None, 2]


async def test_no_more_values_are_kept_than_allowed_however_many_come_at_once(postgres: PostgresServer) -> None:
    async with values_house(postgres, values_of_user=5) as (built, started), looking(built) as rows:
        execution_id = await started()
        await built.add_replica()
        bens = await started("graph-of-ben", "ben")

        answers = await asyncio.gather(
            *(Task(built, execution_id, n, replica=n % 2).put(f"key {n}", n, ACROSS) for n in range(1, 21)),
            return_exceptions=True,
        )

        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert len(refused) == 15
        assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        message = str(from_rpc_error(refused[0]))
        assert message.startswith("5 values are kept for a user, which is the limit: persist null")
        assert "BLOCKYARD_VALUES_OF_USER" in message
        kept = await rows.fetch("SELECT key FROM stored_values")
        assert len(kept) == 5
        # Others of the user can be replaced, and other users have values of their own.
        await Task(built, execution_id, 30).put(kept[0]["key"], "replaced", ACROSS)
        await Task(built, bens).put("key", 1)


async def test_a_write_that_was_refused_can_be_repeated_when_there_is_room(postgres: PostgresServer) -> None:
    async with values_house(postgres, values_of_user=1) as (built, started):
        execution_id = await started()
        await Task(built, execution_id, 1).put("one", 1)
        with pytest.raises(grpc.aio.AioRpcError):
            await Task(built, execution_id, 2).put("two", 2)
        await Task(built, execution_id, 3).put("one", None)

        await Task(built, execution_id, 2, attempt=2).put("two", 2)

        assert await Task(built, execution_id).get("two") == 2


async def test_runs_of_executions_that_are_unknown_or_have_ended_are_refused(postgres: PostgresServer) -> None:
    async with values_house(postgres) as (built, started):
        unknown, ended = Task(built, new_id()), Task(built, await started())
        await ended.put("key", "before")
        await built.client().call("StopExecution", calls.StopExecutionRequest(execution_id=str(ended.execution_id)))
        codes = []
        for task in (unknown, ended):
            with pytest.raises(grpc.aio.AioRpcError) as failed_put:
                await task.put("key", "after", number=1)
            with pytest.raises(grpc.aio.AioRpcError) as failed_get:
                await task.get("key")
            codes += [refusal(failed_put)[0], refusal(failed_get)[0]]

        assert codes == ["NOT_FOUND", "NOT_FOUND", "FAILED_PRECONDITION", "FAILED_PRECONDITION"]
        assert await Task(built, await started()).get("key") == "before"


async def test_users_have_no_access_by_their_own_tokens(postgres: PostgresServer) -> None:
    async with values_house(postgres) as (built, started):
        task = Task(built, await started(), token=identity.user_token(SECRET, "anna", "admin", 60))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await task.get("key")
        assert refusal(failed)[0] == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("key", "scope", "value", "says"),
    [
        ("", WITHIN, b"1", "key.key: key: must not be empty"),
        ("k" * (LONGEST_KEY + 1), WITHIN, b"1", "key.key: key: 501 characters, at most 500 are taken"),
        ("a\0b", WITHIN, b"1", "key.key: key: holds NUL"),
        ("key", messages.VALUE_SCOPE_UNSPECIFIED, b"1", "key.scope: is none that there is: 0"),
        ("key", WITHIN, b"{", "value: is no JSON"),
        ("key", WITHIN, b'"%s"' % (b"v" * LARGEST_VALUE), "value: 1,048,578 bytes, at most 1,048,576 are kept"),
    ],
)
async def test_what_cannot_be_kept_is_refused(
    postgres: PostgresServer, key: str, scope: messages.ValueScope.ValueType, value: bytes, says: str
) -> None:
    async with values_house(postgres) as (built, started):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await Task(built, await started()).send_put(messages.ValueKey(scope=scope, key=key), value)
        code, message = refusal(failed)
        assert code == "INVALID_ARGUMENT"
        assert says in message


async def test_the_longest_key_and_the_largest_value_are_kept(postgres: PostgresServer) -> None:
    async with values_house(postgres) as (built, started):
        task = Task(built, await started())
        key, value = "\U0001f600" * LONGEST_KEY, "v" * (LARGEST_VALUE - 2)
        await task.put(key, value)
        assert await task.get(key) == value


async def test_writes_go_with_their_execution_and_values_stay(postgres: PostgresServer) -> None:
    async with values_house(postgres) as (built, _), looking(built) as rows:
        pool = await asyncpg.create_pool(built.database_url, server_settings={"search_path": "execution"})
        long_ago = datetime.now(UTC) - timedelta(days=80)
        old = await execution_of(rows, long_ago, status=2)
        await Task(built, old).put("key", "kept")
        await rows.execute("UPDATE executions SET status = 4, end_time = $1", long_ago)

        await drop_old(Retention(pool), LargeValues(blob_store(built)), datetime.now(UTC) - timedelta(days=30))

        await pool.close()
        assert await rows.fetchval("SELECT count(*) FROM executions") == 0
        assert await rows.fetchval("SELECT count(*) FROM value_writes") == 0
        assert await rows.fetchval("SELECT convert_from(value, 'UTF8') FROM stored_values") == '"kept"'


async def test_an_execution_that_runs_since_before_the_migration_keeps_values(postgres: PostgresServer) -> None:
    with fresh_database(postgres.url) as url:
        await asyncio.to_thread(migrate.migrate, url, ["execution"], {"execution": None})
        rows = await asyncpg.connect(url, server_settings={"search_path": "execution"})
        moment = datetime.now(UTC) - timedelta(days=25)
        await rows.execute("DROP TABLE value_writes, stored_values")
        # What came after that migration, which is applied again as well.
        await rows.execute("DROP TABLE schedules, firings, notices, triggers, trigger_deliveries")
        await rows.execute("ALTER TABLE executions DROP COLUMN credentials, DROP COLUMN credits_policy")
        await rows.execute("ALTER TABLE partitions DROP COLUMN charged_through, DROP COLUMN unsent")
        await rows.execute(
            f"CREATE TABLE turns_20200101 PARTITION OF turns FOR VALUES FROM ('{first_id(moment)}') "
            f"TO ('{first_id(moment + timedelta(days=7))}')"
        )
        await rows.execute("UPDATE alembic_version SET version_num = '0002'")
        await rows.execute("DELETE FROM migration_history WHERE revision > '0002'")

        await asyncio.to_thread(migrate.migrate, url, ["execution"], {"execution": None})

        added = UUID(int=first_id(moment).int + 1)
        await rows.execute("INSERT INTO value_writes VALUES ($1, 1, 'user', 'key', 0)", added)
        assert await rows.fetchval("SELECT tableoid::regclass::text FROM value_writes") == "value_writes_20200101"
        await rows.close()
