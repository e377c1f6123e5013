"""What all tests share: asynchronous tests on one event loop, and PostgreSQL."""

import asyncio
import inspect
import logging
from collections.abc import Generator, Iterator
from contextlib import AsyncExitStack

import pytest
import structlog
from blockyard.dev.postgres import PostgresServer

from services.starting import without_collections
from tests.stack.postgres import fresh_database, running_postgres
from tests.stack.scratch import keep_files_in_memory

# Services in this process say what matters; each call would fill the output of a test that fails. Stack traces are
# plain, as in a service of its own: with local variables, one of them holds the event loop up for seconds.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("%Y-%m-%d %H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ],
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
)

_RUNNER = pytest.StashKey[asyncio.Runner]()


def pytest_configure() -> None:
    """Choose where files are kept before anybody makes one."""
    keep_files_in_memory()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep ten thousand tests out of the search for garbage: collecting them took three times as long with it, and
    each look through all of them held event loops up for half a second."""
    with without_collections():
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests on the session's loop, so that they can use what fixtures have built there."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    _runner(pyfuncitem.config).run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(scope="session")
def runner(request: pytest.FixtureRequest) -> asyncio.Runner:
    """The session's event loop, for fixtures that open something asynchronous: `runner.run(stack.enter_…(…))`."""
    return _runner(request.config)


def _runner(config: pytest.Config) -> asyncio.Runner:
    if _RUNNER not in config.stash:
        config.stash[_RUNNER] = asyncio.Runner()
    return config.stash[_RUNNER]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the loop after the last fixture."""
    if _RUNNER in config.stash:
        config.stash[_RUNNER].close()


@pytest.fixture(scope="session")
def postgres(runner: asyncio.Runner) -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test process. Databases on it: `database_url`, or tests.stack.postgres."""
    stack = AsyncExitStack()
    try:
        yield runner.run(stack.enter_async_context(running_postgres()))
    finally:
        runner.run(stack.aclose())


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    """The URL of the test process's PostgreSQL server for its superuser."""
    return postgres.url


@pytest.fixture(scope="module")
def database_url(postgres_url: str) -> Iterator[str]:
    """A fresh, empty database for each test module: its superuser's URL. See also tests.stack.postgres.as_role."""
    with fresh_database(postgres_url) as url:
        yield url
