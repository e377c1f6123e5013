"""Starts the account service: users, their keys and credits, and the audit log."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial

from blockyard.account.v1.account_service_pb2_grpc import add_AccountServiceServicer_to_server
from blockyard.account.v1.identity_service_pb2_grpc import add_IdentityServiceServicer_to_server
from blockyard.account.v1.ledger_service_pb2_grpc import add_LedgerServiceServicer_to_server

from services.account.api import AccountApi, Parts
from services.account.api_keys import ApiKeys
from services.account.audit_log import AuditKeeper
from services.account.charge_weeks import KeptWeeks
from services.account.config import AccountSettings
from services.account.credits import Credits
from services.account.identifying import Identifier
from services.account.identity_api import IdentityApi
from services.account.ledger import HoldRules, Ledger
from services.account.ledger_api import LedgerApi
from services.account.ledger_upkeep import keep_up
from services.account.repository.api_keys import ApiKeyRepository
from services.account.repository.audit import AuditRepository
from services.account.repository.charge_weeks import ChargeWeekRepository
from services.account.repository.credits import CreditRepository
from services.account.repository.ledger import LedgerRepository
from services.account.repository.users import UserRepository
from services.account.users import Users
from services.common import bus as nats
from services.common import database, grpc_server, run
from services.common.backoff import patiently
from services.common.notice_rows import NoticeRepository
from services.common.notices import NoticePublisher
from services.common.time_zones import time_zones


async def start(settings: AccountSettings, resources: AsyncExitStack, process: run.Process) -> None:
    """Builds everything, top to bottom."""
    url = settings.database_url.get_secret_value()
    pool = await resources.enter_async_context(database.connect(url, "account", pool_size=settings.database_pool_size))
    await database.wait_for_schema(pool, "account")
    notices = NoticePublisher(
        NoticeRepository(pool), partial(nats.connect, settings.nats_url, "account", settings.nats_access())
    )
    process.hold("notices", notices.run())
    accounts = LedgerRepository(pool)
    ledger = Ledger(
        accounts,
        ChargeWeekRepository(pool),
        KeptWeeks(settings.charges_retention_days),
        HoldRules(settings.hold_seconds, settings.undivided_credits),
        notices,
    )
    process.hold("ledger", keep_up(ledger, accounts))
    credits = Credits(CreditRepository(pool), ledger, settings.credits_enabled)
    audit, api_keys = AuditRepository(pool), ApiKeyRepository(pool)
    keeper = AuditKeeper(audit, settings.audit_retention_days)
    await patiently(keeper.make_room, *database.TROUBLE)
    process.hold("audit log", keeper.keep())
    users = UserRepository(pool)
    identifier = Identifier(users, api_keys, settings.identity_seconds)
    resources.push_async_callback(identifier.note)
    process.hold("last calls", identifier.keep_noting())
    await asyncio.to_thread(time_zones)
    parts = Parts(
        users=Users(users),
        api_keys=ApiKeys(api_keys, settings.api_keys_per_user),
        audit=audit,
        credits=credits,
        token_secret=settings.service_secret.get_secret_value(),
    )
    servicers: list[grpc_server.Registration] = [
        (add_AccountServiceServicer_to_server, AccountApi(parts)),
        (add_IdentityServiceServicer_to_server, IdentityApi(identifier, keeper, users)),
        (add_LedgerServiceServicer_to_server, LedgerApi(ledger)),
    ]
    checks = {"postgresql": lambda: database.is_healthy(pool)}
    server = grpc_server.serve(settings, servicers, checks, identities=identifier, recorder=keeper)
    await resources.enter_async_context(server)


if __name__ == "__main__":
    run.main(AccountSettings, start)
