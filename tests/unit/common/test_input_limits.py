"""What requests of users may hold: every text of every request, JSON of any shape, and names without HTML."""

import gc
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from blockyard.account.v1 import account_service_pb2
from blockyard.credentials.v1 import credentials_service_pb2
from blockyard.execution.v1 import execution_service_pb2, schedule_service_pb2, trigger_service_pb2
from blockyard.graph.v1 import block_service_pb2, graph_pb2, graph_service_pb2, preset_service_pb2
from blockyard.notification.v1 import webhook_service_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct

from services.common import input_limits, json_limits
from services.common.errors import InvalidArgument
from services.common.plain_text import cleaned

Start = execution_service_pb2.StartExecutionRequest
FILES = [
    module.DESCRIPTOR
    for module in (
        account_service_pb2,
        block_service_pb2,
        credentials_service_pb2,
        execution_service_pb2,
        schedule_service_pb2,
        graph_service_pb2,
        preset_service_pb2,
        trigger_service_pb2,
        webhook_service_pb2,
    )
]
VALUES = ("google.protobuf.Struct", "google.protobuf.Value")
"""Values of users: services bound their size, and they hold any text."""
UUID = "0190c0de-0000-7000-8000-000000000001"


def refused(request: Message) -> dict[str, str]:
    """The violations of a request, by field."""
    with pytest.raises(InvalidArgument) as caught:
        input_limits.check(request)
    return {one.field: one.description for one in caught.value.violations}


def requests() -> Iterator[Descriptor]:
    for file in FILES:
        for service in file.services_by_name.values():
            yield from (method.input_type for method in service.methods)


def texts(descriptor: Descriptor, above: tuple[str, ...] = ()) -> Iterator[tuple[FieldDescriptor, ...]]:
    """The ways to every text field that a message can have."""
    for of in descriptor.fields:
        if of.type == FieldDescriptor.TYPE_STRING:
            yield (of,)
        inner = of.message_type
        if inner is None or inner.full_name in above or inner.full_name in VALUES:
            continue
        for rest in texts(inner, (*above, descriptor.full_name)):
            yield (of, *rest)


def with_text(descriptor: Descriptor, way: tuple[FieldDescriptor, ...], text: str) -> Message:
    """A request that has this text there and nothing else."""
    message: Any = GetMessageClass(descriptor)()
    place = message
    for of in way:
        if of.message_type is not None and of.message_type.GetOptions().map_entry:
            entries = getattr(place, of.name)
            value = of.message_type.fields_by_name["value"]
            if value.message_type is not None:
                entries[text].SetInParent()
            elif value.type == FieldDescriptor.TYPE_STRING:
                entries[text if way[-1].name == "key" else "key"] = text
            return message  # type: ignore[no-any-return]  # a class that is made here
        if of.message_type is not None:
            place = getattr(place, of.name).add() if of.is_repeated else getattr(place, of.name)
            place.SetInParent()
        elif of.is_repeated:
            getattr(place, of.name).append(text)
        else:
            setattr(place, of.name, text)
    return message  # type: ignore[no-any-return]  # a class that is made here


EVERY_TEXT = [
    pytest.param(request, way, id=f"{request.name}.{'.'.join(of.name for of in way)}")
    for request in requests()
    for way in texts(request)
]


@pytest.mark.parametrize(("request_type", "way"), EVERY_TEXT)
def test_no_text_of_any_request_may_hold_control_characters(
    request_type: Descriptor, way: tuple[FieldDescriptor, ...]
) -> None:
    for character, problem in (("\0", "NUL"), ("\x1b", "U+001B"), ("\x7f", "U+007F")):
        violations = refused(with_text(request_type, way, f"a{character}b"))
        assert problem in "".join(violations.values())


@pytest.mark.parametrize(("request_type", "way"), EVERY_TEXT)
def test_no_text_of_any_request_is_without_a_bound(request_type: Descriptor, way: tuple[FieldDescriptor, ...]) -> None:
    violations = refused(with_text(request_type, way, "x" * (input_limits.LONGEST_TEXT + 1)))
    assert "characters long" in "".join(violations.values())


def test_there_are_texts_to_try() -> None:
    assert len(EVERY_TEXT) > 100


def test_line_breaks_tabs_and_all_languages_are_text() -> None:
    request = Start(graph_id="первый\tzweiter\r\n三番目\u2028🧱", labels={"für": "ünïcode"})
    input_limits.check(request)


def test_each_place_is_named_as_clients_know_it() -> None:
    nodes = [graph_pb2.Node(id="a"), graph_pb2.Node(id="b\0")]
    nodes[0].metadata.customized_name = "\x07"
    request = graph_service_pb2.UpdateGraphRequest(graph=graph_pb2.Graph(nodes=nodes))
    request.update_mask.paths.append("\x01")
    assert refused(request) == {
        "nodes[0].metadata.customized_name": "holds the control character U+0007; take it out",
        "nodes[1].id": "holds a NUL character",
        "update_mask.paths[0]": "holds the control character U+0001; take it out",
    }
    assert refused(Start(labels={"team": "\0"}, credentials={"a\0": ""})) == {
        "labels.team": "holds a NUL character",
        "credentials.a\0": "holds a NUL character",
    }


def test_a_secret_that_is_refused_is_not_shown() -> None:
    request = credentials_service_pb2.CreateCredentialRequest(provider="p")
    request.secret.api_key = "hunter2\0"
    assert refused(request) == {"secret.api_key": "holds a NUL character"}


def test_the_narrowest_bound_of_a_field_counts() -> None:
    for name, longest in input_limits.LONGEST.items():
        message, _, of = name.rpartition(".")
        request_type = next(one for one in requests() if one.full_name == message)
        way = (request_type.fields_by_name[of],)
        input_limits.check(with_text(request_type, way, "x" * longest))
        [problem] = refused(with_text(request_type, way, "x" * (longest + 1))).values()
        assert f"at most {longest:,}" in problem


def test_every_field_of_the_tables_is_there() -> None:
    known = {of.full_name for request in requests() for way in texts(request) for of in way}
    known |= {of.full_name for request in requests() for of in request.fields}
    tables = {*input_limits.LONGEST, *input_limits.PLAIN_TEXTS, *input_limits._UNNAMED}
    assert tables <= known


def test_many_violations_are_cut_short() -> None:
    request = Start(labels={f"{number}\0": "" for number in range(1_000)})
    assert len(refused(request)) == input_limits.MOST_VIOLATIONS


@pytest.mark.parametrize("levels", [1, json_limits.DEEPEST])
def test_json_may_be_nested_as_deep_as_that(levels: int) -> None:
    input_limits.check(Start(inputs_json=b"[" * levels + b"]" * levels))


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b'["]]]]]]"' + b",[" * 65,
        b'{"\\"": ' * 65,
        b'["\\\\",' * 65,
        b'["a:b","{",[]' + b",[" * 65,
    ],
)
def test_json_that_is_nested_deeper_is_refused(text: bytes) -> None:
    assert refused(Start(inputs_json=text)) == {"inputs_json": "is nested deeper than 64 levels"}


@pytest.mark.parametrize(
    "value",
    [
        "[" * 5_000,
        '"{' * 500,
        "\\[" * 500,
        ["["] * 500,
        {"[[": "{{"},
        [[]] * 1_000,
        [{"a": ["b:c"]}] * 1_000,
        "\\" * 999 + "[",
    ],
)
def test_brackets_in_texts_and_side_by_side_are_no_depth(value: Any) -> None:
    for escaped in (True, False):
        input_limits.check(Start(inputs_json=json.dumps({"a": value}, ensure_ascii=escaped).encode()))


def test_as_many_keys_as_that_are_taken_and_no_more() -> None:
    fits = {str(number): "a:b" for number in range(json_limits.MOST_KEYS)}
    assert json_limits.problem(json.dumps(fits).encode()) == ""
    assert "250,001 keys" in json_limits.problem(json.dumps({**fits, "one": "more"}).encode())


def hostile_requests() -> dict[str, Callable[[], Message]]:
    """Messages as large as are received."""
    size = 16 << 20

    def struct(values: Any) -> Message:
        filled = Struct()
        filled.update({"a": values})
        return Start(inputs=filled)

    return {
        "opening brackets": lambda: Start(inputs_json=b"[" * size),
        "brackets": lambda: Start(inputs_json=b"[" * (size // 2) + b"]" * (size // 2)),
        "a million keys": lambda: Start(inputs_json=json.dumps(dict.fromkeys(map(str, range(1_000_000)))).encode()),
        "empty lists": lambda: Start(inputs_json=b"[" + b"[]," * (size // 3 - 1) + b"1]"),
        "a million labels": lambda: Start(labels=dict.fromkeys(map(str, range(1_000_000)), "")),
        "a million nodes": lambda: graph_service_pb2.CreateGraphRequest(
            graph=graph_pb2.Graph(nodes=[graph_pb2.Node()] * 1_000_000)
        ),
        "a million numbers": lambda: struct([1.0] * 1_000_000),
        "a long text": lambda: Start(graph_id="x" * size),
    }


@pytest.mark.parametrize("kind", hostile_requests())
def test_a_hostile_message_costs_less_to_refuse_than_to_read(kind: str) -> None:
    encoded = hostile_requests()[kind]().SerializeToString()
    kind_of = graph_service_pb2.CreateGraphRequest if "nodes" in kind else Start
    request = kind_of.FromString(encoded)
    gc.collect()  # what others left behind is not this one's cost

    began = time.thread_time()
    assert refused(request)
    spent = time.thread_time() - began

    print(f"{kind}: refused in {spent * 1e3:.1f} ms")
    assert spent < 1.0


def test_the_largest_request_that_is_taken_is_looked_through_in_bounded_time() -> None:
    half = input_limits.MOST_VALUES // 2
    nested = Struct()
    nested.update({"a": [["text of some length"]] * (half - 2)})
    request = Start(inputs=nested)

    began = time.thread_time()
    input_limits.check(request)
    spent = time.thread_time() - began

    print(f"{input_limits.MOST_VALUES:,} values: looked through in {spent * 1e3:.1f} ms")
    assert spent < 2.0


def test_a_small_start_is_looked_through_in_no_time() -> None:
    request = Start(graph_id=UUID, inputs_json=b'{"text": "hello", "n": 7}', request_id=UUID, labels={"for": "test"})
    input_limits.check(request)
    rounds = 2_000

    began = time.thread_time()
    for _ in range(rounds):
        input_limits.check(request)
    spent = (time.thread_time() - began) / rounds

    print(f"a small StartExecution: {spent * 1e6:.1f} us")
    assert spent < 20e-6 * 5  # of a machine that does other things too; on a quiet one it is 3 us


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("a < b", "a < b"),
        ("a < b && c > d", "a < b && c > d"),
        ("1 <2> 3, x <- y, <3", "1 <2> 3, x <- y, <3"),
        ("AT&T &amp; more", "AT&T &amp; more"),
        ("a<b", "a< b"),
        ("if x<y then z>w", "if x< y then z>w"),
        ("Map<Key, List<Value>>", "Map< Key, List< Value>>"),
        ("<b>bold</b> text", "bold text"),
        ("tom & <i>jerry</i>", "tom & jerry"),
        ("hi<script>alert(1)</script>", "hi"),
        ("<img src=x onerror=alert(1)>", ""),
        ("<!-- hidden -->shown", "shown"),
        ("<svg/onload=alert(1)>", ""),
        ("&lt;script&gt;", "&lt;script&gt;"),
        ("<b>x</b> &lt;script&gt;", "x &lt;script&gt;"),
    ],
)
def test_names_lose_html_and_nothing_else(written: str, kept: str) -> None:
    assert cleaned(written) == kept
    assert cleaned(kept) == kept


@pytest.mark.parametrize(
    "text",
    [
        "<<b>script>alert(1)<</b>/script>",
        "<scr<script>ipt>alert(1)</scr</script>ipt>",
        "<<!---->img src=x onerror=alert(1)>",
        "<img src=x onerror=alert(1)",
        "<b" * 9_000,
        "<b>" * 6_000,
        "<!--" * 5_000,
        "<" * 20_000,
        "<<" * 5_000 + "b" + ">>" * 5_000,
        "<a <b <i>>>" * 1_000,
        "<x onclick=alert(1)>y</x>",
        "<\nimg src=x>",
        "<\u017fcript>alert(1)</\u017fcript>",
        "<plaintext>",
        "<textarea></textarea><script>",
        "<!DOCTYPE html><?xml?>",
    ],
)
def test_nothing_that_a_browser_takes_for_a_tag_is_left(text: str) -> None:
    began = time.thread_time()
    left = cleaned(text)
    assert time.thread_time() - began < 1.0
    opening = [left[at + 1] for at, character in enumerate(left[:-1]) if character == "<"]
    assert not [one for one in opening if one.isalpha() or one in "/!?"]


def test_names_are_cleaned_in_the_request() -> None:
    graph = graph_pb2.Graph(name="<b>shout</b>", description="a < b <script>x</script>")
    node = graph.nodes.add(id="<i>id</i>", inputs_json=b'{"text": "<b>kept</b>"}')
    node.metadata.customized_name = "<u>loud</u>"
    request = graph_service_pb2.CreateGraphRequest(graph=graph, request_id="<b>")

    input_limits.check(request)

    assert (request.graph.name, request.graph.description) == ("shout", "a < b ")
    assert request.graph.nodes[0].metadata.customized_name == "loud"
    assert request.graph.nodes[0].id == "<i>id</i>"
    assert request.graph.nodes[0].inputs_json == b'{"text": "<b>kept</b>"}'
    assert request.request_id == "<b>"
