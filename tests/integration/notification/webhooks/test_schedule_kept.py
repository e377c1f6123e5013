"""Must show 2 of webhooks: an endpoint for each way to fail, and what was delivered when, by a clock that is moved."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path

from aiohttp import web

from services.notification.webhooks.records import Delivery, DeliveryState
from services.notification.webhooks.schedule import ATTEMPTS, DELAYS, JITTER
from tests.integration.notification.webhooks.office import TOGETHER, Office, office
from tests.unit.egress.network import certificate, http_server, raw_server

PATIENCE = 0.5
"""Seconds that an endpoint has to answer, its body included."""
FOREVER = asyncio.Event()
SLACK = 60.0
"""Seconds that the test itself takes, at most."""
LATEST = (1 + JITTER) * (1 + TOGETHER) + TOGETHER
"""Of a delay."""


class Recovering:
    """Fails three times, and then takes what comes."""

    def __init__(self) -> None:
        self.left = 3

    async def handle(self, _: web.Request) -> web.StreamResponse:
        self.left -= 1
        return web.Response(status=204 if self.left < 0 else 500)


async def never(_: web.Request) -> web.StreamResponse:
    await FOREVER.wait()
    raise AssertionError("waits for ever")


async def slow_body(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(status=200)
    await answer.prepare(request)
    await answer.write(b"it is coming, ")
    await FOREVER.wait()
    return answer


async def large_body(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(status=200)
    await answer.prepare(request)
    try:
        for _ in range(1_000):
            await answer.write(b"x" * 65536)
    except ConnectionError:
        pass  # it was told enough
    return answer


def answering(status: int, headers: Callable[[], Mapping[str, str]] = dict) -> object:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers(), text=f"this is {status}")

    return handle


@asynccontextmanager
async def endpoints(house: Office, folder: Path) -> AsyncIterator[dict[str, str]]:
    """Addresses by what is wrong with each."""
    public, key = certificate(folder, "elsewhere.example")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(public, key)
    in_two_hours = lambda: {"Retry-After": format_datetime(house.clock() + timedelta(hours=2), usegmt=True)}  # noqa: E731
    handlers = {
        "takes it": answering(204),
        "recovers": Recovering().handle,
        "large answer": large_body,
        "no answer": never,
        "slow body": slow_body,
        "500": answering(500),
        "404": answering(404),
        "410": answering(410),
        "302": answering(302, lambda: {"Location": "http://127.0.0.1/elsewhere"}),
        "429, 10 min": answering(429, lambda: {"Retry-After": "600"}),
        "503, a date": answering(503, in_two_hours),
        "503, for ever": answering(503, lambda: {"Retry-After": "9" * 30}),
    }
    raw = {
        "reset": b"",
        "garbage": b"\x00\xff no protocol at all\r\n\r\n",
        "cut off": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    }
    async with AsyncExitStack() as open_servers:
        found = {}
        for name, handler in handlers.items():
            port = await open_servers.enter_async_context(http_server(handler))  # type: ignore[arg-type]  # of object
            found[name] = f"http://127.0.0.1:{port}/"
        for name, answer in raw.items():
            found[name] = f"http://127.0.0.1:{await open_servers.enter_async_context(raw_server(answer))}/"
        secure = await open_servers.enter_async_context(http_server(answering(204), tls=tls))  # type: ignore[arg-type]  # as above
        found["wrong TLS"] = f"https://127.0.0.1:{secure}/"
        found["no TLS"] = found["takes it"].replace("http:", "https:")
        yield found
        # Nobody listens there any more.


def row(name: str, delivery: Delivery, began: datetime) -> str:
    """A line of the table."""
    at = [shown(attempt.time - began) for attempt in delivery.attempts]
    last = delivery.attempts[-1]
    what = last.error or f"{last.status}"
    return f"{name:<14} {delivery.state.name:<9} {len(at):>2}  {what[:60]:<60}  {' '.join(at)}"


def shown(after: timedelta) -> str:
    seconds = after.total_seconds()
    if seconds < 120:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 7200 else f"{seconds / 3600:.1f}h"


def gaps(delivery: Delivery) -> list[float]:
    times = [attempt.time for attempt in delivery.attempts]
    return [(after - before).total_seconds() for before, after in pairwise(times)]


def keeps_the_schedule(delivery: Delivery) -> bool:
    return len(delivery.attempts) == ATTEMPTS and all(
        delay <= gap <= delay * LATEST + SLACK for delay, gap in zip(DELAYS, gaps(delivery), strict=True)
    )


async def test_endpoints_that_fail_in_every_way_are_tried_as_the_schedule_says(tables: str, tmp_path: Path) -> None:
    async with office(tables, webhook_seconds=PATIENCE) as house, endpoints(house, tmp_path) as addresses:
        hooks = {name: (await house.webhook(address))[0] for name, address in addresses.items()}
        began = house.clock()

        await house.happen()
        await house.play_on()

        deliveries = {name: (await house.log(hook.webhook_id))[0] for name, hook in hooks.items()}
        print("\nendpoint       became     n  the last answer" + " " * 47 + "attempts, after")
        print(*(row(name, delivery, began) for name, delivery in deliveries.items()), sep="\n")
        for name in ("takes it", "large answer"):
            assert deliveries[name].state is DeliveryState.DELIVERED
            assert len(deliveries[name].attempts) == 1
        assert deliveries["recovers"].state is DeliveryState.DELIVERED
        assert len(deliveries["recovers"].attempts) == 4
        usual = ("no answer", "slow body", "500", "404", "302", "reset", "garbage", "cut off", "wrong TLS", "no TLS")
        for name in usual:
            assert deliveries[name].state is DeliveryState.FAILED, name
            assert keeps_the_schedule(deliveries[name]), (name, gaps(deliveries[name]))
        gone = await house.first.subscriptions.rows.get("anna", hooks["410"].webhook_id)
        assert gone is not None
        assert (gone.content.state.name, gone.disable_reason.name) == ("DISABLED", "GONE")
        assert len(deliveries["410"].attempts) == 1
        asked = gaps(deliveries["429, 10 min"])
        assert all(gap >= 600 for gap in asked)
        assert asked[0] < 600 * LATEST + SLACK
        assert asked[-1] >= DELAYS[-1], "what it asks for is no reason to come earlier"
        assert all(gap >= 7200 - 2 for gap in gaps(deliveries["503, a date"]))
        assert all(86400 <= gap < 86400 * LATEST + SLACK for gap in gaps(deliveries["503, for ever"]))
        said = {name: deliveries[name].attempts[-1].error for name in deliveries}
        assert said["no answer"].endswith(f"not done within {PATIENCE:g} s") or "nothing came for" in said["no answer"]
        assert "redirects are not followed" in said["302"]
        assert "its certificate is not valid: self-signed certificate" in said["wrong TLS"]
        assert "TLS cannot be agreed on" in said["no TLS"]
        assert "no proper HTTP" in said["garbage"]
        assert "the answer is cut off" in said["cut off"]
        assert deliveries["500"].attempts[0].response == "this is 500"
        assert began.tzinfo is UTC
