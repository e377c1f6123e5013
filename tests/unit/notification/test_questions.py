"""Filters as they come over HTTP."""

import pytest

from services.common.errors import InvalidArgument
from services.notification.asking import MOST
from services.notification.web.questions import of_json


def test_kinds_beyond_the_bound_are_counted_and_not_complained_of_one_by_one() -> None:
    with pytest.raises(InvalidArgument) as refused:
        of_json({"kinds": [""] * 21_000})
    first, *others = refused.value.violations
    assert (first.field, first.description) == ("filter.kinds", "at most 1000 are allowed, got 21000")
    assert len(others) == MOST
