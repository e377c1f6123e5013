"""What a message of events says of itself."""

import pytest
from blockyard.feeds import FeedPlace, user_of_word, user_word


@pytest.mark.parametrize("text", ["", "1 2", "1 2 x", "1 2 3 4", "-1 2 3", "1 2 \u00b3", "1 2 \u0663"])
def test_a_header_that_is_no_place_is_none(text: str) -> None:
    assert FeedPlace.parse(text) is None


def test_a_place_is_read_as_it_was_written() -> None:
    place = FeedPlace(partition=3, before=6, sequence=9)
    assert FeedPlace.parse(str(place)) == place


@pytest.mark.parametrize("user_id", ["anna", "bert.smith", "a.b.c@example.org"])
def test_a_user_is_one_word_of_a_subject(user_id: str) -> None:
    assert "." not in user_word(user_id)
    assert user_of_word(user_word(user_id)) == user_id
