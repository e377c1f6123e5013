"""Decides what becomes of each thing that a user may want to be told, in the transaction that takes it in.

off                    nothing
immediately            a mail, as long as the user had fewer than so many in the last hour; else gathered for a summary
daily, weekly          gathered for the digest

All that is inserted stands or falls with the transaction, so that a thing is told once, however often it comes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from blockyard.event.v1.notice_pb2 import Notice

from services.common.ids import new_id
from services.notification.clock import Clock
from services.notification.entries import Entry
from services.notification.mail.happenings import Happening, of_batch, of_notice
from services.notification.mail.kinds import ROUNDS, Frequency, MailKind
from services.notification.mail.records import Gathered, Mail
from services.notification.repository.followers import Connection
from services.notification.repository.mail_preferences import PreferenceRepository
from services.notification.repository.mail_rounds import SAMPLES, RoundKey, RoundRepository
from services.notification.repository.mails import MailRepository

HOUR = timedelta(hours=1)
OLDEST = timedelta(days=1)
"""What happened longer ago is not told any more: nobody wants mails of last week because a service was away."""


@dataclass(frozen=True, slots=True)
class Sorter:
    """Takes in turns and notices for mail."""

    preferences: PreferenceRepository
    mails: MailRepository
    rounds: RoundRepository
    per_hour: int
    """Mails of a user about a single thing in an hour, at most."""
    clock: Clock

    async def take_turns(self, connection: Connection, entries: Sequence[Entry]) -> bool:
        """Inserts what is owed for these turns; says whether that was anything."""
        return await self.sort(connection, [one for entry in entries for one in of_batch(entry.batch)])

    async def take_notices(self, connection: Connection, notices: Sequence[Notice]) -> bool:
        """Inserts what is owed for these notices; says whether that was anything."""
        return await self.sort(connection, filter(None, map(of_notice, notices)))

    async def sort(self, connection: Connection, happenings: Iterable[Happening]) -> bool:
        """Inserts what is owed; says whether that was anything."""
        now = self.clock()
        recent = [one for one in happenings if one.time > now - OLDEST]
        if not recent:
            return False
        user_ids = sorted({one.user_id for one in recent})
        frequencies = await self.preferences.frequencies(connection, user_ids)
        wanted = [
            (one, frequency) for one in recent if (frequency := frequencies[one.user_id][one.kind]) is not Frequency.OFF
        ]
        if not wanted:
            return False
        immediate = sorted({one.user_id for one, frequency in wanted if frequency is Frequency.IMMEDIATELY})
        counts = await self.mails.counts(connection, immediate, now - HOUR) if immediate else {}
        mails: list[Mail] = []
        gathered: dict[tuple[RoundKey, MailKind, str], Gathered] = {}
        for one, frequency in wanted:
            count = counts.get(one.user_id, 0)
            if frequency is Frequency.IMMEDIATELY and count < self.per_hour:
                counts[one.user_id] = count + 1
                mails.append(_mail_of(one, now))
            else:
                _gather(gathered, one, RoundKey(one.user_id, ROUNDS[frequency]))
        if mails:
            await self.mails.insert(connection, mails)
        if gathered:
            found = [(round, one) for (round, _, _), one in gathered.items()]
            await self.rounds.gather(connection, found, now)
        return True


def _mail_of(one: Happening, now: datetime) -> Mail:
    details = {**one.details, "graph_id": one.graph_id, "time": one.time.isoformat()}
    return Mail(new_id(), one.user_id, one.key, one.kind, None, details, now)


def _gather(gathered: dict[tuple[RoundKey, MailKind, str], Gathered], one: Happening, round: RoundKey) -> None:
    sample = {**one.details, "time": one.time.isoformat()}
    before = gathered.get((round, one.kind, one.graph_id))
    if before is None:
        all_of_it = Gathered(one.kind, one.graph_id, 1, one.time, one.time, (sample,))
    else:
        all_of_it = Gathered(
            one.kind,
            one.graph_id,
            before.count + 1,
            min(before.first_time, one.time),
            max(before.last_time, one.time),
            (*before.samples, sample)[:SAMPLES],
        )
    gathered[round, one.kind, one.graph_id] = all_of_it
