"""What the users of NATS may do, and what they may not, tried on a server that has them."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from blockyard.dev import nats_users
from blockyard.dev.nats import NatsServer, start_nats
from nats.aio.client import Client
from structlog.testing import capture_logs

from services.common.bus import EVENTS, RESULTS, TASKS, Delivery, Message, NotConnected, PullConsumer, connect
from tests.integration.bus.conftest import longer
from tests.waiting import until

OPERATING = Path(__file__).parents[3] / "docs" / "operating.md"
POOLS = ["default", "gpu"]
RUNNER = "runner.default"

PUBLISHING = [
    # What a runner could lie with.
    (RUNNER, "blockyard.event.anna.graph.execution"),
    (RUNNER, "blockyard.task.default"),
    (RUNNER, "blockyard.task.gpu"),
    (RUNNER, "blockyard.runner.default-another"),
    (RUNNER, "blockyard.command.0"),
    (RUNNER, "blockyard.notice.anna"),
    (RUNNER, "_INBOX.execution.token.1"),
    (RUNNER, "_INBOX.runner.gpu.token.1"),
    # What a runner could break or read.
    (RUNNER, "$JS.API.STREAM.DELETE.TASKS"),
    (RUNNER, "$JS.API.STREAM.PURGE.RESULTS"),
    (RUNNER, "$JS.API.STREAM.CREATE.OWN"),
    (RUNNER, "$JS.API.STREAM.UPDATE.TASKS"),
    (RUNNER, "$JS.API.STREAM.NAMES"),
    (RUNNER, "$JS.API.STREAM.MSG.GET.RESULTS"),
    (RUNNER, "$JS.API.STREAM.MSG.DELETE.RESULTS"),
    (RUNNER, "$JS.API.DIRECT.GET.EVENTS"),
    (RUNNER, "$JS.API.CONSUMER.CREATE.EVENTS"),
    (RUNNER, "$JS.API.CONSUMER.CREATE.EVENTS.spy.blockyard.event.>"),
    (RUNNER, "$JS.API.CONSUMER.CREATE.RESULTS.spy.blockyard.result.0"),
    (RUNNER, "$JS.API.CONSUMER.CREATE.TASKS.spy.blockyard.task.default"),
    (RUNNER, "$JS.API.CONSUMER.CREATE.TASKS.pool-gpu.blockyard.task.gpu"),
    (RUNNER, "$JS.API.CONSUMER.DURABLE.CREATE.TASKS.pool-default"),
    (RUNNER, "$JS.API.CONSUMER.MSG.NEXT.TASKS.pool-gpu"),
    (RUNNER, "$JS.API.CONSUMER.DELETE.TASKS.pool-default"),
    (RUNNER, "$JS.ACK.RESULTS.partition-0-1.1.1.1.1.0"),
    (RUNNER, "$JS.ACK.TASKS.pool-gpu.1.1.1.1.0"),
    # The execution service takes no tasks, claims nothing, and the streams of others are none of its business.
    ("execution", "blockyard.claim.0"),
    ("execution", "blockyard.heartbeat"),
    ("execution", "$JS.API.STREAM.MSG.GET.NOTICES"),
    ("execution", "_INBOX.credentials.token.1"),
    ("execution", "$JS.API.STREAM.DELETE.NOTICES"),
    ("execution", "$JS.API.STREAM.PURGE.TASKS"),
    ("execution", "$JS.API.CONSUMER.MSG.NEXT.TASKS.pool-default"),
    ("execution", "$JS.ACK.TASKS.pool-default.1.1.1.1.0"),
    # The vault and the account service tell users of something, and that is all.
    *(
        (user, subject)
        for user in ("credentials", "account")
        for subject in (
            "blockyard.task.default",
            "blockyard.event.anna.graph.execution",
            "blockyard.runner.default-1",
            "$JS.API.STREAM.DELETE.NOTICES",
            "$JS.API.STREAM.CREATE.EVENTS",
            "$JS.API.STREAM.MSG.GET.NOTICES",
            "$JS.API.CONSUMER.CREATE.NOTICES.spy.blockyard.notice.>",
        )
    ),
]
LISTENING = [
    (RUNNER, ">"),
    (RUNNER, "blockyard.>"),
    (RUNNER, "blockyard.result.>"),
    (RUNNER, "blockyard.event.>"),
    (RUNNER, "blockyard.task.default"),
    (RUNNER, "blockyard.command.0"),
    (RUNNER, "blockyard.heartbeat"),
    (RUNNER, "blockyard.claim.*"),
    (RUNNER, "_INBOX.>"),
    (RUNNER, "_INBOX.runner.>"),
    (RUNNER, "_INBOX.runner.gpu.>"),
    (RUNNER, "_INBOX.execution.>"),
    (RUNNER, "$JS.API.>"),
    (RUNNER, "$JS.ACK.>"),
    ("execution", ">"),
    ("execution", "_INBOX.>"),
    ("execution", "_INBOX.runner.>"),
    ("execution", "blockyard.notice.>"),
    ("execution", "blockyard.result.>"),
    ("credentials", "blockyard.event.>"),
    ("credentials", "_INBOX.account.>"),
    ("credentials", "blockyard.notice.>"),
    ("account", "blockyard.event.>"),
    ("account", "_INBOX.credentials.>"),
    ("account", "blockyard.result.>"),
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, runner: asyncio.Runner) -> Iterator[NatsServer]:
    """A server with the users of two pools."""
    passwords = {name: f"password-of-{name}" for name in nats_users.names(POOLS)}
    users = nats_users.users(POOLS, passwords)
    server = runner.run(start_nats(tmp_path_factory.mktemp("nats") / "data", users=users))
    yield server
    runner.run(server.kill())


class Attempts:
    """A client of one user, which asks plainly and notes what it is refused."""

    def __init__(self, client: Client, refused: list[str]) -> None:
        self._client = client
        self.refused = refused

    async def publish(self, subject: str) -> None:
        await self._client.publish(subject, b"{}")
        await self._client.flush()

    async def subscribe(self, subject: str) -> None:
        await self._client.subscribe(subject)
        await self._client.flush()


@asynccontextmanager
async def as_user(server: NatsServer, user: str) -> AsyncIterator[Attempts]:
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    client = await nats.connect(server.url_of(user), error_cb=note, allow_reconnect=False)
    try:
        yield Attempts(client, refused)
    finally:
        await client.close()


@pytest.mark.parametrize(("user", "subject"), PUBLISHING)
async def test_what_a_user_has_no_right_to_publish_is_refused(guarded: NatsServer, user: str, subject: str) -> None:
    async with as_user(guarded, user) as attempts:
        await attempts.publish(subject)
        said = await until(lambda: attempts.refused, "the server refuses it", 5)

    assert f'permissions violation for publish to "{subject.lower()}"' in said[0].lower()


@pytest.mark.parametrize(("user", "subject"), LISTENING)
async def test_what_a_user_has_no_right_to_hear_is_refused(guarded: NatsServer, user: str, subject: str) -> None:
    async with as_user(guarded, user) as attempts:
        await attempts.subscribe(subject)
        said = await until(lambda: attempts.refused, "the server refuses it", 5)

    assert f'permissions violation for subscription to "{subject.lower()}"' in said[0].lower()


@pytest.mark.parametrize("user", [name for name in nats_users.names(POOLS) if name != nats_users.DEVELOPER])
async def test_what_stands_in_the_list_of_a_user_is_allowed(guarded: NatsServer, user: str) -> None:
    granted = guarded.users[user]
    async with as_user(guarded, user) as attempts:
        for subject in granted.publish:
            await attempts.publish(subject.replace("*", "some").replace(">", "thing"))
        for subject in granted.subscribe:
            await attempts.subscribe(subject)

    assert not attempts.refused
    assert granted.publish
    assert granted.subscribe


@pytest.mark.parametrize(
    ("user", "password"), [("execution", "wrong"), ("nobody", "password-of-execution"), ("execution", ""), ("", "")]
)
async def test_who_does_not_know_the_password_of_a_user_gets_nowhere(
    guarded: NatsServer, user: str, password: str
) -> None:
    url = f"nats://{user}:{password}@{guarded.address}" if user else f"nats://{guarded.address}"
    with capture_logs() as logged:
        using = asyncio.create_task(_connected(url))
        await until(lambda: any("authorization violation" in str(one).lower() for one in logged), "it is logged", 10)
        using.cancel()
        await asyncio.wait({using})

    assert using.cancelled()
    assert "wrong" not in str(logged)


async def _connected(url: str) -> None:
    async with connect(url, "test"):
        pass


async def test_the_bus_works_between_the_execution_service_and_a_runner_with_nothing_but_their_rights(
    tmp_path: Path,
) -> None:
    users = nats_users.users(POOLS, {name: f"password-of-{name}" for name in nats_users.names(POOLS)})
    async with await start_nats(tmp_path / "nats", users=users) as server:
        with capture_logs() as logged:
            await _one_round(server)

    assert not [one for one in logged if "permissions violation" in str(one).lower()]


async def _one_round(server: NatsServer) -> None:
    """A task goes out, its claim is answered, its result comes in, an event is told and heard."""
    async with (
        connect(server.url_of("execution"), "execution") as execution,
        connect(server.url_of(RUNNER), "runner") as runner,
    ):
        assert set(await execution.ensure_streams()) == {TASKS, RESULTS, EVENTS}

        def grant(claim: Delivery) -> None:
            execution.publish_now(claim.reply, b"granted")

        claims = await execution.subscribe("blockyard.claim.0", grant)
        tasks = PullConsumer(runner, TASKS, "pool-default", "blockyard.task.default")
        results: list[bytes] = []
        heard: list[bytes] = []
        await execution.subscribe("blockyard.event.anna.*.*", lambda delivery: heard.append(delivery.data))
        await execution.publish_all([Message("blockyard.task.default", b"task")])
        (task,) = await tasks.fetch(1, 10)
        assert (await runner.request("blockyard.claim.0", task.data, 5)).data == b"granted"
        claims.unsubscribe()
        async with execution.push_consumer(
            RESULTS,
            "partition-0-1",
            "blockyard.result.0",
            lambda delivery: results.append(delivery.data),
            on_lost=results.append,  # type: ignore[arg-type]  # whatever is heard of a loss fails the comparison
        ):
            await runner.publish_all([Message("blockyard.result.0", b"result", "id")])
            await until(longer(results, 0), "the result comes in")
        await execution.publish_all([Message("blockyard.event.anna.graph.execution", b"event")])
        await until(longer(heard, 0), "the event is heard")
        tasks.ack_all([task])
        await tasks.close()
        assert (results, heard) == ([b"result"], [b"event"])


async def test_a_right_that_was_taken_away_is_told_of_in_the_log(guarded: NatsServer) -> None:
    async with connect(guarded.url_of("account"), "account") as bus:
        with capture_logs() as logged:
            bus.publish_now("blockyard.task.default", b"")
            await bus.flush()
            (said,) = [one for one in logged if one["log_level"] == "error"]

    assert said["event"] == "NATS does not let this process do something"
    assert 'permissions violation for publish to "blockyard.task.default"' in said["reason"]


async def test_users_are_there_again_after_the_store_was_wiped(tmp_path: Path) -> None:
    users = nats_users.users(["default"], dict.fromkeys(nats_users.names(["default"]), "secret"))
    async with (
        await start_nats(tmp_path / "nats", users=users) as server,
        connect(server.url_of("execution"), "execution") as bus,
    ):
        await bus.ensure_streams()
        await server.wipe()
        await until(lambda: not bus.connected, "the connection is lost")
        with pytest.raises(NotConnected):
            await bus.stream_info(TASKS)
        await server.start()
        await until(lambda: bus.connected, "there is a connection again")
        assert await bus.stream_info(TASKS) is None
        assert TASKS in await bus.ensure_streams()


def test_the_documentation_lists_every_right_of_every_user() -> None:
    documented = {
        (user, right, subject, purpose)
        for user, right, subject, purpose in re.findall(
            r"^\| `([^`]+)` \| (publish|subscribe|import) \| `([^`]+)` \| (.+) \|$", OPERATING.read_text(), re.M
        )
    }

    assert documented == {
        (user, right, subject, purpose)
        for user, one in nats_users.rights().items()
        for right, subjects in (("import", one.imports), ("publish", one.publish), ("subscribe", one.subscribe))
        for subject, purpose in subjects.items()
    }
