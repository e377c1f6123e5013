"""Checks of the services that this process calls: that they are there, ready, and take what is signed here."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial

import grpc
from blockyard.tls_trouble import tls_trouble
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common import grpc_client, identity
from services.common.config import PREFIX, ProcessSettings, ServiceSettings
from services.common.doctor.findings import Check, Told, ok, wrong
from services.common.grpc_client import ServiceCredentials
from services.common.permissions import Role

CALL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """Methods of a service that its callers of each kind are known for, and may not call: so nothing is done."""

    contract: str
    of_users: str
    of_services: str
    """A method for runners, which a service is told that it may not call; in want of one, a question about nobody."""
    of_runners: str
    """A method for services."""


ASKED: Mapping[str, Asked] = {
    "graph": Asked(
        "blockyard.graph.v1.GraphService",
        "/blockyard.graph.v1.GraphService/ListGraphs",
        "/blockyard.runner.v1.CatalogueService/RegisterBlocks",
        "/blockyard.runner.v1.CatalogueService/GetGraphNames",
    ),
    "execution": Asked(
        "blockyard.execution.v1.ExecutionService",
        "/blockyard.execution.v1.ExecutionService/ListExecutions",
        "/blockyard.runner.v1.ValueService/GetValue",
        "/blockyard.runner.v1.TaskService/CheckRuns",
    ),
    "credentials": Asked(
        "blockyard.credentials.v1.CredentialsService",
        "/blockyard.credentials.v1.CredentialsService/ListCredentials",
        "/blockyard.runner.v1.LeaseService/LeaseCredentials",
        "/blockyard.runner.v1.LeaseService/MatchCredentials",
    ),
    "account": Asked(
        "blockyard.account.v1.AccountService",
        "/blockyard.account.v1.AccountService/GetUser",
        "/blockyard.account.v1.IdentityService/GetContacts",
        "/blockyard.account.v1.LedgerService/HoldCredits",
    ),
}


class UserCredentials(ServiceCredentials):
    """Signs a token that no user has: its role is none. A service says so once it has found the signature good."""

    def __init__(self, secret: str, credentials: ServiceCredentials) -> None:
        super().__init__(secret, "doctor", credentials.files)
        self._user_secret = secret

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of one call."""
        token = identity.user_token(self._user_secret, "doctor", Role.SERVICE, 60)
        return (("authorization", f"Bearer {token}"),)


@dataclass(frozen=True, slots=True)
class Signed:
    """Something that is signed here."""

    variable: str
    kind: Callable[[Asked], str]
    """The method that it is shown to."""
    credentials: ServiceCredentials
    refused_for: str = ""
    """Words in the refusal of one whose signature is good; without any, it is not refused as unknown."""


def signed_by_service(credentials: ServiceCredentials) -> Signed:
    """The token of a service."""
    return Signed("BLOCKYARD_SERVICE_SECRET", lambda asked: asked.of_services, credentials)


def signed_by_runner(credentials: ServiceCredentials) -> Signed:
    """The token of a runner."""
    return Signed("BLOCKYARD_RUNNER_SECRET", lambda asked: asked.of_runners, credentials)


class Peers:
    """The services that a process calls. Those without an address are not there to be called."""

    def __init__(self, settings: ProcessSettings, own: ServiceCredentials, *signed: Signed) -> None:
        self._settings = settings
        self._own = own
        self._signed = signed

    def checks(self, *names: str) -> list[Check]:
        """A check for each of these that has an address."""
        return [
            Check(f"{name} service", partial(self._ask, name, address), ["settings"], seconds=4 * CALL_SECONDS)
            for name in names
            if (address := getattr(self._settings, f"{name}_address"))
        ]

    async def _ask(self, name: str, address: str) -> AsyncIterator[Told]:
        variable = f"{PREFIX}{name.upper()}_ADDRESS"
        asked = ASKED[name]
        async with grpc_client.channel(address, self._own, deadline=CALL_SECONDS) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            begun = time.monotonic()
            try:
                answer = await stub.Check(health_pb2.HealthCheckRequest(service=asked.contract))
            except grpc.aio.AioRpcError as error:
                yield _not_reached(name, address, variable, error)
                return
            took = time.monotonic() - begun
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            yield wrong(
                f"{address} answers that it is not ready",
                f"Look at the {name} service: its own checks and its log say what it waits for.",
            )
        refused = [
            signed.variable for signed in self._signed if not await _is_taken(address, signed.kind(asked), signed)
        ]
        if refused:
            yield wrong(
                f"{address} does not take what is signed here with {', '.join(refused)}",
                f"Both must have the same secret, and clocks that agree: compare it in this process and in the {name} "
                "service, which may have to be started again since the secret was changed.",
            )
        elif answer.status == health_pb2.HealthCheckResponse.SERVING:
            yield ok(f"ready at {address}, knows this process, {took * 1000:.0f} ms")


def peers_of(settings: ServiceSettings, service: str) -> Peers:
    """What a service calls, as itself; it shares with them what signs the tokens of users and of runners."""
    files = settings.tls()
    own = ServiceCredentials(settings.service_secret.get_secret_value(), service, files)
    runner = ServiceCredentials(settings.runner_secret.get_secret_value(), "runner", files)
    signed = [signed_by_service(own), signed_by_runner(runner)]
    if settings.jwt_secret is not None:
        users = UserCredentials(settings.jwt_secret.get_secret_value(), own)
        signed.append(Signed("BLOCKYARD_JWT_SECRET", lambda asked: asked.of_users, users, '"role"'))
    return Peers(settings, own, *signed)


async def _is_taken(address: str, method: str, signed: Signed) -> bool:
    async with grpc_client.channel(address, signed.credentials, deadline=CALL_SECONDS) as channel:
        call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        try:
            await call(b"")
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                return True
            return bool(signed.refused_for) and signed.refused_for in (error.details() or "")
    return True


def _not_reached(name: str, address: str, variable: str, error: grpc.aio.AioRpcError) -> Told:
    details = error.details() or ""
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return wrong(f"{address} is another service than {name}", f"Correct {variable}, or the port of that service.")
    if trouble := tls_trouble(details):
        return wrong(
            f"{address}: {trouble}",
            "Both sides speak TLS or none does (BLOCKYARD_TLS_CA here, BLOCKYARD_TLS_CERTIFICATE there), with "
            "certificates of the same authority that are valid now, and there for this host.",
        )
    # The one is of the resolver that gRPC brings along, the others of the system's.
    if "lookup" in details or "DNS" in details or "resolution" in details.lower():
        return wrong(f"{address}: there is no such host", f"Correct {variable}, or the name service.")
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return wrong(
            f"{address} does not answer within {CALL_SECONDS:g} seconds",
            f"The {name} service hangs, or the network drops what is sent there (a NetworkPolicy, a firewall).",
        )
    reason = details.rpartition("last error: ")[2].rpartition(": ")[2] or error.code().name
    return wrong(f"{address} cannot be reached: {reason}", f"Is the {name} service up, and does {variable} lead there?")
