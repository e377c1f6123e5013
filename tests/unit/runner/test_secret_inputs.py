"""Secrets in the message of a failed run are hidden, in time that does not hold up other runs."""

import json
import random
import time

import pytest

from services.runner.redaction import HIDDEN
from services.runner.secret_inputs import MOST_TEXTS, TOO_MANY, without


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("no key tops3cret&co here", "no key *** here"),
        ("tops3cret&co, tops3cret&co", "***, ***"),
        ("GET /?key=tops3cret%26co", "GET /?key=***"),
        ("cut off in the tops3cr", "cut off in the ***"),
        ("cut off in the top", "cut off in the top"),
        ("tops tops tops", "tops tops ***"),
        ("nothing of it", "nothing of it"),
    ],
)
def test_a_secret_is_hidden_whole_or_cut_off_plain_or_encoded(text: str, hidden: str) -> None:
    assert without(text, ["tops3cret&co"]) == hidden


def test_texts_in_lists_and_objects_are_hidden_and_short_ones_are_not() -> None:
    values = [{"user": "anna-maria", "keys": ["key-1234", 567_890, "abc"]}]
    assert without("anna-maria, key-1234, 567890, abc", values) == f"{HIDDEN}, {HIDDEN}, {HIDDEN}, abc"


def test_a_text_that_is_longer_than_the_message_is_hidden_where_the_message_is_cut() -> None:
    secret = json.dumps(list(range(10_000)))
    assert without(f"got {secret}"[:500], [secret]) == f"got {HIDDEN}"


def test_a_secret_of_very_many_texts_holds_up_nobody() -> None:
    texts = [f"{number:020}" for number in range(100_000)]
    begun = time.process_time()
    assert without(f"got {texts[5]}", [texts]) == TOO_MANY
    assert time.process_time() - begun < 1
    few = random.Random(7).sample(texts, MOST_TEXTS)
    assert without(f"got {few[-1]}", [few]) == f"got {HIDDEN}"
