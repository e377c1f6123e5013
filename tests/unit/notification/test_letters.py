"""What mails say, whatever names and messages hold."""

import email
import email.policy
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest

from services.notification.mail.addresses import AddressUnusable, usable
from services.notification.mail.kinds import MailKind, Round
from services.notification.mail.letters import Letter, Letters
from services.notification.mail.messages import Envelope, Message, compose
from services.notification.mail.records import Mail

NOW = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
ID = UUID("019aa000-0000-7000-8000-000000000001")
EXECUTION = "019aa000-0000-7000-8000-0000000000ee"
URL = "https://blockyard.example.org/unsubscribe?token=" + "x" * 150
LETTERS = Letters("https://app.example.org/runs/{execution_id}")
NASTY = '<script>alert(1)</script>\r\nBcc: all@example.org\x00\x1b[2J\u202e"' + "N" * 10_000


def mail(kind: MailKind | None, round: Round | None = None, **details: Any) -> Mail:
    return Mail(ID, "ann", "key", kind, round, {"graph_id": "g", "time": NOW.isoformat(), **details}, NOW)


def letter(of: Mail, name: str = "Weekly report", letters: Letters = LETTERS) -> Letter:
    return letters.write(of, {"g": name}, "Europe/Berlin", URL)


def digest(round: Round = Round.DAILY, **changes: Any) -> Mail:
    sample = {"execution_id": EXECUTION, "time": NOW.isoformat(), "message": "no luck"}
    entry = {"kind": 2, "graph_id": "g", "count": 7, "samples": [sample] * 5}
    fine = {"kind": 1, "graph_id": "g", "count": 100, "samples": [sample]}
    low = {"kind": 4, "graph_id": "", "count": 1, "samples": [{"time": NOW.isoformat(), "balance": "3"}]}
    times = {"first_time": NOW.isoformat(), "last_time": NOW.isoformat()}
    return mail(None, round, **{"entries": [fine, entry, low], "left_out": 3, **times, **changes})


def sent(of: Mail, name: str = "Weekly report", to: str = "ann@example.org", called: str = "Ann") -> EmailMessage:
    """The message as it is read by whoever gets it."""
    written: Message = compose(of, letter(of, name), Envelope("Blockyard <by@example.com>", called, to), NOW, URL)
    assert all(len(line) <= 998 for line in written.data.split(b"\r\n"))
    parsed = email.message_from_bytes(written.data, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


@pytest.mark.parametrize(
    ("kind", "details", "subject", "said"),
    [
        (
            MailKind.EXECUTION_FINISHED,
            {"execution_id": EXECUTION},
            "Weekly report has finished",
            "2026-11-22 08:00 CET",
        ),
        (
            MailKind.EXECUTION_FAILED,
            {"execution_id": EXECUTION, "message": "no luck"},
            "Weekly report has failed",
            "no luck",
        ),
        (
            MailKind.WAITING_FOR_YOU,
            {"execution_id": EXECUTION, "node_id": "review", "node_execution": "4"},
            "Weekly report waits for you",
            f"executions resume {EXECUTION} 4",
        ),
        (
            MailKind.WAITING_FOR_YOU,
            {"execution_id": EXECUTION, "node_id": "pay", "node_execution": "4", "ambiguous": "yes"},
            "Weekly report waits for you",
            "must not be repeated unasked",
        ),
        (
            MailKind.LOW_BALANCE,
            {"balance": "3", "low_balance": "10"},
            "Your balance is low: 3 credits",
            "fell below 10",
        ),
        (MailKind.LOW_BALANCE, {}, "Your balance is low", "fell below the bound"),
        (
            MailKind.CREDENTIAL_REVOKED,
            {"provider": "github", "credential_id": "c-1"},
            "A credential for github has to be connected again",
            "c-1",
        ),
        (MailKind.WEBHOOK_DISABLED, {"url": "https://a.example"}, "A webhook was switched off", "https://a.example"),
        (
            MailKind.SCHEDULE_PAUSED,
            {"name": "nightly", "reason": "no graph"},
            "Schedule nightly was paused",
            "no graph",
        ),
        (MailKind.SUBMISSION_REVIEWED, {"state": "approved"}, "Your submission was reviewed", "approved"),
    ],
)
def test_each_kind_has_its_subject_text_and_html(
    kind: MailKind, details: dict[str, Any], subject: str, said: str
) -> None:
    written = letter(mail(kind, **details))

    assert written.subject == subject
    assert said in " ".join(written.text.split())
    assert said in written.html.replace("</code>", "").replace("<b>", "").replace("</b>", "")
    assert URL in written.text
    assert f'href="{URL}"' in written.html
    assert ("https://app.example.org/runs/" + EXECUTION in written.text) == ("execution_id" in details)


def test_every_kind_is_tested_above() -> None:
    marks = test_each_kind_has_its_subject_text_and_html.pytestmark
    assert {case[0] for case in marks[0].args[1]} == set(MailKind)


def test_a_digest_counts_by_graph_and_lists_failures_with_links() -> None:
    written = letter(digest())

    assert written.subject == "Daily digest: 108 events, 7 failed"
    assert "7 x failed: Weekly report" in written.text
    assert written.text.count(f"https://app.example.org/runs/{EXECUTION}") == 5, (
        "of what went well, the count is enough"
    )
    assert "and 2 more" in written.text
    assert "1 x low balance" in written.text
    assert "And of 3 further graphs." in written.text
    assert written.html.count("<li>") == 7
    assert "Summary of an hour: 108 events" in letter(digest(Round.HOURLY)).subject
    assert "so here is the rest at once" in letter(digest(Round.HOURLY)).text


def test_without_an_address_of_executions_their_ids_are_told() -> None:
    written = letter(mail(MailKind.EXECUTION_FAILED, execution_id=EXECUTION), letters=Letters(""))

    assert f"Execution: {EXECUTION}" in written.text
    assert f"<code>{EXECUTION}</code>" in written.html


@pytest.mark.parametrize("of", [mail(MailKind.EXECUTION_FAILED, execution_id=EXECUTION, message=NASTY), digest()])
def test_names_and_messages_are_escaped_shortened_and_never_headers(of: Mail) -> None:
    message = sent(of, NASTY, called=NASTY)

    assert message["Bcc"] is None
    assert len(message["Subject"]) <= 150
    assert message["To"].addresses[0].addr_spec == "ann@example.org"
    html, text = message.get_body(("html",)), message.get_body(("plain",))
    assert html is not None
    assert text is not None
    assert "<script>" not in html.get_content()
    assert "&lt;script&gt;" in html.get_content()
    assert not any(hidden in part.get_content() for part in (html, text) for hidden in ("\x1b", "\x00", "\u202e"))
    assert len(text.get_content()) < 12_500


def test_a_graph_without_a_name_is_told_by_its_id() -> None:
    assert LETTERS.write(mail(MailKind.EXECUTION_FAILED), {}, "", URL).subject == "Graph g has failed"


def test_headers_are_those_that_mail_programs_look_for() -> None:
    message = sent(mail(MailKind.EXECUTION_FAILED, execution_id=EXECUTION), "Grüße " * 30, called="Jürgen, der «Chef»")

    assert message["Message-ID"] == f"<{ID}@example.com>"
    assert message["List-Unsubscribe"] == f"<{URL}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime == NOW
    assert message["Subject"].startswith("Grüße Grüße")
    assert message["To"].addresses[0].display_name == "Jürgen, der «Chef»"
    assert message.get_content_type() == "multipart/alternative"


def test_what_programs_read_is_in_one_piece_on_the_wire() -> None:
    of = mail(MailKind.EXECUTION_FAILED, execution_id=EXECUTION)
    envelope = Envelope("by@example.com", "", "ann@example.org")

    raw = compose(of, letter(of), envelope, NOW, URL).data

    assert f"\r\nList-Unsubscribe: <{URL}>\r\n".encode() in raw
    assert raw.isascii(), "a server without 8BITMIME takes it too"


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("ann@example.org", "ann@example.org"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("jürgen@example.org", None),
        ("", None),
        ("ann", None),
        ("@example.org", None),
        ("ann@", None),
        ("ann@example.org\r\nRCPT TO:<all@example.org>", None),
        ("ann example@example.org", None),
        ("ann@" + "ü" * 80 + ".example", None),
        ("a<b>@example.org", None),
    ],
)
def test_addresses_are_as_servers_take_them_or_refused(address: str, taken: str | None) -> None:
    if taken is None:
        with pytest.raises(AddressUnusable):
            usable(address)
    else:
        assert usable(address) == taken
