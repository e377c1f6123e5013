"""One house for each module. Users are each test's own; the clock only ever moves on."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from blockyard.dev.postgres import PostgresServer

from tests.integration.notification.mail.house import MailHouse, mail_house
from tests.integration.notification.mail.receiver import receiving


@pytest.fixture(scope="module")
def house(runner: asyncio.Runner, postgres: PostgresServer) -> Iterator[MailHouse]:
    stack = AsyncExitStack()

    async def opened() -> MailHouse:
        receiver = await stack.enter_async_context(receiving())
        return await stack.enter_async_context(mail_house(postgres, receiver))

    try:
        yield runner.run(opened())
    finally:
        runner.run(stack.aclose())
