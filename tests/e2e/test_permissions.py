"""Everybody tries every method of every service, on the real stack: with their own objects, and with those of others.

The methods come from the descriptors of the contract, so that a new one is tried by itself, and fails here until
permission_table.py says what is expected of it.
"""

import asyncio
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from blockyard.dev import Stack
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from examples.any_language import GRAPH
from services.common import identity
from tests.e2e.permission_table import (
    ACCOUNT,
    CREDENTIALS,
    EVERYBODY,
    EXECUTIONS,
    EXPECTED,
    GRAPHS,
    HOOK,
    PRESETS,
    SCHEDULE,
    SCHEDULES,
    TRIGGERS,
    WEBHOOKS,
)
from tests.unit.common.test_permissions import methods

CALLERS = ("nobody", "viewer", "user", "admin", "key", "service", "runner")
USERS = ("viewer", "user", "admin")
REFUSALS = {"TOKEN_MISSING", "TOKEN_INVALID", "PERMISSION_DENIED"}


@dataclass(frozen=True)
class Outcome:
    """What came of a call."""

    code: str
    reason: str = ""
    answer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """Whether the caller may not call this."""
        return self.reason in REFUSALS

    def __str__(self) -> str:
        return "yes" if self.code == "OK" else "no" if self.refused else self.reason or self.code


class House:
    """The stack as its callers see it: every service at its address."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.channels: dict[str, grpc.aio.Channel] = {}
        self.methods: dict[str, MethodDescriptor] = {name.removeprefix("/"): one for name, one in methods().items()}
        self.tokens: dict[str, str] = {}
        self.kept: dict[tuple[str, str], str] = {}

    async def open(self, resources: AsyncExitStack) -> None:
        """Find out which service is where by asking each server, and get everybody a token."""
        stack = self.stack
        for address in (
            stack.graph_address,
            stack.execution_address,
            stack.credentials_address,
            stack.account_address,
            *stack.notification_addresses,
        ):
            channel = await resources.enter_async_context(grpc.aio.insecure_channel(address))
            for name in await services_of(channel):
                self.channels[name] = channel
        folder = stack.folder
        services, runners = folder.service_secret.read_text().strip(), folder.runner_secret.read_text().strip()
        self.tokens = {role: stack.user_token(f"permitted-{role}", role) for role in USERS}
        self.tokens["service"] = identity.service_token(services, "test")
        self.tokens["runner"] = identity.service_token(runners, "runner")
        for person in ("other", "bystander"):
            assert (await self.call(ACCOUNT + "GetUser", self.setup_token(person), {})).code == "OK"
        for role in USERS:
            assert (await self.call(ACCOUNT + "GetUser", self.setup_token(role), {})).code == "OK"
        request = {"name": "graphs alone", "permissions": ["PERMISSION_READ_GRAPHS"]}
        made = await self.call(ACCOUNT + "CreateApiKey", self.tokens["user"], request)
        self.tokens["key"] = made.answer["key"]

    def setup_token(self, person: str) -> str:
        """A token with which somebody's objects are made, whatever they may do themselves."""
        return self.stack.user_token(f"permitted-{person}", "user")

    async def call(self, name: str, token: str, request: Mapping[str, Any]) -> Outcome:
        """Call a method of any kind with a request in JSON; of a stream, the first answer counts."""
        method = self.methods[name]
        message = ParseDict(dict(request), GetMessageClass(method.input_type)())
        decode = GetMessageClass(method.output_type).FromString
        channel, path = self.channels[name.partition("/")[0]], f"/{name}"
        metadata = [("authorization", f"Bearer {token}")] if token else []
        answer: Any  # a message, or what stands for the end of a stream
        try:
            if method.client_streaming:
                both = channel.stream_stream(path, type(message).SerializeToString, decode)
                answer = await both(iter([message]), metadata=metadata, timeout=20).read()
            elif method.server_streaming:
                stream = channel.unary_stream(path, type(message).SerializeToString, decode)
                call = stream(message, metadata=metadata, timeout=20)
                answer = await call.read()
                call.cancel()
            else:
                unary = channel.unary_unary(path, type(message).SerializeToString, decode)
                answer = await unary(message, metadata=metadata, timeout=20)
        except grpc.aio.AioRpcError as error:
            return Outcome(error.code().name, reason_of(error))
        return Outcome("OK", answer=MessageToDict(answer) if answer is not grpc.aio.EOF else {})

    async def filled(self, value: Any, owner: str) -> Any:
        """A request with the owner's objects where it names some."""
        if isinstance(value, dict):
            return {name: await self.filled(part, owner) for name, part in value.items()}
        if not isinstance(value, str) or not value.startswith("$"):
            return value
        if value.startswith("$new_") or value == "$unique":
            return await self.make(value.removeprefix("$new_"), owner)
        key = (owner, value)
        if key not in self.kept:
            self.kept[key] = await self.make(value.removeprefix("$"), owner)
        return self.kept[key]

    async def make(self, kind: str, owner: str) -> str:
        """A new object of somebody's; its id."""
        token = self.setup_token(owner)
        match kind:
            case "user":
                return f"permitted-{owner}"
            case "bystander":
                return "permitted-bystander"
            case "$unique":
                return f"made-{uuid.uuid4()}"
            case "graph":
                made = await self.call(GRAPHS + "CreateGraph", token, {"graph": GRAPH})
                return str(made.answer["graph"]["id"])
            case "preset":
                preset = {"graph_id": await self.filled("$graph", owner), "name": "a preset"}
                made = await self.call(PRESETS + "CreatePreset", token, {"preset": preset})
                return str(made.answer["preset"]["id"])
            case "schedule":
                made = await self.call(
                    SCHEDULES + "CreateSchedule", token, {"schedule": await self.filled(SCHEDULE, owner)}
                )
                return str(made.answer["schedule"]["id"])
            case "hooked_graph":
                node = {"id": "hook", "block_id": "GenericWebhookTriggerBlock"}
                made = await self.call(GRAPHS + "CreateGraph", token, {"graph": {"name": "hooked", "nodes": [node]}})
                return str(made.answer["graph"]["id"])
            case "trigger":
                made = await self.call(TRIGGERS + "CreateTrigger", token, {"trigger": await self.filled(HOOK, owner)})
                return str(made.answer["trigger"]["id"])
            case "execution":
                request = {"graph_id": await self.filled("$graph", owner), "inputs": {"text": "hello"}}
                made = await self.call(EXECUTIONS + "StartExecution", token, request)
                started = str(made.answer["execution"]["id"])
                stream = {"execution_id": started}
                await self.until_ended(token, stream)
                return started
            case "credential":
                request = {"provider": "acme", "title": "a key", "secret": {"api_key": "k" * 20}}
                made = await self.call(CREDENTIALS + "CreateCredential", token, request)
                assert made.code == "OK", made
                return str(made.answer["credential"]["id"])
            case "api_key":
                made = await self.call(ACCOUNT + "CreateApiKey", token, {"name": "a key"})
                return str(made.answer["apiKey"]["id"])
            case "webhook":
                webhook = {"url": "https://webhooks.invalid/events", "state": "WEBHOOK_STATE_PAUSED"}
                made = await self.call(WEBHOOKS + "CreateWebhook", token, {"webhook": webhook})
                return str(made.answer["webhook"]["id"])
            case "file":
                graph = {"graph_id": await self.filled("$graph", owner)}
                return str((await self.call(GRAPHS + "ExportGraph", token, graph)).answer["file"])
        raise ValueError(f"nobody knows how to make {kind!r}")

    async def until_ended(self, token: str, execution: Mapping[str, Any]) -> None:
        """Wait for an execution by its events: the stream ends with them."""
        method = self.methods[EXECUTIONS + "WatchExecution"]
        request = ParseDict(dict(execution), GetMessageClass(method.input_type)())
        stream = self.channels[EXECUTIONS.rstrip("/")].unary_stream(
            "/" + EXECUTIONS + "WatchExecution",
            type(request).SerializeToString,
            GetMessageClass(method.output_type).FromString,
        )
        async for _ in stream(request, metadata=[("authorization", f"Bearer {token}")], timeout=60):
            pass


async def services_of(channel: grpc.aio.Channel) -> list[str]:
    """The services of a server, as it says itself."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="*")
    answer = await stub.ServerReflectionInfo(iter([request]), timeout=20).read()
    return [service.name for service in answer.list_services_response.service]


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason in an error's details."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.reason)
    return ""


def expected_refusal(name: str, caller: str) -> str:
    """Why somebody who may not call a method is refused."""
    internal = not EXPECTED[name].allowed & {*USERS, "key"}
    if caller == "nobody":
        return "TOKEN_MISSING"
    if caller in ("service", "runner"):
        return "PERMISSION_DENIED" if internal else "TOKEN_INVALID"
    return "TOKEN_INVALID" if internal else "PERMISSION_DENIED"


@pytest.fixture(scope="module")
def house(runner: asyncio.Runner, stack: Stack) -> Iterator[House]:
    resources = AsyncExitStack()
    try:
        opened = House(stack)
        runner.run(opened.open(resources))
        yield opened
    finally:
        runner.run(resources.aclose())


def test_of_every_method_it_is_written_down_what_is_expected(house: House) -> None:
    assert EXPECTED.keys() == house.methods.keys()
    assert {name.partition("/")[0] for name in EXPECTED} <= house.channels.keys()
    assert set(CALLERS) == EVERYBODY


async def test_everybody_tries_every_method_with_objects_of_their_own(house: House) -> None:
    seen: dict[str, dict[str, Outcome]] = {}
    wrong = []
    for name, row in EXPECTED.items():
        seen[name] = {}
        for caller in CALLERS:
            owner = caller if caller in USERS else "user"
            outcome = await house.call(name, house.tokens.get(caller, ""), await house.filled(row.request, owner))
            seen[name][caller] = outcome
            fits = outcome.code in row.answers and not outcome.refused
            if caller in row.allowed:
                fits = fits or (outcome.reason == "LEASE_REFUSED" and "Lease" in name)
            else:
                fits = outcome.reason == expected_refusal(name, caller)
            if not fits:
                wrong.append(f"{name} by {caller}: {outcome.code} {outcome.reason}")

    print_table(seen)
    assert not wrong, "\n".join(wrong)


async def test_objects_of_others_are_not_there(house: House) -> None:
    seen: dict[str, dict[str, Outcome]] = {}
    wrong = []
    for name, row in EXPECTED.items():
        if not row.hides:
            continue
        seen[name] = {}
        for caller in USERS:
            request = await house.filled(row.request, "other")
            outcome = seen[name][caller] = await house.call(name, house.tokens[caller], request)
            if caller not in row.allowed:
                fits = outcome.reason == "PERMISSION_DENIED"
            elif caller == "admin" and row.hides == "but admins":
                fits = outcome.code in row.answers
            else:
                fits = outcome.code == "NOT_FOUND"
            if not fits:
                wrong.append(f"{name} by {caller}: {outcome.code} {outcome.reason}")

    print_table(seen)
    assert not wrong, "\n".join(wrong)


async def test_lists_do_not_show_objects_of_others(house: House) -> None:
    others = {
        GRAPHS + "ListGraphs": ("$graph", {}),
        EXECUTIONS + "ListExecutions": ("$execution", {"graph_id": "$graph"}),
        CREDENTIALS + "ListCredentials": ("$credential", {}),
        ACCOUNT + "ListApiKeys": ("$api_key", {}),
    }
    for name, (kind, request) in others.items():
        theirs = await house.filled(kind, "other")
        full = await house.filled(request, "other")
        for caller in USERS:
            shown = await house.call(name, house.tokens[caller], full)
            assert shown.code in ("OK", "NOT_FOUND"), name
            assert theirs not in str(shown.answer), f"{name} shows {caller} what is not theirs"
        assert theirs in str((await house.call(name, house.setup_token("other"), full)).answer), name


async def test_stopping_all_executions_of_anothers_graph_stops_none(house: House) -> None:
    graph = {"graph_id": await house.filled("$graph", "other")}

    outcome = await house.call(EXECUTIONS + "StopExecutions", house.tokens["admin"], graph)

    assert outcome.code == "NOT_FOUND" or not any(outcome.answer.values())


def print_table(seen: Mapping[str, Mapping[str, Outcome]]) -> None:
    """What was seen: who was let in, who was not, and what they were told."""
    callers = list(next(iter(seen.values())))
    print("\n" + f"{'':68}" + "".join(f"{caller:>22}" for caller in callers))
    for name, outcomes in seen.items():
        print(f"{name:68}" + "".join(f"{outcomes[caller]!s:>22}" for caller in callers))
