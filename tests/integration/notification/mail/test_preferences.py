"""From an execution to a mail, from the mail to the page that ends such mails, and what users choose, over gRPC."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import httpx2
import pytest
from blockyard.account.v1 import account_service_pb2 as account_messages
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.notice_pb2 import NoticeKind
from blockyard.notification.v1 import preference_service_pb2 as messages
from blockyard.notification.v1.preference_service_pb2_grpc import PreferenceServiceStub
from blockyard.runner.v1.task_pb2 import Task
from google.protobuf.field_mask_pb2 import FieldMask

from services.common.bus import Ack, Message
from services.common.ids import new_id
from services.common.notices import new_notice, subject
from services.notification.clock import utc_now
from services.notification.mail.kinds import DEFAULTS, MailKind, Round
from services.notification.mail.unsubscribing import Ending, Unsubscribing
from tests import signing
from tests.integration.account.service import Service as Accounts
from tests.integration.account.service import account_service
from tests.integration.execution.house import House
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_guarantees import one_node
from tests.integration.graph.service import refusal
from tests.integration.notification.house import Notifier, metadata, notifier, notifying
from tests.integration.notification.mail.receiver import Receiver, receiving
from tests.waiting import until

OFF, IMMEDIATELY = messages.MAIL_FREQUENCY_OFF, messages.MAIL_FREQUENCY_IMMEDIATELY
FAILED, LOW = messages.MAIL_KIND_EXECUTION_FAILED, messages.MAIL_KIND_LOW_BALANCE


@dataclass(eq=False)
class Whole:
    """Executions, their user's address, and the service that tells them."""

    built: House
    told: Notifier
    accounts: Accounts
    receiver: Receiver
    settings: dict[str, Any]
    """What a further replica must be told."""

    async def call(self, method: str, request: Any, user_id: str = "anna", **fields: Any) -> Any:
        stub: Any = PreferenceServiceStub(self.told.channel)  # Any: its type depends on the kind of channel
        return await getattr(stub, method)(request, metadata=metadata(user_id, **fields), timeout=20)

    async def refused(self, request: messages.UpdatePreferencesRequest) -> dict[str, str]:
        """What of a request is refused."""
        try:
            answer = await self.call("UpdatePreferences", request)
        except grpc.aio.AioRpcError as error:
            return refusal(error).fields
        raise AssertionError(f"it was not refused: {answer}")

    async def preferences(self, user_id: str = "anna") -> messages.Preferences:
        preferences: messages.Preferences = (
            await self.call("GetPreferences", messages.GetPreferencesRequest(), user_id)
        ).preferences
        return preferences

    async def fail(self) -> None:
        """An execution of the user fails."""

        def broken(inputs: dict[str, Any], task: Task) -> Iterator[tuple[str, Any]]:
            raise ValueError("no such luck")
            yield

        async with running(self.built.bus, {"work": broken}):
            client = self.built.client()
            execution = await client.start()
            await client.events(execution.id)

    async def notice(self, user_id: str = "anna", **details: str) -> Message:
        """A notice of a low balance is published."""
        pending = new_notice(new_id(), user_id, NoticeKind.NOTICE_KIND_LOW_BALANCE, utc_now(), details)
        message = Message(subject(user_id), pending.data, str(pending.notice_id))
        (answer,) = await self.built.bus.publish_all([message])
        assert isinstance(answer, Ack), answer
        return message


@pytest.fixture(scope="module")
def whole(runner: asyncio.Runner, postgres: PostgresServer) -> Iterator[Whole]:
    stack = AsyncExitStack()

    async def opened() -> Whole:
        accounts = await stack.enter_async_context(account_service(postgres))
        receiver = await stack.enter_async_context(receiving())
        mail: dict[str, Any] = {
            "account_address": accounts.address,
            "graph_address": "127.0.0.1:1",
            "smtp_host": "127.0.0.1",
            "smtp_port": receiver.port,
            "smtp_security": "none",
            "mail_sender": "by@example.com",
            "public_url": "https://blockyard.example.org",
        }
        built, told = await stack.enter_async_context(notifying(postgres, **mail))
        one_node(built)
        fields: dict[str, Any] = {"email": "anna@example.org", "name": "Anna"}
        request = account_messages.UpdateUserRequest(update_mask=FieldMask(paths=list(fields)), **fields)
        await accounts.user("anna").call("UpdateUser", request)
        return Whole(built, told, accounts, receiver, mail)

    try:
        yield runner.run(opened())
    finally:
        runner.run(stack.aclose())


def update(*mails: messages.MailPreference, mask: str = "mails", **fields: Any) -> messages.UpdatePreferencesRequest:
    return messages.UpdatePreferencesRequest(update_mask=FieldMask(paths=mask.split()), mails=mails, **fields)


async def test_a_failed_execution_is_mailed_until_the_link_in_the_mail_ends_it(whole: Whole) -> None:
    await whole.fail()
    mail = await until(lambda: whole.receiver.of("anna@example.org")[-1:], "a mail arrives")
    link = str(mail[0]["List-Unsubscribe"]).strip("<>")
    assert link.startswith("https://blockyard.example.org/unsubscribe?token=")
    page = link.replace("https://blockyard.example.org", f"http://{whole.told.web}")
    async with httpx2.AsyncClient(timeout=20) as browser:
        asked = await browser.get(page)
        assert asked.status_code == 200
        assert "Kind: <b>failed</b>" in asked.text
        assert "form-action 'self'" in asked.headers["content-security-policy"]
        assert {one.kind: one.frequency for one in (await whole.preferences()).mails}[FAILED] == IMMEDIATELY, (
            "whoever only follows links ends nothing"
        )
        # As mail programs do it (RFC 8058).
        done = await browser.post(page, data={"List-Unsubscribe": "One-Click"})
        assert (done.status_code, "no more mails of these kinds: failed" in done.text) == (200, True)
        again = await browser.post(page)
        assert again.status_code == 200
        bad = await browser.post(page[:-3])
        assert (bad.status_code, "not whole" in bad.text) == (400, True)
        assert (await browser.get(f"http://{whole.told.web}/unsubscribe")).status_code == 400
    assert {one.kind: one.frequency for one in (await whole.preferences()).mails}[FAILED] == OFF

    await whole.fail()
    await whole.notice(balance="3")
    await until(lambda: len(whole.receiver.taken) == 2, "another kind still comes")
    assert whole.receiver.subjects()[1] == "Your balance is low: 3 credits"


async def test_a_notice_that_comes_again_or_is_none_is_left_out(whole: Whole) -> None:
    before = len(whole.receiver.taken)
    first = await whole.notice(balance="4")
    repeated = Message(first.subject, first.payload, str(new_id()))
    none = Message(first.subject, b"\xff\xff", str(new_id()))
    await whole.built.bus.publish_all([repeated, none])
    await whole.notice(balance="5")

    await until(lambda: len(whole.receiver.taken) >= before + 2, "both notices are mailed")
    subjects = [subject.split(": ")[1] for subject in whole.receiver.subjects()[before:]]
    assert subjects == ["4 credits", "5 credits"]


async def test_preferences_are_the_defaults_until_they_are_set(whole: Whole) -> None:
    found = await whole.preferences("bert")
    assert {one.kind: one.frequency for one in found.mails} == {int(kind): int(one) for kind, one in DEFAULTS.items()}
    assert (found.digest_hour, found.digest_day, found.mail_enabled, found.address_refusal) == (8, 1, True, "")

    daily = messages.MailPreference(kind=FAILED, frequency=messages.MAIL_FREQUENCY_DAILY)
    changed = (await whole.call("UpdatePreferences", update(daily, digest_hour=22), "bert")).preferences
    assert (changed.digest_hour, {one.kind: one.frequency for one in changed.mails}[FAILED]) == (8, daily.frequency)
    await whole.call("UpdatePreferences", update(mask="digest_hour digest_day", digest_hour=0, digest_day=7), "bert")

    found = await whole.preferences("bert")
    assert (found.digest_hour, found.digest_day) == (0, 7)
    assert {one.kind: one.frequency for one in found.mails} == {
        **{int(kind): int(one) for kind, one in DEFAULTS.items()},
        FAILED: daily.frequency,
    }


async def test_a_link_ends_all_mails_or_those_of_a_digest(whole: Whole) -> None:
    making = Unsubscribing(signing.SERVICE_SECRET)
    daily = messages.MailPreference(kind=LOW, frequency=messages.MAIL_FREQUENCY_DAILY)
    await whole.call("UpdatePreferences", update(daily), "carl")

    stub: Any = PreferenceServiceStub(whole.told.channel)
    token = making.token(Ending("carl", None, Round.DAILY))
    ended = await stub.Unsubscribe(messages.UnsubscribeRequest(token=token), timeout=20)
    again = await stub.Unsubscribe(messages.UnsubscribeRequest(token=token), timeout=20)
    everything = await stub.Unsubscribe(messages.UnsubscribeRequest(token=token, all=True), timeout=20)

    assert (list(ended.kinds), list(again.kinds), list(everything.kinds)) == ([LOW], [], sorted(MailKind))
    assert {one.frequency for one in (await whole.preferences("carl")).mails} == {OFF}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Unsubscribe(messages.UnsubscribeRequest(token="mine"), timeout=20)
    assert refusal(refused.value).reason == "UNSUBSCRIBE_TOKEN_INVALID"


async def test_what_cannot_be_chosen_is_refused_with_all_that_is_wrong(whole: Whole) -> None:
    one = messages.MailPreference(kind=LOW, frequency=OFF)
    odd = messages.MailPreference(kind=99, frequency=77)  # type: ignore[arg-type]  # numbers that a client may send

    assert set(await whole.refused(update(mask="mails address"))) == {"update_mask"}
    assert set(await whole.refused(messages.UpdatePreferencesRequest(digest_hour=24))) == {"digest_hour"}
    wrong = update(odd, one, one, messages.MailPreference(), mask="mails digest_hour digest_day", digest_hour=24)
    assert set(await whole.refused(wrong)) == {
        "mails[0].kind",
        "mails[0].frequency",
        "mails[2].kind",
        "mails[3].kind",
        "mails[3].frequency",
        "digest_hour",
        "digest_day",
    }


async def test_each_execution_is_mailed_once_while_replicas_come_and_go(whole: Whole) -> None:
    failed = messages.MailPreference(kind=FAILED, frequency=IMMEDIATELY)
    await whole.call("UpdatePreferences", update(failed))
    before = len(whole.receiver.taken)
    for _ in range(3):
        replica = await notifier(whole.built, **whole.settings)
        await asyncio.gather(*(whole.fail() for _ in range(2)))
        await replica.close()
        await whole.fail()

    await until(lambda: len(whole.receiver.taken) >= before + 9, "all are mailed")
    await whole.notice(balance="6")
    await until(lambda: whole.receiver.subjects()[-1].endswith("6 credits"), "what came later is mailed")
    mails = whole.receiver.taken[before:]
    assert len(mails) == 10
    assert len({str(mail["Message-ID"]) for mail in mails}) == 10
