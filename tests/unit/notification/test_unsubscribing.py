"""Tokens in links of mails: they hold for ever, and nobody else makes them."""

import base64

import pytest

from services.notification.mail.kinds import DEFAULTS, Frequency, MailKind, Round
from services.notification.mail.records import Preferences
from services.notification.mail.unsubscribing import Ending, UnsubscribeTokenInvalid, Unsubscribing

MINE = Unsubscribing("a secret of services in tests")


@pytest.mark.parametrize(
    "ending",
    [
        Ending("auth0|ann.b@example.org", MailKind.EXECUTION_FAILED, None),
        Ending("a.b.c", None, Round.WEEKLY),
        Ending("ü" * 100, MailKind.LOW_BALANCE, None),
    ],
)
def test_a_token_says_what_it_ends(ending: Ending) -> None:
    token = MINE.token(ending)

    assert MINE.read(token) == ending
    assert token.replace("-", "").replace("_", "").isalnum(), "it stands in an address as it is"


def test_a_token_of_somebody_else_or_a_changed_one_is_refused() -> None:
    token = MINE.token(Ending("ann", MailKind.EXECUTION_FAILED, None))
    whole = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for_bert = base64.urlsafe_b64encode(whole.replace(b"ann", b"bob")).decode()
    other = Unsubscribing("another secret").token(Ending("ann", MailKind.EXECUTION_FAILED, None))

    for bad in ("", "x", token[:-2], token[1:], for_bert, other, "=" * 50, "ü", "a" * 10_000, token + "%20", "\0"):
        with pytest.raises(UnsubscribeTokenInvalid):
            MINE.read(bad)


def test_a_digest_ends_what_comes_in_it() -> None:
    frequencies = {**DEFAULTS, MailKind.EXECUTION_FINISHED: Frequency.DAILY, MailKind.LOW_BALANCE: Frequency.WEEKLY}
    preferences = Preferences(frequencies=frequencies)

    assert Ending("ann", None, Round.DAILY).kinds(preferences) == [MailKind.EXECUTION_FINISHED]
    assert Ending("ann", None, Round.WEEKLY).kinds(preferences) == [MailKind.LOW_BALANCE]
    assert MailKind.EXECUTION_FAILED in Ending("ann", None, Round.HOURLY).kinds(preferences)
    assert MailKind.EXECUTION_FINISHED not in Ending("ann", None, Round.HOURLY).kinds(preferences)
    assert Ending("ann", MailKind.LOW_BALANCE, None).kinds(preferences) == (MailKind.LOW_BALANCE,)
