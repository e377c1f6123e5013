"""From the bytes of a file to plain JSON values, and what kind of file it is. Nothing in a file can do harm here: its
size, its nesting and the number of its values are limited, and YAML has no types beyond JSON's and no aliases."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from blockyard.graph.v1.graph_service_pb2 import GraphFileFormat

from services.common.errors import Violation
from services.graph.errors import GraphTooLarge
from services.graph.importing.remarks import refusal

LARGEST_JSON = 8 << 20
LARGEST_YAML = 1 << 20
"""In bytes. YAML takes its time."""
DEEPEST = 60
"""Lists and objects inside of each other."""
MOST_VALUES = 2_500_000
MOST_VALUES_OF_YAML = 200_000
"""The largest graph that is taken has fewer than the first; one that has more than the second is exported as JSON."""

_OF_AGENTS = frozenset({"sub_graphs", "is_active", "credentials_input_schema", "has_external_trigger"})
_OF_NODES_OF_AGENTS = frozenset({"input_default", "input_links", "output_links", "graph_version"})
_OF_LINKS_OF_AGENTS = frozenset({"source_id", "sink_id", "source_name", "sink_name"})


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file that holds an object."""

    values: Mapping[str, Any]
    format: "GraphFileFormat.ValueType"


def read_file(data: bytes, wanted: "GraphFileFormat.ValueType") -> FileContent:
    """The object in a file, and its format where none is named. Raises GraphInvalid or GraphTooLarge."""
    if len(data) > LARGEST_JSON:
        raise _too_large(data, LARGEST_JSON, "a file")
    text = _text(data)
    is_yaml = wanted == GraphFileFormat.GRAPH_FILE_FORMAT_YAML
    if wanted == GraphFileFormat.GRAPH_FILE_FORMAT_UNSPECIFIED:
        is_yaml = not text.lstrip().startswith(("{", "["))
    if is_yaml and len(data) > LARGEST_YAML:
        raise _too_large(data, LARGEST_YAML, "a file in YAML")
    values = _from_yaml(text) if is_yaml else _from_json(text)
    _check(values)
    if not isinstance(values, dict):
        raise _refusal("", f"a graph file holds an object with nodes and links; this one holds {kind(values)}")
    if "nodes" not in values:
        raise _refusal("nodes", "is missing: this is neither a graph of Blockyard nor an agent of AutoGPT")
    if wanted == GraphFileFormat.GRAPH_FILE_FORMAT_UNSPECIFIED:
        wanted = _format_of(values, is_yaml)
    return FileContent(values, wanted)


def kind(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "something else")


def _format_of(values: Mapping[str, Any], is_yaml: bool) -> "GraphFileFormat.ValueType":
    nodes, links = _objects(values["nodes"]), _objects(values.get("links"))
    if (
        not _OF_AGENTS.isdisjoint(values)
        or any(not _OF_NODES_OF_AGENTS.isdisjoint(node) for node in nodes)
        or any(not _OF_LINKS_OF_AGENTS.isdisjoint(link) for link in links)
    ):
        return GraphFileFormat.GRAPH_FILE_FORMAT_AUTOGPT
    return GraphFileFormat.GRAPH_FILE_FORMAT_YAML if is_yaml else GraphFileFormat.GRAPH_FILE_FORMAT_JSON


def _objects(items: Any) -> Iterator[dict[str, Any]]:
    return (item for item in items if isinstance(item, dict)) if isinstance(items, list) else iter(())


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refusal("", f"is not UTF-8 text (byte {error.start})") from None


def _from_json(text: str) -> Any:
    try:
        return json.loads(text, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise _refusal("", f"is not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise _refusal("", "is nested too deeply") from None
    except ValueError as error:
        raise _refusal("", str(error)) from None


def _integer(digits: str) -> int:
    # The length first: Python takes its time over numbers of thousands of digits.
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise ValueError(f"the integer {digits[:30]} does not fit into 64 bits: write it as text")
    return int(digits)


class _Loader(yaml.CSafeLoader):
    """YAML with JSON's types alone: dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _from_yaml(text: str) -> Any:
    try:
        check_yaml(text)
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _refusal("", f"is not YAML: {where}{error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise _refusal("", f"is not YAML: {str(error).splitlines()[0]}") from None
    except (ValueError, OverflowError) as error:
        # What looks like a number and is none: `0x_`.
        raise _refusal("", f"is not YAML that can be read: {str(error)[:200]}") from None


def check_yaml(text: str) -> None:
    """Refuses aliases, by which a small file becomes a huge one, tags, which make other values than JSON has, and deep
    nesting, before anything is built."""
    depth = 0
    # Any: the class says nothing of what all of its kinds have.
    event: Any
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        problem = ""
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, yaml.AliasEvent):
            problem = "aliases (*name) are not taken; write the value out"
        elif getattr(event, "tag", None) is not None:
            problem = f"tags ({event.tag[:50]}) are not taken; put text in quotes"
        elif depth > DEEPEST:
            problem = f"is nested deeper than {DEEPEST} levels"
        elif count > MOST_VALUES_OF_YAML:
            problem = f"there are more than {MOST_VALUES_OF_YAML:,} values up to here; write the file as JSON"
        if problem:
            raise _refusal("", f"line {event.start_mark.line + 1}: {problem}")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a list or an object stands; its path is put together only when there is something to say."""

    value: Any
    key: str | int
    parent: "_Place | None"
    depth: int

    def path(self, *last: str | int) -> str:
        """The path of the place, or of something in it."""
        keys = list(last)
        place: _Place | None = self
        while place is not None and place.parent is not None:
            keys.append(place.key)
            place = place.parent
        parts = (f"[{key}]" if isinstance(key, int) else f".{key[:100]}" for key in reversed(keys))
        return "".join(parts).removeprefix(".")[:500]


def _check(content: Any) -> None:
    """That these are values of JSON, of a number and a depth that can be dealt with. Not recursive, so that depth is
    no danger."""
    waiting = [_Place(content, "", None, 0)] if isinstance(content, dict | list) else []
    count = 0
    while waiting:
        place = waiting.pop()
        count += len(place.value)
        if place.depth >= DEEPEST:
            raise _refusal(place.path(), f"is nested deeper than {DEEPEST} levels")
        if count > MOST_VALUES:
            raise _refusal("", f"has more than {MOST_VALUES:,} values")
        is_object = isinstance(place.value, dict)
        for key, item in place.value.items() if is_object else enumerate(place.value):
            if is_object:
                _check_key(key, place)
            if isinstance(item, dict | list):
                waiting.append(_Place(item, key, place, place.depth + 1))
            elif problem := _unfit(item):
                raise _refusal(place.path(key), problem)


def _check_key(key: Any, place: _Place) -> None:
    if not isinstance(key, str):
        raise _refusal(place.path(), f"has the key {key!r:.50}, which is no text: put it in quotes")
    if not _is_unicode(key):
        raise _refusal(place.path(), "has a key with half of a surrogate pair, which is no character")


def _unfit(value: Any) -> str:
    if isinstance(value, str):
        return "" if _is_unicode(value) else "holds half of a surrogate pair, which is no character"
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return "is an integer that does not fit into 64 bits: write it as text"
    return "" if value is None or isinstance(value, bool | int | float) else "is no value of JSON"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_large(data: bytes, most: int, what: str) -> GraphTooLarge:
    problem = f"has {len(data):,} bytes, at most {most:,} are taken"
    return GraphTooLarge(f"The file {problem} of {what}.", violations=[Violation("file", problem)])


def _refusal(path: str, problem: str) -> Exception:
    return refusal([Violation(path or "file", problem)])
