"""Page tokens."""

import pytest

from services.common import paging
from services.common.errors import InvalidArgument

SECRET = "s" * 32


def test_a_token_gives_back_its_position() -> None:
    token = paging.encode_page_token(SECRET, "ListGraphs|ada|", ["2026-11-21T09:00:00Z", 7])

    assert paging.decode_page_token(SECRET, "ListGraphs|ada|", token) == ["2026-11-21T09:00:00Z", 7]


@pytest.mark.parametrize("scope", ["ListGraphs|bob|", "ListExecutions|ada|", "ListGraphs|ada|x"])
def test_a_token_is_good_for_its_scope_alone(scope: str) -> None:
    token = paging.encode_page_token(SECRET, "ListGraphs|ada|", [7])

    with pytest.raises(paging.PageTokenInvalid) as refused:
        paging.decode_page_token(SECRET, scope, token)
    assert [violation.field for violation in refused.value.violations] == ["page_token"]


@pytest.mark.parametrize("token", ["", "?", "a", "aaaa", "é", "A" * 64, "\0", "==="])
def test_made_up_tokens_are_refused(token: str) -> None:
    with pytest.raises(paging.PageTokenInvalid):
        paging.decode_page_token(SECRET, "ListGraphs|ada|", token)


def test_a_changed_token_is_refused() -> None:
    token = paging.encode_page_token(SECRET, "scope", [7])

    for place in range(len(token) - 1):
        other = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(paging.PageTokenInvalid):
            paging.decode_page_token(SECRET, "scope", other)


def test_page_sizes_have_a_default_and_a_limit() -> None:
    assert [paging.page_size(size) for size in (0, 7, 1_000_000)] == [50, 7, 1000]
    with pytest.raises(InvalidArgument):
        paging.page_size(-1)
