"""Checks of NATS: that it can be reached as this process's user, has JetStream, and the streams as they should be."""

import asyncio
import errno
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from nats import errors as nats_errors

from services.common import tasks
from services.common.bus import Bus
from services.common.bus.client import BusClient
from services.common.bus.connection import too_small, user_of
from services.common.bus.errors import BusError, NoResponders, RequestTimeout, StreamMissing
from services.common.bus.jetstream import differences
from services.common.bus.publishing import DEFAULT_MAX_IN_FLIGHT
from services.common.config import ProcessSettings
from services.common.doctor.findings import Check, Told, ok, warning, wrong
from services.common.errors import StartRefused

FULL = 0.9
"""Part of a stream's size from which on it counts as nearly full."""
VIOLATION = "permissions violation"
REACHING = 8.0
ANSWERING = 5.0
"""Seconds to connect, and to answer a question: less than what a check has."""
RIGHTS = (
    "Give the user the rights of nats_users.yaml (sdk/blockyard/dev; in the chart below files/), then let the server "
    "read its configuration again."
)


class NotAllowed(BusError):
    """The user may not do this."""


class Messaging:
    """NATS, from the first check that reaches it."""

    def __init__(self, settings: ProcessSettings, service: str, resources: AsyncExitStack) -> None:
        self._settings = settings
        self._service = service
        self._resources = resources
        self._errors: list[str] = []
        self._violated = asyncio.Event()
        self._bus: Bus | None = None

    @property
    def bus(self) -> Bus:
        """The connection, for checks that need "nats"."""
        assert self._bus is not None
        return self._bus

    def checks(self, streams: Sequence[Mapping[str, Any]], subjects: Sequence[str] = ()) -> list[Check]:
        """What can be said of NATS: that these streams are there so, and that these subjects may be listened to."""
        checks = [Check("nats", self._reach, ["settings"]), Check("jetstream", self._jetstream, ["nats"])]
        if subjects:
            checks.append(Check("rights in nats", partial(self._rights, subjects), ["nats"]))
        streams_there = [Check(f"stream {one['name']}", partial(self._stream, one), ["jetstream"]) for one in streams]
        return [*checks, *streams_there]

    async def _reach(self) -> AsyncIterator[Told]:
        url, access = self._settings.nats_url, self._settings.nats_access()
        where = ",".join(urlsplit(part).netloc.rpartition("@")[2] for part in url.split(","))
        user = access.user or user_of(url)
        try:
            self._bus = await self._connected(url)
        except (nats_errors.Error, OSError, TimeoutError, StartRefused) as error:
            yield self._unreachable(error, where, user)
            return
        client = self._bus.client
        if why := too_small(client.max_payload):
            said, _, advice = why.partition(". ")
            yield wrong(said, advice)
        transport = "over TLS" if url.startswith("tls://") else "in plain text"
        version = client._server_info.get("version", "")
        yield ok(f"NATS {version} at {where}, {f'as {user}' if user else 'as nobody in particular'}, {transport}")

    async def _connected(self, url: str) -> Bus:
        access = self._settings.nats_access()
        client = BusClient(access)
        self._resources.push_async_callback(self._close, client)
        async with asyncio.timeout(REACHING):
            await client.connect(
                servers=url.split(","),
                name=f"{self._service}-doctor",
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0.05,  # type: ignore[arg-type]  # annotated int, used as seconds
                connect_timeout=6,
                error_cb=self._note,
            )
        return Bus(client, DEFAULT_MAX_IN_FLIGHT, access.user or user_of(url), access.stream_replicas)

    async def _note(self, error: Exception) -> None:
        self._errors.append(str(error) or type(error).__name__)
        if VIOLATION in self._errors[-1]:
            self._violated.set()

    async def _close(self, client: BusClient) -> None:
        try:
            async with asyncio.timeout(1):
                await client.close()
        except (nats_errors.Error, OSError, TimeoutError):
            pass  # it hangs: the end of this process ends it too
        except AssertionError:
            pass  # its URL was none, and it has nothing to close

    def _unreachable(self, error: Exception, where: str, user: str) -> Told:
        words = "; ".join([*self._errors, str(error)]).lower()
        if isinstance(error, StartRefused):
            return wrong(str(error), "Correct the files of BLOCKYARD_NATS_CA, _CERTIFICATE and _KEY.")
        if "authorization" in words or "authentication" in words:
            name = f"the user {user}" if user else "a caller without a user"
            return wrong(
                f"{where} refuses {name}",
                "User and password must be those in the configuration of NATS (BLOCKYARD_NATS_USER and "
                "BLOCKYARD_NATS_PASSWORD_FILE, or the URL).",
            )
        if isinstance(error, ssl.SSLError) or "certificate" in words or "tls" in words or "ssl" in words:
            return wrong(
                f"{where}: TLS fails: {self._reason(error)}",
                "The certificate of NATS must be of the authority of BLOCKYARD_NATS_CA, for this host, and valid now; "
                "the URL begins with tls:// where the server demands TLS.",
            )
        return wrong(
            f"{where} cannot be reached: {self._reason(error)}",
            "NATS: is it up, and do BLOCKYARD_NATS_URL and the network lead there? Nothing is lost meanwhile.",
        )

    def _reason(self, error: Exception) -> str:
        reason = (self._errors or [str(error)])[-1]
        # Its library tells of an error without words where a server takes the connection and says nothing.
        if not reason or reason == TimeoutError.__name__:
            return f"no answer within {REACHING:g} seconds"
        return "nothing listens there" if f"[Errno {errno.ECONNREFUSED}]" in reason else reason

    async def _jetstream(self) -> AsyncIterator[Told]:
        # The server says in its first message whether it has JetStream, and asking needs no right.
        if self.bus.client._server_info.get("jetstream"):
            yield ok("it is on")
        else:
            yield wrong("the server runs without JetStream", "Set `jetstream { store_dir: … }` at every server.")

    async def _rights(self, subjects: Sequence[str]) -> AsyncIterator[Told]:
        before = len(self._errors)
        # Not for longer than it takes: who asks and is heard by the doctor alone would wait for an answer.
        subscriptions = [await self.bus.subscribe(subject, lambda _: None) for subject in subjects]
        for subscription in subscriptions:
            subscription.unsubscribe()
        await self.bus.flush(2)
        refused = [error for error in self._errors[before:] if VIOLATION in error]
        if refused:
            yield wrong(f"the user may not listen: {refused[0]}", RIGHTS)
        else:
            yield ok(f"the user may listen to {', '.join(subjects)}")

    async def _stream(self, wanted: Mapping[str, Any]) -> AsyncIterator[Told]:
        name = wanted["name"]
        try:
            answer = await self._ask(f"STREAM.INFO.{name}")
        except StreamMissing:
            yield wrong(
                f"there is no stream {name}",
                "The execution service makes it within seconds and fills it from PostgreSQL, if it runs: "
                "`blockyard admin repair` has it done at once, and waits for it.",
            )
            return
        except NotAllowed as error:
            yield wrong(str(error), RIGHTS)
            return
        except NoResponders:
            yield wrong("JetStream answers nobody", "The account of this user needs JetStream (`jetstream: enabled`).")
            return
        except BusError as error:
            yield wrong(str(error), "Look at the log of NATS: a cluster may have lost its majority.")
            return
        there, state = answer["config"], answer["state"]
        differing = differences(there, self.bus.jetstream.wanted(wanted))
        if differing:
            yield wrong(
                f"the stream {name} is another than it should be: {'; '.join(differing)}",
                "Replicas of the execution service must be set alike (BLOCKYARD_NATS_STREAM_REPLICAS, "
                f"BLOCKYARD_{name}_STREAM_BYTES); whichever starts next brings the stream to its settings. What cannot "
                "be changed (storage, retention) is made anew if you delete the stream: nothing is lost with it.",
            )
            return
        said = f"{state['messages']:,} messages, {state['bytes'] / there['max_bytes']:.0%} of its size"
        if state["bytes"] >= FULL * there["max_bytes"] and there["discard"] == "new":
            yield warning(
                f"{name} is nearly full: {said}",
                "What is in it is not taken: look for runners (TASKS) or replicas of the execution service (RESULTS) "
                f"that are away. Or raise BLOCKYARD_{name}_STREAM_BYTES.",
            )
        else:
            yield ok(said)

    async def _ask(self, operation: str) -> dict[str, Any]:
        """An answer of JetStream. What the user may not ask is never answered, and told on the side."""
        self._violated.clear()
        asking = asyncio.create_task(self.bus.jetstream.ask(operation))
        refused = asyncio.create_task(self._violated.wait())
        try:
            await asyncio.wait({asking, refused}, timeout=ANSWERING, return_when=asyncio.FIRST_COMPLETED)
            if asking.done():
                return asking.result()
            if refused.done():
                raise NotAllowed(self._errors[-1])
            raise RequestTimeout(f"no answer on {operation} within {ANSWERING:g} s")
        finally:
            await tasks.end((asking, refused))
