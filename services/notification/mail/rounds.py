"""Summaries and digests: finds out when each is due, and makes one mail of what was gathered until then.

A round ends in the transaction that makes its mail, so nothing in it is told twice or not at all. One without anything
in it makes no mail.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from services.common.ids import new_id
from services.notification.mail.contacts import Contacts
from services.notification.mail.kinds import Round
from services.notification.mail.local_times import next_hour
from services.notification.mail.records import Gathered, Mail
from services.notification.repository.mail_preferences import PreferenceRepository
from services.notification.repository.mail_rounds import DueRound, RoundRepository
from services.notification.repository.mails import MailRepository

AT_ONCE = 100
MOST_LISTED = 50
"""Kinds and graphs in a digest; of further ones it says how many they are."""


class Rounds:
    """Any replica plans and closes rounds; each is closed by one."""

    def __init__(
        self, rounds: RoundRepository, mails: MailRepository, preferences: PreferenceRepository, contacts: Contacts
    ) -> None:
        self._rounds = rounds
        self._mails = mails
        self._preferences = preferences
        self._contacts = contacts

    async def plan(self) -> None:
        """Finds out when new rounds are due: at the next hour of digests after they began, where their users live.
        Raises ContactsAway."""
        while found := await self._rounds.unplanned(AT_ONCE):
            users = sorted({one.user_id for one, _ in found})
            contacts, preferences = await self._contacts.of(users), await self._preferences.of_users(users)
            for one, began in found:
                contact, wanted = contacts[one.user_id], preferences[one.user_id]
                day = wanted.digest_day if one.round is Round.WEEKLY else None
                zone = contact.time_zone if contact is not None else ""
                await self._rounds.plan(one, next_hour(began, zone, wanted.digest_hour, day))

    async def close(self, now: datetime) -> int:
        """Makes the mails of all rounds that are due; answers how many."""
        made = 0
        while True:
            async with self._rounds.closing(now, MOST_LISTED) as (connection, due):
                if due is None:
                    return made
                if due.gathered:
                    await self._mails.insert(connection, (_mail_of(due, now),))
                    made += 1


def _mail_of(due: DueRound, now: datetime) -> Mail:
    round = due.of.round
    details: dict[str, Any] = {
        "left_out": due.left_out,
        "first_time": min(one.first_time for one in due.gathered).isoformat(),
        "last_time": max(one.last_time for one in due.gathered).isoformat(),
        "entries": _entries(due.gathered),
    }
    mail_id = new_id()
    # Not of when it was due: a second round may be due at the same time, by the clock of a replica that is behind.
    return Mail(mail_id, due.of.user_id, f"{round.name.lower()}:{mail_id}", None, round, details, now)


def _entries(gathered: Sequence[Gathered]) -> list[dict[str, Any]]:
    return [
        {**asdict(one), "first_time": one.first_time.isoformat(), "last_time": one.last_time.isoformat()}
        for one in gathered
    ]
