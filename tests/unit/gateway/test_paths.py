"""Paths of REST as patterns, each before those that would match it too."""

import re

import pytest

from services.gateway.contract import public_methods
from services.gateway.paths import by_shape, pattern


@pytest.mark.parametrize(
    ("template", "fits", "does_not"),
    [
        ("/api/graphs/{graph_id}", "/api/graphs/a", "/api/graphs/a/versions"),
        ("/api/graphs/{graph.id}", "/api/graphs/a-b", "/api/graphs/"),
        ("/api/executions/{execution_id}:stop", "/api/executions/a:stop", "/api/executions/a"),
        ("/api/a.b", "/api/a.b", "/api/aXb"),
    ],
)
def test_a_variable_is_one_segment_and_all_else_is_meant_literally(template: str, fits: str, does_not: str) -> None:
    assert re.fullmatch(pattern(template), fits)
    assert not re.fullmatch(pattern(template), does_not)


def test_each_path_is_met_before_any_that_matches_it_too() -> None:
    templates = list(by_shape(public_methods()))
    for template in templates:
        asked = template.replace("{}", "any")
        assert next(one for one in templates if re.fullmatch(pattern(one), asked)) == template


def test_methods_on_one_path_stand_together() -> None:
    (verbs,) = (verbs for shape, verbs in by_shape(public_methods()).items() if shape == "/api/graphs/{}")
    assert {verb: method.name for verb, method in verbs.items()} == {
        "GET": "GetGraph",
        "PATCH": "UpdateGraph",
        "DELETE": "DeleteGraph",
    }
