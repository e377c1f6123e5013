"""Summaries and digests: at the right hour where the user lives, each once, with all that came and nothing twice."""

import asyncio
from datetime import UTC, datetime

from blockyard.event.v1.notice_pb2 import Notice, NoticeKind

from services.common.ids import new_id
from services.notification.mail.kinds import Frequency
from services.notification.mail.records import MailState
from tests.integration.notification.mail.house import COMPLETED, MailHouse

DAILY, WEEKLY, OFF = Frequency.DAILY, Frequency.WEEKLY, Frequency.OFF


def body(mail: object) -> str:
    return str(mail.get_body(("plain",)).get_content())  # type: ignore[attr-defined]  # a mail that was received


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def next_day(house: MailHouse) -> None:
    """The clock goes on to noon of the next day, UTC, so that each test knows the hour."""
    house.clock.move(days=1)
    house.clock.now = house.clock.now.replace(hour=12, minute=0, second=0, microsecond=0)


async def test_thousands_of_ends_are_a_few_mails_and_one_summary(house: MailHouse) -> None:
    user, other = await house.user(), await house.user("bert")
    graph_id = await house.graph(user, "Weekly report")

    for _ in range(10):
        await house.end(user, 200, graph_id=graph_id)
    await house.end(other)
    await house.look()

    assert house.subjects(user) == ["Weekly report has failed"] * 3
    assert len(house.mails(other)) == 1, "one user's flood is nobody else's"
    house.clock.move(minutes=59)
    await house.look()
    assert len(house.mails(user)) == 3
    house.clock.move(minutes=2)
    await house.end(user, graph_id=graph_id)
    await house.look()
    assert sorted(house.subjects(user)[3:]) == [
        "Summary of an hour: 1997 events, 1997 failed",
        "Weekly report has failed",
    ]
    (summary,) = [one for one in house.mails(user) if one["Subject"].startswith("Summary")]
    assert "1997 x failed: Weekly report" in body(summary)
    assert "and 1992 more" in body(summary)
    house.clock.move(hours=3)
    await house.look()
    assert len(house.mails(user)) == 5, "there is no second summary"


async def test_a_daily_digest_comes_at_its_local_hour_and_has_all_that_came(house: MailHouse) -> None:
    await next_day(house)
    user = await house.user(time_zone="Asia/Kathmandu")
    first, second = await house.graph(user, "First"), await house.graph(user, "Second")
    await house.choose(user, execution_finished=DAILY, execution_failed=DAILY)

    await house.end(user, 3, COMPLETED, first)
    await house.look()
    await house.end(user, 2, graph_id=second)
    await house.end(user, 4, COMPLETED, first)
    house.clock.now = house.clock.now.replace(hour=23)
    await house.look()
    house.clock.move(hours=3, minutes=14)
    await house.look()
    assert house.mails(user) == []
    house.clock.move(minutes=1)  # 08:00 in Kathmandu
    await house.look()

    (digest,) = house.mails(user)
    assert digest["Subject"] == "Daily digest: 9 events, 2 failed"
    assert "7 x finished: First" in body(digest)
    assert "2 x failed: Second" in body(digest)
    assert body(digest).count("no luck") == 2
    house.clock.move(days=1)
    await house.look()
    assert len(house.mails(user)) == 1, "a day without anything has no digest"
    await house.end(user, 1, COMPLETED, first)
    house.clock.move(days=1)
    await house.look()
    assert house.subjects(user)[1:] == ["Daily digest: 1 event"]


async def test_digests_keep_their_hour_when_the_clocks_change(house: MailHouse) -> None:
    user = await house.user(time_zone="Europe/Berlin")
    await house.choose(user, execution_finished=DAILY)
    house.clock.now = at("2027-03-26 12:00")
    arrived: list[datetime] = []
    for _ in range(4 * 24):
        await house.end(user, 1, COMPLETED)
        await house.look()
        while len(arrived) < len(house.mails(user)):
            arrived.append(house.clock.now)
        house.clock.move(hours=1)

    assert arrived == [at("2027-03-27 07:00"), at("2027-03-28 06:00"), at("2027-03-29 06:00"), at("2027-03-30 06:00")]
    counts = [int(subject.split()[2]) for subject in house.subjects(user)]
    assert counts == [20, 23, 24, 24], "each end is in one digest"


async def test_a_weekly_digest_comes_on_its_day(house: MailHouse) -> None:
    await next_day(house)
    user = await house.user()
    await house.choices.update(user, {}, 9, 3)  # Wednesday
    await house.choose(user, execution_failed=WEEKLY)
    await house.end(user)
    due = None
    for _ in range(8 * 24):
        await house.look()
        if house.mails(user):
            due = house.clock.now
            break
        house.clock.move(hours=1)

    assert due is not None
    assert (due.isoweekday(), due.hour) == (3, 9)
    assert house.subjects(user) == ["Weekly digest: 1 event, 1 failed"]


async def test_another_hour_counts_for_the_digest_that_is_gathered(house: MailHouse) -> None:
    await next_day(house)
    user = await house.user()
    await house.choose(user, execution_failed=DAILY)
    await house.end(user)
    await house.look()
    await house.choices.update(user, {}, 14, None)
    await house.look()
    house.clock.move(hours=2)
    await house.look()

    assert len(house.mails(user)) == 1


async def test_replicas_make_each_digest_once_while_more_is_gathered(house: MailHouse) -> None:
    await next_day(house)
    users = [await house.user() for _ in range(4)]
    other = await house.another()
    for user in users:
        await house.choose(user, execution_finished=DAILY)
        await house.end(user, 5, COMPLETED)
    await house.look()
    house.clock.move(days=1)

    await asyncio.gather(
        house.look(), other.sender.look(), *(house.end(user, 2, COMPLETED) for user in users), other.sender.look()
    )
    house.clock.move(days=1)
    await asyncio.gather(house.look(), other.sender.look())

    for user in users:
        counts = [int(subject.split()[2]) for subject in house.subjects(user)]
        assert sum(counts) == 7
        assert len(counts) <= 2


async def test_a_digest_is_bounded_however_many_graphs_there_are(house: MailHouse) -> None:
    await next_day(house)
    user = await house.user()
    await house.choose(user, execution_failed=DAILY)
    await house.tell(*(house.ended(user, graph_id=f"graph-{number}") for number in range(80)))
    await house.look()
    house.clock.move(days=1)
    await house.look()

    (digest,) = house.mails(user)
    assert "And of 30 further graphs." in body(digest)
    assert len(body(digest)) < 20_000


async def test_what_is_off_leaves_the_digest_too(house: MailHouse) -> None:
    await next_day(house)
    user = await house.user()
    await house.choose(user, execution_failed=DAILY, low_balance=DAILY)
    await house.end(user)
    await house.look()
    await house.choose(user, execution_failed=OFF)
    house.clock.move(days=1)
    await house.look()

    assert house.mails(user) == [], "an empty digest is none"


async def test_a_digest_that_waits_is_sent_without_what_is_off_meanwhile(house: MailHouse) -> None:
    await next_day(house)
    both, one = await house.user(), await house.user("bert")
    for user in (both, one):
        await house.choose(user, execution_failed=DAILY, execution_finished=DAILY)
        await house.end(user)
    await house.end(both, 1, COMPLETED)
    await house.look()
    house.clock.move(days=1)
    house.receiver.answer("RCPT", "450 4.2.0 later", "450 4.2.0 later")
    await house.look()
    assert [await house.rows(user) for user in (both, one)] == [[(MailState.WAITS, 1, "450 4.2.0 later")]] * 2

    for user in (both, one):
        await house.choose(user, execution_failed=OFF)
    house.clock.move(minutes=2)
    await house.look()

    assert house.subjects(both) == ["Daily digest: 1 event"]
    assert "no luck" not in body(house.mails(both)[0])
    assert house.mails(one) == []
    assert await house.rows(one) == [(MailState.UNWANTED, 2, "unsubscribed")]


async def test_what_a_replica_gathers_whose_clock_is_behind_is_in_a_digest_too(house: MailHouse) -> None:
    await next_day(house)
    user = await house.user()
    await house.choose(user, execution_failed=DAILY)
    await house.end(user)
    await house.look()
    house.clock.move(days=1)
    house.clock.now = house.clock.now.replace(hour=8)
    await house.look()
    house.clock.move(seconds=-0.02)
    await house.end(user, 2)
    house.clock.move(seconds=0.02)

    await house.look()

    assert house.subjects(user) == ["Daily digest: 1 event, 1 failed", "Daily digest: 2 events, 2 failed"]


async def test_notices_are_told_and_gathered_like_all_else(house: MailHouse) -> None:
    await next_day(house)
    user, digested = await house.user(), await house.user("dora")
    await house.choose(digested, low_balance=DAILY)
    notices = []
    for one in (user, digested):
        kind, details = NoticeKind.NOTICE_KIND_LOW_BALANCE, {"balance": "3", "low_balance": "10"}
        notices.append(Notice(id=str(new_id()), user_id=one, kind=kind, details=details))
        notices[-1].time.FromDatetime(house.clock())

    async with house.pool.acquire() as connection, connection.transaction():
        assert await house.mailing.sorter.take_notices(connection, notices)
    await house.look()
    house.clock.move(days=1)
    await house.look()

    assert house.subjects(user) == ["Your balance is low: 3 credits"]
    assert house.subjects(digested) == ["Daily digest: 1 event"]
    assert "1 x low balance" in body(house.mails(digested)[0])
