"""Callers of another service, which asks the account service who they are."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from blockyard.account.v1 import account_service_pb2 as messages
from blockyard.account.v1.account_pb2 import (
    USER_ROLE_ADMIN,
    USER_ROLE_UNSPECIFIED,
    USER_ROLE_VIEWER,
    USER_STATE_DISABLED,
    AuditEntry,
)
from blockyard.account.v1.identity_service_pb2 import (
    ApiKeyProof,
    IdentifyRequest,
    IdentifyResponse,
    RecordActionsRequest,
    TokenClaims,
)
from blockyard.dev.postgres import PostgresServer
from blockyard.graph.v1 import graph_service_pb2
from google.protobuf.message import Message
from grpc import StatusCode

from services.account.api_keys import digest_of
from services.common import identity
from tests import signing
from tests.integration.account import service as account
from tests.integration.graph.service import Caller, Service, graph_service, refusal
from tests.unit.common.key_server import ISSUER, KeyServer, ec_key
from tests.unit.graph.building import BLOCKS, small_graph
from tests.waiting import until

LIST = graph_service_pb2.ListGraphsRequest()
CREATE = graph_service_pb2.CreateGraphRequest(graph=small_graph())


@dataclass(eq=False)
class House:
    """The account service and a graph service that asks it."""

    account: account.Service
    graph: Service

    def key_holder(self, key: str) -> Caller:
        return self.graph.holder_of(key)


@asynccontextmanager
async def house(postgres: PostgresServer, **settings: Any) -> AsyncIterator[House]:
    async with (
        account.account_service(postgres) as accounts,
        graph_service(postgres, account_address=accounts.address, **settings) as graphs,
    ):
        await graphs.register(BLOCKS)
        yield House(accounts, graphs)


@pytest.fixture(scope="module")
def home(runner: asyncio.Runner, postgres: PostgresServer) -> Iterator[House]:
    stack = AsyncExitStack()
    try:
        yield runner.run(stack.enter_async_context(house(postgres)))
    finally:
        runner.run(stack.aclose())


async def reason(caller: Caller, method: str = "ListGraphs", request: Message = LIST) -> str:
    """Why a call is refused; empty if it is not."""
    try:
        await caller.call(method, request)
    except grpc.aio.AioRpcError as error:
        return refusal(error).reason
    return ""


async def test_an_api_key_calls_another_service_as_its_user(home: House) -> None:
    maker = home.account.user("anna")
    everything, reading = await maker.make_key(), await maker.make_key("READ_GRAPHS")

    made = await home.key_holder(everything.key).call("CreateGraph", CREATE)
    seen = await home.graph.user("anna").call("ListGraphs", LIST)

    assert made.graph.id in [graph.id for graph in seen.graphs]
    assert await reason(home.key_holder(reading.key)) == ""
    assert await reason(home.key_holder(reading.key), "CreateGraph", CREATE) == "PERMISSION_DENIED"


async def test_a_key_that_is_revoked_is_refused_by_another_service_within_five_seconds(home: House) -> None:
    maker = home.account.user("brenda")
    made = await maker.make_key()
    caller = home.key_holder(made.key)
    await caller.call("ListGraphs", LIST)

    await maker.call("RevokeApiKey", messages.RevokeApiKeyRequest(api_key_id=made.api_key.id))
    revoked_at = time.monotonic()

    async def refused() -> bool:
        return await reason(caller) == "API_KEY_INVALID"

    await until(refused, "the key is refused")
    assert time.monotonic() - revoked_at < 5


async def test_a_role_that_is_set_holds_in_another_service(home: House) -> None:
    caller = home.graph.user("carla", "admin")
    await caller.call("ListGraphs", LIST)

    await home.account.admin().call(
        "SetUserAccess", messages.SetUserAccessRequest(user_id="carla", role=USER_ROLE_VIEWER)
    )

    async def refused() -> bool:
        return await reason(caller, "CreateGraph", CREATE) == "PERMISSION_DENIED"

    await until(refused, "a viewer may not create graphs", seconds=5)
    assert await reason(caller) == ""


async def test_a_disabled_user_is_refused_by_another_service_with_token_and_key(home: House) -> None:
    made = await home.account.user("dora").make_key()
    callers = [home.graph.user("dora"), home.key_holder(made.key)]
    for caller in callers:
        await caller.call("ListGraphs", LIST)

    await home.account.admin().call(
        "SetUserAccess", messages.SetUserAccessRequest(user_id="dora", state=USER_STATE_DISABLED)
    )

    async def refused() -> bool:
        return [await reason(caller) for caller in callers] == ["USER_DISABLED"] * 2

    await until(refused, "the user is refused", seconds=5)


async def test_calls_of_another_service_that_change_something_are_audited(home: House) -> None:
    caller = home.graph.user("elsa")
    made = await caller.call("CreateGraph", CREATE)
    await caller.call("ListGraphs", LIST)
    await caller.call("DeleteGraph", graph_service_pb2.DeleteGraphRequest(graph_id=made.graph.id))
    await caller.refused("DeleteGraph", graph_service_pb2.DeleteGraphRequest(graph_id=made.graph.id))

    async def noted() -> list[AuditEntry]:
        request = messages.ListAuditEntriesRequest(actor="elsa")
        entries = (await home.account.admin("auditor").call("ListAuditEntries", request)).entries
        return list(entries) if len(entries) == 3 else []

    entries = await until(noted, "three calls are noted")
    assert [(one.action.rpartition("/")[2], one.outcome) for one in entries] == [
        ("DeleteGraph", "GRAPH_NOT_FOUND"),
        ("DeleteGraph", "OK"),
        ("CreateGraph", "OK"),
    ]
    assert {one.resource for one in entries} == {f"graphs/{made.graph.id}"}


async def test_while_the_account_service_is_away_tokens_go_on_and_keys_for_seconds(postgres: PostgresServer) -> None:
    async with AsyncExitStack() as stack:
        accounts = await stack.enter_async_context(account.account_service(postgres))
        async with AsyncExitStack() as present:
            replica = await present.enter_async_context(account.replica(accounts.database_url))
            graphs = await stack.enter_async_context(graph_service(postgres, account_address=replica.address))
            key = (await accounts.user("fran").make_key()).key
            for caller in (graphs.user("fran"), graphs.holder_of(key)):
                await caller.call("ListGraphs", LIST)

        async def away() -> bool:
            return await reason(graphs.holder_of(key)) == "UNAVAILABLE"

        await until(away, "the key cannot be checked", seconds=10)
        assert await reason(graphs.user("fran")) == ""
        assert await reason(graphs.user("a-stranger")) == ""


async def test_what_is_done_while_the_account_service_is_away_is_audited_when_it_is_back(
    postgres: PostgresServer,
) -> None:
    async with AsyncExitStack() as stack:
        accounts = await stack.enter_async_context(account.account_service(postgres))
        async with AsyncExitStack() as present:
            replica = await present.enter_async_context(account.replica(accounts.database_url))
            port = int(replica.address.rpartition(":")[2])
            graphs = await stack.enter_async_context(graph_service(postgres, account_address=replica.address))
            await graphs.register(BLOCKS)
        made = await graphs.user("greta").call("CreateGraph", CREATE)

        await stack.enter_async_context(account.replica(accounts.database_url, port=port))

        async def noted() -> list[str]:
            request = messages.ListAuditEntriesRequest(actor="greta")
            entries = (await accounts.admin("auditor").call("ListAuditEntries", request)).entries
            return [one.resource for one in entries]

        assert await until(noted, "it is noted") == [f"graphs/{made.graph.id}"]


async def test_without_an_account_service_keys_are_refused_in_words(postgres: PostgresServer) -> None:
    async with graph_service(postgres) as graphs:
        refused = await graphs.holder_of("by_abcdefgh_" + "a" * 43).refused("ListGraphs", LIST)

    assert (refused.code, refused.reason) == (StatusCode.UNAUTHENTICATED, "API_KEY_INVALID")
    assert "no account service" in refused.message


async def test_tokens_of_an_identity_provider_are_taken_beside_those_of_the_secret(postgres: PostgresServer) -> None:
    key = ec_key("key-1")
    async with AsyncExitStack() as stack:
        accounts = await stack.enter_async_context(account.account_service(postgres))
        server = await stack.enter_async_context(KeyServer([key.described()]))
        graphs = await stack.enter_async_context(
            graph_service(postgres, account_address=accounts.address, jwks_url=server.url, jwt_issuer=ISSUER)
        )
        await graphs.register(BLOCKS)
        caller = graphs.holder_of(key.token(sub="auth0|jo.ann", role="user", name="Jo Ann"))

        made = await caller.call("CreateGraph", CREATE)
        wrong = await reason(graphs.holder_of(ec_key("key-1").token(sub="auth0|jo.ann")))

        assert await reason(graphs.user("auth0|jo.ann")) == ""
        assert [graph.id for graph in (await caller.call("ListGraphs", LIST)).graphs] == [made.graph.id]
        user = (await accounts.admin().call("GetUser", messages.GetUserRequest(user_id="auth0|jo.ann"))).user
    assert wrong == "TOKEN_INVALID"
    assert user.name == "Jo Ann"


async def test_the_account_service_tells_other_services_who_calls(home: House) -> None:
    made = await home.account.user("hedy").make_key("READ_ACCOUNT")
    services = home.account.service()

    async def identify(**caller: Any) -> IdentifyResponse:
        answer: IdentifyResponse = await services.call("Identify", IdentifyRequest(**caller))
        return answer

    key = await identify(api_key=ApiKeyProof(prefix=made.api_key.prefix, digest=digest_of(made.key)))
    nobody = await identify(api_key=ApiKeyProof(prefix="aaaaaaaa", digest=bytes(32)))
    admin = await identify(token=TokenClaims(user_id="ida", role=USER_ROLE_ADMIN, name="Ida", email="ida@example.org"))
    plain = await identify(token=TokenClaims(user_id="ida", role=USER_ROLE_UNSPECIFIED))

    assert (key.known, key.user_id, key.active, key.api_key_id) == (True, "hedy", True, made.api_key.id)
    assert list(key.permissions) == list(made.api_key.permissions)
    assert not nobody.known
    assert (admin.role, plain.role, plain.user_id) == (USER_ROLE_ADMIN, USER_ROLE_ADMIN, "ida")
    assert all(0 < answer.valid.ToMilliseconds() <= 3000 for answer in (key, nobody, admin, plain))
    user = (await home.account.admin().call("GetUser", messages.GetUserRequest(user_id="ida"))).user
    assert (user.name, user.email) == ("Ida", "ida@example.org")


async def test_a_user_who_does_not_call_is_told_of_by_id(home: House) -> None:
    services = home.account.service()

    async def told(user_id: str) -> tuple[bool, bool, int]:
        answer: IdentifyResponse = await services.call("Identify", IdentifyRequest(user_id=user_id))
        return answer.known, answer.active, answer.role

    assert await told("nobody-yet") == (False, False, 0)
    await home.graph.user("gina").call("ListGraphs", LIST)
    assert (await told("gina"))[:2] == (True, True)
    access = messages.SetUserAccessRequest(user_id="gina", state=USER_STATE_DISABLED)
    await home.account.admin().call("SetUserAccess", access)
    assert (await told("gina"))[:2] == (True, False)


@pytest.mark.parametrize(
    "request_",
    [
        IdentifyRequest(),
        IdentifyRequest(user_id="a b"),
        IdentifyRequest(token=TokenClaims(user_id="")),
        IdentifyRequest(token=TokenClaims(user_id="service:graph")),
        IdentifyRequest(token=TokenClaims(user_id="a b")),
        IdentifyRequest(api_key=ApiKeyProof(prefix="x", digest=b"short")),
        IdentifyRequest(api_key=ApiKeyProof(prefix="\x00", digest=bytes(32))),
    ],
)
async def test_a_question_that_names_nobody_is_refused(home: House, request_: IdentifyRequest) -> None:
    refused = await home.account.service().refused("Identify", request_)

    assert refused.code is StatusCode.INVALID_ARGUMENT


async def test_neither_users_nor_runners_ask_who_calls(home: House) -> None:
    callers = [
        home.account.admin(),
        home.account.holder_of(signing.runner_token()),
        home.account.holder_of(identity.service_token(signing.JWT_SECRET, "graph")),
        home.account.holder_of(None),
    ]
    for caller in callers:
        for method, request in (("Identify", IdentifyRequest()), ("RecordActions", RecordActionsRequest())):
            refused = await caller.refused(method, request)
            assert refused.code in (StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED)
