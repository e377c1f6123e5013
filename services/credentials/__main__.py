"""Starts the credentials service: the vault, what users do with it, and the leases of runs."""

import hashlib
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

from blockyard.account.v1.identity_service_pb2_grpc import IdentityServiceStub
from blockyard.credentials.v1.credentials_service_pb2_grpc import add_CredentialsServiceServicer_to_server
from blockyard.runner.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from blockyard.runner.v1.lease_service_pb2_grpc import add_LeaseServiceServicer_to_server
from blockyard.runner.v1.task_service_pb2_grpc import TaskServiceStub

from services.common import bus as nats
from services.common import database, grpc_client, grpc_server, run
from services.common.admission import RemoteRecorder
from services.common.grpc_client import ServiceCredentials
from services.common.notice_rows import NoticeRepository
from services.common.notices import NoticePublisher
from services.credentials.api import CredentialsApi
from services.credentials.canaries import Canaries
from services.credentials.config import CredentialsSettings
from services.credentials.credentials import Credentials
from services.credentials.forwarding import Forwarder
from services.credentials.keyring import DataKeys, Keyring
from services.credentials.keys.opening import open_keys
from services.credentials.lease_api import LeaseApi
from services.credentials.lease_upkeep import UseCounts, retire
from services.credentials.leasing import Leasing
from services.credentials.oauth.wiring import open_oauth
from services.credentials.repository.audit import AuditRepository
from services.credentials.repository.credentials import CredentialRepository
from services.credentials.repository.keys import KeyRepository
from services.credentials.repository.leases import LeaseRepository
from services.credentials.rotation import Rotation
from services.credentials.secret_checks import SecretChecks
from services.credentials.uses import Uses
from services.credentials.vault import Vault


async def start(settings: CredentialsSettings, resources: AsyncExitStack, process: run.Process) -> None:
    """Builds everything, top to bottom."""
    keys = open_keys(settings)
    resources.push_async_callback(keys.close)
    url = settings.database_url.get_secret_value()
    pool = await resources.enter_async_context(
        database.connect(url, "credentials", pool_size=settings.database_pool_size)
    )
    await database.wait_for_schema(pool, "credentials")
    secret = settings.service_secret.get_secret_value()
    keyring = Keyring(keys, KeyRepository(pool), DataKeys(settings.data_keys_kept, settings.data_key_seconds))
    canaries = Canaries(keyring, settings.canary_interval_seconds)
    await canaries.look()
    process.hold("canaries", canaries.keep())
    request_key = hashlib.sha256(b"blockyard credential request\0" + secret.encode()).digest()
    vault = Vault(CredentialRepository(pool), keyring, request_key, settings.credentials_of_user)
    oauth = await resources.enter_async_context(open_oauth(settings, vault, pool))
    own = ServiceCredentials(secret, "credentials", settings.tls())
    execution = await resources.enter_async_context(
        grpc_client.channel(
            settings.execution_address,
            own,
            idempotent=[
                "blockyard.runner.v1.TaskService/CheckRuns",
                "blockyard.runner.v1.TaskService/FindCredentialUses",
            ],
        )
    )
    graph = await resources.enter_async_context(
        grpc_client.channel(
            settings.graph_address, own, idempotent=["blockyard.runner.v1.CatalogueService/FindCredentialUses"]
        )
    )
    if settings.account_address:
        account = await resources.enter_async_context(grpc_client.channel(settings.account_address, own))
        process.hold("audit", Forwarder(AuditRepository(pool), RemoteRecorder(IdentityServiceStub(account))).run())
    notices = NoticePublisher(
        NoticeRepository(pool), partial(nats.connect, settings.nats_url, "credentials", settings.nats_access())
    )
    process.hold("notices", notices.run())
    leases = LeaseRepository(pool)
    uses = UseCounts(leases)
    tasks = TaskServiceStub(execution)
    leasing = Leasing(tasks, vault, oauth.tokens, leases, uses)
    process.hold("uses", uses.run())
    process.hold("leases", leasing.run())
    process.hold("old leases", retire(leases, timedelta(days=settings.lease_retention_days)))
    credentials = Credentials(
        vault, oauth.providers, Uses(CatalogueServiceStub(graph), tasks), oauth.revocations, oauth.tests
    )
    api = CredentialsApi(credentials, oauth.authorizations, Rotation(vault), secret)
    servicers: list[grpc_server.Registration] = [
        (add_CredentialsServiceServicer_to_server, api),
        (add_LeaseServiceServicer_to_server, LeaseApi(leasing, leases, SecretChecks(vault))),
    ]
    checks = {"postgresql": lambda: database.is_healthy(pool), "vault keys": canaries.is_healthy}
    await resources.enter_async_context(grpc_server.serve(settings, servicers, checks))


if __name__ == "__main__":
    run.main(CredentialsSettings, start)
