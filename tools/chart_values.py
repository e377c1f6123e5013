"""Writes the table of values into the chart's README: `python -m tools.chart_values`.

Comments of values.yaml are in the form of helm-docs: `# -- what it is` above a key, and lines that go on. A map with
such a comment is one row; what is in it has rows where it has comments of its own.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "charts" / "blockyard"
README = CHART / "README.md"
BEGIN = "<!-- from values.yaml: python -m tools.chart_values -->\n"
END = "<!-- end of the values -->\n"
MARK = "# -- "
KINDS = {str: "string", bool: "bool", int: "int", float: "float", list: "list", dict: "object", type(None): "string"}


@dataclass(frozen=True)
class Value:
    """A key of values.yaml, with all above it."""

    key: str
    default: Any  # what stands in YAML
    text: str
    """What its comment says; empty where it has none."""
    covered: bool
    """Whether something around it is a row as a whole."""

    @property
    def is_leaf(self) -> bool:
        """Whether there is nothing below it."""
        return not isinstance(self.default, dict) or not self.default


def values() -> list[Value]:
    """All keys, in the order of the file."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    root = yaml.compose(text, yaml.CSafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return list(_below(root, yaml.safe_load(text), text.splitlines(), "", False))


def _below(node: yaml.MappingNode, found: Any, lines: list[str], prefix: str, covered: bool) -> Iterator[Value]:
    for key, value in node.value:
        text = _comment(lines, key.start_mark.line, key.start_mark.column)
        own = Value(f"{prefix}{key.value}", found[key.value], text, covered)
        yield own
        if isinstance(value, yaml.MappingNode):
            yield from _below(value, own.default, lines, f"{own.key}.", covered or bool(text))


def _comment(lines: list[str], line: int, column: int) -> str:
    """What the comment above a key says, on one line."""
    if lines[line][:column].strip():
        return ""  # within braces, after other keys
    above: list[str] = []
    while line and lines[line - 1].startswith(" " * column + "#"):
        line -= 1
        above.insert(0, lines[line].strip())
        if above[0].startswith(MARK):
            return " ".join([above[0].removeprefix(MARK), *(one.removeprefix("#").strip() for one in above[1:])])
    return ""


def table() -> str:
    """The rows, in Markdown."""
    shown = [value for value in values() if value.text]
    # The default of a map whose keys have rows of their own stands there.
    parents = {value.key.rpartition(".")[0] for value in shown}
    rows = [
        f"| `{value.key}` | {KINDS[type(value.default)]} "
        f"| {'' if value.key in parents else _default(value.default)} | {_cell(value.text)} |"
        for value in shown
    ]
    return "\n".join(["| value | kind | default | what it is |", "|---|---|---|---|", *rows]) + "\n"


def _default(default: Any) -> str:
    if default in ("", None):
        return ""
    return f"`{_cell(json.dumps(default, ensure_ascii=False))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def readme() -> str:
    """The README with the table of now."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    README.write_text(readme(), encoding="utf-8")
