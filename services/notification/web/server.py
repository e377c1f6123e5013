"""The HTTP server of the notification service, in its process and on its loop."""

import asyncio
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ExceptionHandler

from services.common import grpc_server, tasks, tls
from services.common.addresses import host_and_port
from services.common.errors import BlockyardError, NotFound, StartRefused
from services.notification.config import NotificationSettings
from services.notification.web.errors import error_response

MESSAGE_BYTES = 64 << 10
"""Of what a WebSocket's client sends at once; more closes the connection (1009)."""
PING_SECONDS = 20.0
"""A connection whose other side is gone is found out by this."""
END_SECONDS = 3

log = structlog.stdlib.get_logger(__name__)


class PageNotFound(NotFound):
    """There is nothing at this address. The REST interface is described at /docs."""


class _Server(uvicorn.Server):
    """Signals are the process's own."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Captures none."""
        yield


@asynccontextmanager
async def serve(settings: NotificationSettings, routes: Sequence[BaseRoute]) -> AsyncIterator[None]:
    """Serves these routes while the context is open."""
    # What the handler of Exception answers is raised again and logged with its trace: refusals have one of their own.
    handlers: Mapping[Any, ExceptionHandler] = {
        404: _not_found,
        BlockyardError: error_response,
        Exception: error_response,
    }
    application = Starlette(routes=routes, exception_handlers=handlers)
    config = uvicorn.Config(
        application,
        host=settings.host,
        port=settings.web_port,
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        # It would hold 300 kB for each connection.
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=END_SECONDS,
        ssl_context_factory=(lambda *_: tls.server_context(settings.tls())) if settings.tls_certificate else None,
    )
    # Before it listens: a certificate that is of no use is refused as such.
    config.load()
    server = _Server(config)
    serving = asyncio.create_task(server.serve(), name="web")
    try:
        port = await _port(server, serving, settings)
        if settings.web_port_file is not None:
            await asyncio.to_thread(grpc_server.write_port, settings.web_port_file, port)
        yield
    finally:
        server.should_exit = True
        await asyncio.wait({serving}, timeout=END_SECONDS + 2)
        await tasks.end((serving,))


async def _port(server: uvicorn.Server, serving: "asyncio.Task[None]", settings: NotificationSettings) -> int:
    while not server.started:
        if serving.done():
            address = host_and_port(settings.host, settings.web_port)
            raise StartRefused(f"The web server cannot listen on {address}: the port is taken, or not local.")
        await asyncio.sleep(0.01)
    port = int(server.servers[0].sockets[0].getsockname()[1])
    log.info("listening for HTTP", host=settings.host, port=port)
    return port


async def _not_found(request: Request, error: Exception) -> Response:
    return await error_response(request, PageNotFound())
