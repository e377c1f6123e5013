"""Mails reach the server, whatever it does, and each once; users without an address, or who are disabled, get none."""

import asyncio
import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from blockyard.event.v1.event_pb2 import Event, EventBatch, EventKind

from services.notification.mail.kinds import Frequency
from services.notification.mail.messages import Message
from services.notification.mail.post import ServerAway
from services.notification.mail.records import MailState
from services.notification.mail.sending import DELAYS, LEASE_SECONDS
from tests.integration.notification.mail.house import COMPLETED, MailHouse
from tests.integration.notification.mail.receiver import DROP, HANG, receiving
from tests.stack.certificates import Authority
from tests.waiting import until

SENT, WAITS, GIVEN_UP, UNWANTED = MailState.SENT, MailState.WAITS, MailState.GIVEN_UP, MailState.UNWANTED


async def test_a_failed_execution_is_told_with_the_name_of_its_graph(house: MailHouse) -> None:
    user = await house.user()
    graph_id = await house.graph(user, "Weekly report")

    await house.end(user, graph_id=graph_id)
    await house.end(user, kind=COMPLETED, graph_id=graph_id)
    await house.look()

    (mail,) = house.mails(user)
    assert mail["Subject"] == "Weekly report has failed"
    assert mail["To"].addresses[0].display_name == "Ann"
    assert mail["From"].addresses[0].addr_spec == "by@example.com"
    assert "no luck" in mail.get_body(("plain",)).get_content()
    assert await house.rows(user) == [(SENT, 1, "")], "what went well is not told unless somebody asks for it"


async def test_a_person_who_is_waited_for_is_told(house: MailHouse) -> None:
    user = await house.user()
    event = Event(sequence=3, kind=EventKind.EVENT_KIND_NODE_WAITING, node_id="review", node_execution=2)
    event.waits_for_person = True
    event.time.FromDatetime(house.clock())

    await house.tell(EventBatch(execution_id="e", graph_id="gone", user_id=user, events=[event]))
    await house.look()

    (mail,) = house.mails(user)
    assert mail["Subject"] == "Graph gone waits for you"
    assert "executions resume e 2 --approve or --reject" in mail.get_body(("plain",)).get_content()


async def test_an_event_that_comes_again_makes_no_second_mail(house: MailHouse) -> None:
    user = await house.user()
    turn = house.ended(user)

    await house.tell(turn, turn)
    await house.look()
    await house.tell(turn)
    await house.look()

    assert len(house.mails(user)) == 1


async def test_what_happened_long_ago_is_not_told(house: MailHouse) -> None:
    user = await house.user()
    turn = house.ended(user)
    turn.events[0].time.FromDatetime(house.clock() - timedelta(days=1, seconds=1))

    assert not await house.tell(turn)
    assert await house.rows(user) == []


@pytest.mark.parametrize(
    ("command", "answer", "said"),
    [
        ("MAIL", "451 4.3.0 come again", "451 4.3.0 come again"),
        ("MAIL", "550 5.7.1 sender not allowed", "550 5.7.1 sender not allowed"),
        ("MAIL", DROP, ""),
        ("MAIL", "421 4.4.2 closing", "421"),
        ("RCPT", "450 4.2.0 greylisted", "450 4.2.0 greylisted"),
        ("RCPT", "554 5.7.1 <ann@example.org>: Relay access denied", "Relay access denied"),
        ("RCPT", "550 5.7.1 Client host rejected: Access denied", "Client host rejected"),
        ("RCPT", "550 5.1.8 <by@example.com>: Sender address rejected: Domain not found", "Domain not found"),
        ("RCPT", "550 5.1.0 <by@example.com>: Sender address rejected: User unknown", "User unknown"),
        ("RCPT", "550 relay not permitted", "550 relay not permitted"),
        ("RCPT", "554 no", "554 no"),
        ("RCPT", DROP, ""),
        ("DATA", "452 4.2.2 mailbox full", "452 4.2.2 mailbox full"),
        ("DATA", "421 4.4.2 closing", "421"),
    ],
)
async def test_what_may_pass_is_tried_again(house: MailHouse, command: str, answer: str, said: str) -> None:
    user = await house.user()
    house.receiver.answer(command, answer)

    await house.end(user)
    await house.look()
    ((state, attempts, reason),) = await house.rows(user)
    assert (state, attempts, house.mails(user)) == (WAITS, 1, [])
    assert said in reason
    assert reason
    house.clock.move(seconds=DELAYS[0] * 0.9)
    await house.look()
    assert house.mails(user) == [], "not before its time"
    house.clock.move(seconds=DELAYS[0] * 0.2)
    await house.look()

    assert len(house.mails(user)) == 1
    assert await house.rows(user) == [(SENT, 2, "")]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("RCPT", "550 5.1.1 no such user"),
        ("RCPT", "554 5.2.1 this mailbox is disabled"),
        ("RCPT", "550 no such user"),
        ("RCPT", "550 no such user (#5.1.1)"),
        ("DATA", "554 5.6.0 we take no such mails"),
    ],
)
async def test_what_is_refused_for_good_is_given_up_with_the_reason(
    house: MailHouse, command: str, answer: str
) -> None:
    user, other = await house.user(), await house.user("bert")
    house.receiver.answer(command, answer)

    await house.end(user)
    await house.end(other)
    await house.look()

    # In which order is chance where both are of the same millisecond.
    rows = sorted([*await house.rows(user), *await house.rows(other)])
    assert rows == [(SENT, 1, ""), (GIVEN_UP, 1, answer)], "the next mail goes over the same connection"
    house.clock.move(days=2)
    await house.look()
    assert len(house.mails(user)) + len(house.mails(other)) == 1


async def test_a_mail_is_tried_for_a_day_and_then_given_up(house: MailHouse) -> None:
    user = await house.user()
    house.receiver.answer("RCPT", *["450 4.2.0 later"] * 100)
    await house.end(user)
    tried, began = [], house.clock()
    for _ in range(300):
        before = len(house.receiver.recipients)
        await house.look()
        if len(house.receiver.recipients) > before:
            tried.append(house.clock() - began)
        house.clock.move(minutes=5)
    house.receiver.answers.clear()

    ((state, _, reason),) = await house.rows(user)
    assert (state, reason) == (GIVEN_UP, "tried for a day, at last: 450 4.2.0 later")
    assert tried[-1] == timedelta(days=1)
    assert 20 <= len(tried) <= 35


async def test_a_server_that_cannot_be_reached_is_asked_once_for_all_that_waits(house: MailHouse) -> None:
    users = [await house.user() for _ in range(3)]
    async with receiving() as dead:
        pass
    elsewhere = await house.another(smtp_port=dead.port)
    for user in users:
        await house.tell(house.ended(user), mailing=elsewhere)

    await elsewhere.sender.look()

    rows = [row for user in users for row in await house.rows(user)]
    assert [row[0] for row in rows] == [WAITS] * 3
    assert all("onnect" in row[2] for row in rows), rows
    house.clock.move(minutes=2)
    await house.look()
    assert [len(house.mails(user)) for user in users] == [1, 1, 1]


async def test_a_server_that_hangs_holds_up_nothing_for_long(house: MailHouse) -> None:
    user = await house.user()
    impatient = await house.another(smtp_timeout=0.2)
    house.receiver.answer("RCPT", HANG)
    await house.end(user)

    await impatient.sender.look()

    ((state, _, reason),) = await house.rows(user)
    assert state == WAITS
    assert "imed out" in reason or "timeout" in reason.lower()
    house.clock.move(minutes=2)
    await house.look()


async def test_a_mail_has_a_deadline_besides_that_of_each_step(house: MailHouse) -> None:
    user = await house.user()
    server = replace(house.mailing.sender._sending.server, timeout=60.0, most_seconds=0.2)
    message = Message(house.emails[user], b"Subject: slow\r\n\r\n")
    house.receiver.answer("RCPT", HANG)

    async with server.connected() as line:
        with pytest.raises(ServerAway, match="TimeoutError"):
            await line.send(message)


async def test_a_crash_between_sending_and_noting_it_repeats_the_same_message(house: MailHouse) -> None:
    user = await house.user()
    # The server has taken the mail, and the connection breaks before anybody knows.
    house.receiver.answer("DATA", DROP)
    await house.end(user)
    await house.look()
    house.clock.move(minutes=2)
    await house.look()

    first, again = house.mails(user)
    assert first["Message-ID"] == again["Message-ID"]
    assert await house.rows(user) == [(SENT, 2, "")]


async def test_a_sender_that_dies_is_taken_over_and_its_late_word_changes_nothing(house: MailHouse) -> None:
    user = await house.user()
    await house.end(user)
    mails = house.mailing.sender._mails
    (claimed,) = await mails.claim(house.clock(), LEASE_SECONDS, 10)

    await house.look()
    assert house.mails(user) == [], "somebody else has it"
    house.clock.move(seconds=LEASE_SECONDS + 1)
    await house.look()
    assert len(house.mails(user)) == 1

    await mails.put_off(claimed, house.clock(), "late")
    await mails.end(claimed, MailState.GIVEN_UP, house.clock(), "late")
    assert await house.rows(user) == [(SENT, 2, "")]


async def test_a_sender_that_ends_in_order_leaves_its_mails_to_others_at_once(house: MailHouse) -> None:
    user = await house.user()
    house.receiver.answer("RCPT", HANG)
    await house.end(user, 3)
    before = len(house.receiver.recipients)
    ending = asyncio.create_task(house.look())
    await until(lambda: len(house.receiver.recipients) > before, "the first is under way")
    ending.cancel()
    await asyncio.wait({ending})

    await house.look()

    assert len(house.mails(user)) == 3
    assert [row[:2] for row in await house.rows(user)] == [(SENT, 2)] * 3


async def test_replicas_share_the_work_and_send_each_mail_once(house: MailHouse) -> None:
    users = [await house.user() for _ in range(12)]
    for user in users:
        await house.end(user, 3)
    other = await house.another()

    await asyncio.gather(house.look(), other.sender.look(), house.look(), other.sender.look())

    assert [len(house.mails(user)) for user in users] == [3] * 12


async def test_users_who_are_disabled_or_unknown_or_have_no_address_get_nothing(house: MailHouse) -> None:
    disabled, without = await house.user("dora"), await house.user("emil", email="")
    odd = await house.user("odd", email="jürgen@example.org")
    await house.disable(disabled)
    for user in (disabled, without, "stranger", odd):
        await house.end(user)
    before = len(house.receiver.recipients)

    await house.look()

    assert await house.rows(disabled) == [(UNWANTED, 1, "the user is disabled")]
    assert await house.rows(without) == [(UNWANTED, 1, "the user has no address")]
    assert await house.rows("stranger") == [(UNWANTED, 1, "the user is not known")]
    assert [row[0] for row in await house.rows(odd)] == [GIVEN_UP]
    assert len(house.receiver.recipients) == before


async def test_an_address_that_refuses_mails_is_left_alone_until_its_user_says_more(house: MailHouse) -> None:
    user = await house.user()
    house.receiver.answer("RCPT", *["550 5.1.1 no such user"] * 3)
    for _ in range(4):
        await house.end(user)
        await house.look()
        house.clock.move(hours=1)

    tried = house.receiver.recipients.count(house.emails[user])
    assert tried == 3
    assert (await house.rows(user))[-1] == (UNWANTED, 1, "the address refuses mails: 550 5.1.1 no such user")

    await house.choose(user, low_balance=Frequency.OFF)
    await house.end(user)
    await house.look()
    assert len(house.mails(user)) == 1


async def test_a_server_that_takes_nothing_from_us_silences_no_address(house: MailHouse) -> None:
    user = await house.user()
    house.receiver.answer("RCPT", *["554 5.7.1 Relay access denied"] * 3)
    for _ in range(3):
        await house.end(user)
        await house.look()
        house.clock.move(seconds=1)

    house.clock.move(hours=1)
    await house.look()

    assert [row[0] for row in await house.rows(user)] == [SENT] * 3
    assert len(house.mails(user)) == 3


async def test_the_account_service_is_waited_for(house: MailHouse) -> None:
    user = await house.user()
    lost = await house.another(account_address="127.0.0.1:1")
    await house.end(user)

    await lost.sender.look()

    assert await house.rows(user) == [(WAITS, 1, "the account service is away (UNAVAILABLE)")]
    house.clock.move(minutes=2)
    await house.look()
    assert len(house.mails(user)) == 1


async def test_a_graph_service_that_is_away_costs_only_the_name(house: MailHouse) -> None:
    user = await house.user()
    graph_id = await house.graph(user, "Weekly report")
    nameless = await house.another(graph_address="127.0.0.1:1")
    await house.end(user, graph_id=graph_id)

    await nameless.sender.look()

    assert house.subjects(user) == [f"Graph {graph_id} has failed"]


async def test_a_mail_that_cannot_be_written_keeps_no_other_waiting(house: MailHouse) -> None:
    user = await house.user()
    await house.end(user, 2)
    await house.pool.execute(
        """
        UPDATE mails SET details = details - 'time'
        WHERE mail_id = (SELECT mail_id FROM mails WHERE user_id = $1 ORDER BY mail_id LIMIT 1)
        """,
        user,
    )

    await house.look()

    assert sorted(await house.rows(user)) == [(SENT, 1, ""), (GIVEN_UP, 1, "it cannot be written")]
    assert len(house.mails(user)) == 1


async def test_mails_of_a_kind_that_is_switched_off_meanwhile_are_not_sent(house: MailHouse) -> None:
    user = await house.user()
    house.receiver.answer("RCPT", "450 4.2.0 later")
    await house.end(user)
    await house.look()

    await house.choose(user, execution_failed=Frequency.OFF)
    house.clock.move(hours=1)
    await house.look()

    assert await house.rows(user) == [(UNWANTED, 1, "unsubscribed")]
    assert house.mails(user) == []


async def test_what_became_of_mails_is_forgotten_in_time(house: MailHouse) -> None:
    user = await house.user()
    await house.end(user)
    await house.look()
    house.clock.move(days=29)
    await house.look()
    assert await house.rows(user) == [(SENT, 1, "")]
    house.clock.move(days=2)
    await house.look()
    assert await house.rows(user) == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_mails_go_over_tls_with_a_password_from_a_file(house: MailHouse, tmp_path: Path, security: str) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path / "other")
    pair = authority.sign("mail")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    password = tmp_path / "password"
    password.write_text("wrong\n")
    user = await house.user()
    async with receiving(tls=context, implicit=security == "tls", user="by", password="right") as receiver:
        given: dict[str, Any] = {"smtp_port": receiver.port, "smtp_security": security, "smtp_user": "by"}
        trusting = await house.another(**given, smtp_ca=authority.file, smtp_password_file=password)
        wary = await house.another(**given, smtp_ca=other.file, smtp_password_file=password)
        careless = await house.another(**given, smtp_ca=authority.file, smtp_password_file=tmp_path / "none")
        plain = await house.another(smtp_port=receiver.port)
        await house.end(user)
        said = []
        for one in (wary, careless, plain, trusting):
            await one.sender.look()
            said.append((await house.rows(user))[0][2])
            house.clock.move(hours=1)
        password.write_text("right\n")
        await trusting.sender.look()

    assert len(receiver.of(house.emails[user])) == 1
    assert "certificate verify failed" in said[0]
    assert "the password cannot be read" in said[1]
    assert said[2]
    assert "refuses our user or password: 535" in said[3]
    assert not any("right" in one or "wrong" in one for one in said)
