"""docs/guarantees.md names every rule, and for each of them tests and modules that are there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
RULES = {
    int(number): text for number, text in re.findall(r"^## (\d+)\. (.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
FILE = re.compile(r"`((?:services|sdk|blocks)/[\w/.]+)`")


@cache
def names_in(path: str) -> frozenset[str]:
    """The names of the tests in a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def test_every_rule_is_there() -> None:
    assert list(RULES) == list(range(1, 29))


@pytest.mark.parametrize("number", RULES)
def test_a_rule_names_tests(number: int) -> None:
    assert TEST.findall(RULES[number])


@pytest.mark.parametrize("number", RULES)
def test_what_a_rule_names_is_there(number: int) -> None:
    missing = [f"{path}::{name}" for path, name in TEST.findall(RULES[number]) if name not in names_in(path)]
    missing += [path for path in FILE.findall(RULES[number]) if not (ROOT / path).is_file()]
    assert missing == []


def test_nothing_that_looks_like_a_test_escapes_the_check() -> None:
    assert PAGE.count("::test_") == len(TEST.findall(PAGE))
