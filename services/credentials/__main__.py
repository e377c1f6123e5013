"""Starts the credentials service."""

from contextlib import AsyncExitStack

from services.common import database, grpc_server, run
from services.credentials.config import CredentialsSettings


async def start(settings: CredentialsSettings, resources: AsyncExitStack, process: run.Process) -> None:
    """Builds everything, top to bottom."""
    url = settings.database_url.get_secret_value()
    pool = await resources.enter_async_context(
        database.connect(url, "credentials", pool_size=settings.database_pool_size)
    )
    await database.wait_for_schema(pool, "credentials")
    servicers: list[grpc_server.Registration] = []
    checks = {"postgresql": lambda: database.is_healthy(pool)}
    await resources.enter_async_context(grpc_server.serve(settings, servicers, checks))


if __name__ == "__main__":
    run.main(CredentialsSettings, start)
