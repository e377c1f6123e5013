"""Starts the account service."""

from contextlib import AsyncExitStack

from services.account.config import AccountSettings
from services.common import database, grpc_server, run


async def start(settings: AccountSettings, resources: AsyncExitStack, process: run.Process) -> None:
    """Builds everything, top to bottom."""
    url = settings.database_url.get_secret_value()
    pool = await resources.enter_async_context(database.connect(url, "account", pool_size=settings.database_pool_size))
    await database.wait_for_schema(pool, "account")
    servicers: list[grpc_server.Registration] = []
    checks = {"postgresql": lambda: database.is_healthy(pool)}
    await resources.enter_async_context(grpc_server.serve(settings, servicers, checks))


if __name__ == "__main__":
    run.main(AccountSettings, start)
