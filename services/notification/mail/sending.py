"""Sends mails: any replica, a few at a time, again and again for a day until the mail server takes each.

row due -> claimed      nobody else looks at it until the lease is over; each claim has a number
claimed -> sent         and noted, if no other claim came after. Between the two a crash sends it twice, with the same
                        Message-ID, by which mail programs know that
        -> put off      for longer each time
        -> given up     refused for good, or tried for a day

Users are looked up for each mail: who is disabled, or has no address, is not sent any.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from services.common.database import TROUBLE
from services.notification.clock import Clock
from services.notification.mail.addresses import AddressUnusable
from services.notification.mail.contacts import Contact, Contacts, ContactsAway, GraphNames
from services.notification.mail.kinds import Frequency
from services.notification.mail.letters import Letters
from services.notification.mail.messages import Envelope, Message, compose
from services.notification.mail.metrics import METRICS
from services.notification.mail.post import AddressRefused, Line, MailServer, RefusedForGood, ServerAway, TakenLater
from services.notification.mail.records import Mail, MailState, Preferences
from services.notification.mail.rounds import Rounds
from services.notification.mail.unsubscribing import Ending, Unsubscribing
from services.notification.repository.mail_preferences import PreferenceRepository
from services.notification.repository.mails import MailRepository

AT_ONCE = 10
LEASE_SECONDS = 600.0
"""Longer than a batch takes: the last mail begins within BATCH_SECONDS, and the mail server has MOST_SECONDS for it and
for the connection."""
BATCH_SECONDS = 300.0
LOOK_SECONDS = 5.0
TRY_FOR = timedelta(days=1)
DELAYS = (60, 300, 900, 1_800, 3_600)
"""Seconds after each attempt that failed; the last one again and again."""
MOST_REFUSALS = 3
"""In a row, of one address: then nothing more is sent to it."""
FORGET_AT_ONCE = 1_000

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sending:
    """What a mail needs besides its row."""

    server: MailServer
    sender: str
    """As readers see it: an address, or "Name <address>"."""
    unsubscribe_url: str
    """Where links to unsubscribe lead; the token is added."""
    retention: timedelta
    """For so long it is kept what became of a mail."""


class Sender:
    """Sends for as long as `run` runs."""

    def __init__(
        self,
        mails: MailRepository,
        preferences: PreferenceRepository,
        rounds: Rounds,
        contacts: Contacts,
        names: GraphNames,
        letters: Letters,
        unsubscribing: Unsubscribing,
        sending: Sending,
        clock: Clock,
    ) -> None:
        self._mails = mails
        self._preferences = preferences
        self._rounds = rounds
        self._contacts = contacts
        self._names = names
        self._letters = letters
        self._unsubscribing = unsubscribing
        self._sending = sending
        self._clock = clock
        self._work = asyncio.Event()

    def wake(self) -> None:
        """There is something to send."""
        self._work.set()

    async def run(self) -> None:
        """Sends until it is cancelled."""
        while True:
            self._work.clear()
            try:
                await self.look()
            except TROUBLE as error:
                log.warning("mails wait", reason=str(error) or type(error).__name__)
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._work.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Does all that is due at this moment."""
        try:
            await self._rounds.plan()
        except ContactsAway as error:
            log.warning("digests are planned later", reason=str(error))
        await self._rounds.close(self._clock())
        while mails := await self._mails.claim(self._clock(), LEASE_SECONDS, AT_ONCE):
            try:
                if not await self._send_all(mails):
                    break  # nothing is sent now; what is due is looked at again in a moment
            except asyncio.CancelledError:
                # Whoever ends in order leaves what it has not sent to others at once, and not when the lease is over.
                with suppress(*TROUBLE):
                    await self._mails.release(mails, self._clock())
                raise
        waiting, since = await self._mails.waiting()
        METRICS.waiting.set(waiting)
        METRICS.oldest_seconds.set((self._clock() - since).total_seconds() if since else 0)
        await self._mails.forget(self._clock() - self._sending.retention, FORGET_AT_ONCE)

    async def _send_all(self, mails: Sequence[Mail]) -> bool:
        """One batch, over one connection, which is made when the first mail is ready. False if nothing goes now."""
        users = sorted({one.user_id for one in mails})
        try:
            contacts, preferences = await self._contacts.of(users), await self._preferences.of_users(users)
        except ContactsAway as error:
            log.warning("mails wait", reason=str(error))
            await self._put_off(mails, str(error))
            return False
        loop = asyncio.get_running_loop()
        until = loop.time() + BATCH_SECONDS
        async with AsyncExitStack() as resources:
            line: Line | None = None
            for number, mail in enumerate(mails):
                message = await self._message(mail, contacts[mail.user_id], preferences[mail.user_id])
                if message is None:
                    continue
                if loop.time() > until:
                    await self._put_off(mails[number:], "the mail server is slow")
                    return False
                try:
                    if line is None:
                        line = await resources.enter_async_context(self._sending.server.connected())
                    await self._send(line, mail, message)
                except ServerAway as error:
                    log.warning("the mail server takes no mails", reason=str(error))
                    await self._put_off(mails[number:], str(error))
                    return False
        return True

    async def _send(self, line: Line, mail: Mail, message: Message) -> None:
        try:
            await line.send(message)
        except TakenLater as error:
            await self._put_off((mail,), str(error))
        except RefusedForGood as error:
            if isinstance(error, AddressRefused):
                await self._preferences.note_refusal(mail.user_id, message.recipient, str(error))
            await self._end(mail, MailState.GIVEN_UP, str(error))
        else:
            await self._end(mail, MailState.SENT)
            await self._preferences.note_acceptance(mail.user_id)

    async def _message(self, mail: Mail, contact: Contact | None, preferences: Preferences) -> Message | None:
        """The message of a mail; None if none is sent, which is noted."""
        why = _unwanted(contact)
        if contact is None or why:
            await self._end(mail, MailState.UNWANTED, why)
            return None
        wanted = still_wanted(mail, preferences)
        if wanted is None:
            await self._end(mail, MailState.UNWANTED, "unsubscribed")
            return None
        mail = wanted
        graph_ids = [mail.details.get("graph_id", ""), *(one["graph_id"] for one in mail.details.get("entries", ()))]
        names = await self._names.of(mail.user_id, graph_ids)
        token = self._unsubscribing.token(Ending(mail.user_id, mail.kind, mail.round))
        url = f"{self._sending.unsubscribe_url}?token={token}"
        try:
            letter = self._letters.write(mail, names, contact.time_zone, url)
            envelope = Envelope(self._sending.sender, contact.name, contact.email)
            message = compose(mail, letter, envelope, self._clock(), url)
        except AddressUnusable as error:
            await self._end(mail, MailState.GIVEN_UP, str(error))
            return None
        except Exception:  # an edge: one mail that cannot be written must not keep all others waiting
            log.exception("a mail cannot be written", mail_id=str(mail.mail_id))
            await self._end(mail, MailState.GIVEN_UP, "it cannot be written")
            return None
        if preferences.refusals >= MOST_REFUSALS and preferences.refused_address == message.recipient:
            await self._end(mail, MailState.UNWANTED, f"the address refuses mails: {preferences.refusal}")
            return None
        return message

    async def _put_off(self, mails: Sequence[Mail], reason: str) -> None:
        now = self._clock()
        for mail in mails:
            if now - mail.create_time >= TRY_FOR:
                await self._end(mail, MailState.GIVEN_UP, f"tried for a day, at last: {reason}")
                continue
            METRICS.mails.labels("put_off").inc()
            await self._mails.put_off(mail, retry_at(mail, now, random.random()), reason)

    async def _end(self, mail: Mail, state: MailState, reason: str = "") -> None:
        await self._mails.end(mail, state, self._clock(), reason)
        METRICS.mails.labels(state.name.lower()).inc()
        if state is MailState.GIVEN_UP:
            log.warning("a mail is given up", mail_id=str(mail.mail_id), user_id=mail.user_id, reason=reason)


def still_wanted(mail: Mail, preferences: Preferences) -> Mail | None:
    """What of a mail its user wants to be told by now, None if nothing: kinds may be off since it was made."""
    off = {kind for kind, frequency in preferences.frequencies.items() if frequency is Frequency.OFF}
    if mail.kind is not None:
        return None if mail.kind in off else mail
    entries = [one for one in mail.details["entries"] if one["kind"] not in off]
    return replace(mail, details={**mail.details, "entries": entries}) if entries else None


def retry_at(mail: Mail, now: datetime, chance: float) -> datetime:
    """When a mail is tried again: later each time, spread by a tenth, and once more at the end of its day.

    `chance` is a random number from 0 to 1.
    """
    seconds = DELAYS[min(max(mail.attempts, 1), len(DELAYS)) - 1] * (0.95 + chance / 10)
    return min(now + timedelta(seconds=seconds), mail.create_time + TRY_FOR)


def _unwanted(contact: Contact | None) -> str:
    """Why nothing is sent to a user; empty if it is."""
    if contact is None:
        return "the user is not known"
    if not contact.active:
        return "the user is disabled"
    return "" if contact.email else "the user has no address"
