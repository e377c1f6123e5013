"""The checks of `blockyard blocks test`: what each finds in a block that breaks it; a good block passes them."""

import asyncio
import subprocess
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from blockyard.block import (
    Block,
    BlockCategory,
    BlockInputError,
    BlockOutput,
    BlockSchema,
    Context,
    Effect,
    SchemaField,
    SyncBlockOutput,
)
from blockyard.block.checks import CHECKS, CheckResult, run_checks
from pydantic import Field


class TextInput(BlockSchema):
    text: str = SchemaField(description="A text.", max_length=20)
    key: str = SchemaField(description="A secret.", default="", secret=True, max_length=40)
    items: list[Any] = SchemaField(description="Items.", default_factory=list)


class TextOutput(BlockSchema):
    out: Any = SchemaField(description="What comes out.", many=True)
    error: str = SchemaField(description="Why the block failed.")


def block_with(run: Any, name: str = "SampleBlock", parse_input: Any = None, **traits: Any) -> Block:
    """A block that passes all checks if its run gives the text on `out`, but for what is given."""
    described: dict[str, Any] = {
        "id": "5b0a4f0e-8f0c-4a79-9d0e-0a5a4e1b2c11",
        "description": "Gives its text.",
        "categories": {BlockCategory.TEXT},
        "input_schema": TextInput,
        "output_schema": TextOutput,
        "effect": Effect.PURE,
        "test_input": [{"text": "a"}, {"text": "b"}],
        "test_output": [("out", "a"), ("out", "b")],
        **traits,
    }

    def initialise(self: Block) -> None:
        Block.__init__(self, **described)

    members = {"run": run, "__init__": initialise, "__module__": __name__}
    if parse_input is not None:
        members["parse_input"] = parse_input
    made: Block = type(name, (Block,), members)()
    return made


async def give_text(self: Any, input_data: TextInput) -> BlockOutput:
    yield "out", input_data.text


def complaints_of(block: Block, check: str, **options: Any) -> list[str]:
    """What the check says, by the checks' own runner."""
    results = {result.check: result for result in asyncio.run(run_checks(block, **options))}
    assert tuple(results) == CHECKS
    return list(results[check].finding.complaints)


def failed(results: list[CheckResult]) -> list[str]:
    return [str(result) for result in results if not result.passed]


def test_a_good_block_passes_all_checks() -> None:
    results = asyncio.run(run_checks(block_with(give_text)))

    assert failed(results) == []
    assert [result.check for result in results] == list(CHECKS)
    assert all(result.finding.applies and result.seconds >= 0 for result in results)


# Schema


class UndescribedInput(TextInput):
    more: str = SchemaField(default="")


class BrokenSchemaInput(TextInput):
    more: str = SchemaField(description="More.", default="", json_schema_extra={"type": "words"})


class UnresolvedInput(TextInput):
    @classmethod
    def jsonschema(cls) -> dict[str, Any]:
        return {**super().jsonschema(), "allOf": [{"type": "object"}], "properties": {"text": {"$ref": "#/$defs/T"}}}


@pytest.mark.parametrize(
    ("traits", "complaint"),
    [
        ({"id": "no-uuid"}, "its id must be a UUID in lower case, got 'no-uuid'"),
        ({"name": "SampleStep"}, "the name of a block's class must end in Block"),
        ({"description": " "}, "description: is missing; say in a sentence what the block does"),
        ({"categories": ()}, "categories: are missing; name at least one"),
        ({"input_schema": UndescribedInput}, "input more: has no description"),
        ({"input_schema": BrokenSchemaInput}, "input schema['properties']['more']['type']: is no JSON schema"),
        (
            {"input_schema": UnresolvedInput},
            "input schema['properties']['text']: has $ref; references must be resolved",
        ),
        ({"input_schema": UnresolvedInput}, "input schema: has allOf with a single schema, which must be folded"),
        ({"test_input": [{"text": "a" * 21}]}, "test_input[0]: text: String should have at most 20 characters"),
        ({"test_input": [{"text": "a"}, {}]}, "test_input[1]: text: is required"),
        ({"test_input": [{"text": "a", "texts": []}]}, "test_input[0]: there is no input 'texts'"),
        ({"test_input": [{"text": "a", "items": [object()]}]}, "test_input[0]: a value has no JSON form"),
        ({"test_input": [{"text": "a", "items_$_x": 1}]}, "test_input[0]: inputs.items_$_x: expected an index"),
    ],
)
def test_the_schema_check_says_what_is_wrong(traits: dict[str, Any], complaint: str) -> None:
    found = complaints_of(block_with(give_text, **traits), "schema")

    assert any(one.startswith(complaint) for one in found), found


def test_parts_of_a_pin_are_inputs() -> None:
    cases = [{"text": "a", "items_$_0": 1}, {"text": "b"}]

    assert failed(asyncio.run(run_checks(block_with(give_text, test_input=cases)))) == []


# Function


async def fail_on_b(self: Any, input_data: TextInput) -> BlockOutput:
    yield "out", input_data.text
    if input_data.text == "b":
        yield "error", "b is no text"


async def raise_on_b(self: Any, input_data: TextInput) -> BlockOutput:
    yield "out", 1 / (input_data.text != "b")


@pytest.mark.parametrize(
    ("run", "traits", "complaint"),
    [
        (
            give_text,
            {"test_input": {"text": "a"}, "test_output": ("out", "a")},
            "test_input has 1 case; give it at least 2",
        ),
        (give_text, {"test_input": (), "test_output": ()}, "test_input has 0 cases; give it at least 2"),
        (give_text, {"test_output": [("out", "b"), ("out", "a")]}, "output 0: out: expected 'b', got 'a'"),
        (fail_on_b, {}, "one output more than expected: ('error', 'b is no text')"),
        (
            raise_on_b,
            {"test_output": [("out", float)]},
            "one output more than expected: ('error', 'ZeroDivisionError: ",
        ),
        (give_text, {"test_mock": {"missing": 1}}, "SampleBlock: test_mock names 'missing'"),
    ],
)
def test_the_function_check_says_what_is_wrong(run: Any, traits: dict[str, Any], complaint: str) -> None:
    found = complaints_of(block_with(run, **traits), "function")

    assert any(one.startswith(complaint) for one in found), found


def test_errors_are_expected_on_the_error_pin_in_their_place() -> None:
    expected = [("out", "a"), ("out", str), ("error", lambda message: "no text" in message)]
    results = asyncio.run(run_checks(block_with(fail_on_b, test_output=expected)))

    assert failed(results) == []
    assert {result.check: result.finding.remark for result in results}["error"].endswith("1 error of its own")


async def break_the_schema(self: Any, input_data: TextInput) -> BlockOutput:
    yield "nothing", 1


def test_an_output_that_the_schema_does_not_allow_is_never_expected() -> None:
    block = block_with(break_the_schema, test_output=[("error", str), ("error", str)])

    (complaint,) = complaints_of(block, "function")

    assert complaint.startswith("BlockOutputError: SampleBlock: yielded on 'nothing', which is not declared")


# Error


def take_anything(self: Any, input_data: Any) -> Any:
    return TextInput.model_construct(text=input_data.get("text", ""))


def refuse_without_a_name(self: Any, input_data: Any) -> Any:
    try:
        return Block.parse_input(self, input_data)
    except BlockInputError:
        raise BlockInputError("no") from None


@pytest.mark.parametrize(
    ("parse_input", "complaint"),
    [
        (take_anything, "input text: runs and yields on 'out' although the input is left out"),
        (refuse_without_a_name, "input text: is left out, but the error does not name it: 'no'"),
    ],
)
def test_an_input_that_breaks_the_schema_must_be_refused_by_name(parse_input: Any, complaint: str) -> None:
    assert complaint in complaints_of(block_with(give_text, parse_input=parse_input), "error")


def test_a_block_without_an_error_of_its_own_is_told_so() -> None:
    remarks = {one.check: one.finding.remark for one in asyncio.run(run_checks(block_with(give_text)))}

    assert remarks["error"] == "no error of its own"


# Speed


def test_a_pure_block_above_the_bound_is_slow() -> None:
    (first, second) = complaints_of(block_with(give_text), "speed", bound_seconds=1e-9)

    assert first.startswith("case 0: the median run takes ")
    assert first.endswith(" ms, more than the bound of 1e-06 ms")
    assert second.startswith("case 1: ")


def test_blocks_that_are_not_pure_are_not_measured() -> None:
    results = asyncio.run(run_checks(block_with(give_text, effect=Effect.IDEMPOTENT), bound_seconds=1e-9))
    speed = next(result for result in results if result.check == "speed")

    assert (speed.passed, speed.finding.applies) == (True, False)


# Safety


async def change_input(self: Any, input_data: TextInput) -> BlockOutput:
    for item in input_data.items:
        item["seen"] = True
    yield "out", input_data.text


def test_a_changed_input_is_found() -> None:
    cases: list[dict[str, Any]] = [{"text": "a", "items": [{"n": 1}]}, {"text": "b"}]

    found = complaints_of(block_with(change_input, test_input=cases), "safety")

    assert found == ["case 0: changes its input items, from [{'n': 1}] to [{'n': 1, 'seen': True}]"]
    assert cases[0]["items"] == [{"n": 1}]


def read_passwords(self: Any, input_data: TextInput) -> SyncBlockOutput:
    Path("/etc/passwd").read_text()
    yield "out", input_data.text


async def ask_a_server(self: Any, input_data: TextInput) -> BlockOutput:
    try:
        await asyncio.to_thread(urllib.request.urlopen, "http://127.0.0.1:9/", timeout=1)
    except OSError:
        yield "out", input_data.text


def ask_from_a_thread(self: Any, input_data: TextInput) -> SyncBlockOutput:
    try:
        urllib.request.urlopen("http://127.0.0.1:9/", timeout=1)
    except OSError:
        yield "out", input_data.text


async def start_a_program(self: Any, input_data: TextInput) -> BlockOutput:
    await asyncio.to_thread(subprocess.run, ["true"], check=True)
    yield "out", input_data.text


@pytest.mark.parametrize(
    ("run", "complaint"),
    [
        (read_passwords, "is declared pure and reads a file of the machine (/etc/passwd)"),
        (ask_a_server, "is declared pure and reaches the network (socket.connect ('127.0.0.1', 9))"),
        (ask_from_a_thread, "is declared pure and reaches the network (socket.connect ('127.0.0.1', 9))"),
        (start_a_program, "is declared pure and starts another program (subprocess.Popen)"),
    ],
)
def test_a_pure_block_that_reaches_the_outside_is_found(run: Any, complaint: str) -> None:
    assert complaint in complaints_of(block_with(run), "safety")
    assert complaints_of(block_with(run, effect=Effect.IDEMPOTENT), "safety") == []


async def tell_output(self: Any, input_data: TextInput) -> BlockOutput:
    yield "out", f"{input_data.text}{input_data.key}"


async def tell_error(self: Any, input_data: TextInput) -> BlockOutput:
    yield "out", input_data.text
    if input_data.key:
        raise PermissionError(f"the key {input_data.key} is wrong")


async def tell_stats(self: Any, input_data: TextInput, context: Context) -> BlockOutput:
    self.merge_stats(context, {"key": input_data.key})
    yield "out", input_data.text


@pytest.mark.parametrize("run", [tell_output, tell_error, tell_stats])
def test_a_secret_that_comes_out_is_found(run: Any) -> None:
    assert complaints_of(block_with(run), "safety") == [
        "case 0: a secret stands in what the run gives or reports",
        "case 1: a secret stands in what the run gives or reports",
    ]


async def tell_credentials(self: Any, input_data: TextInput, credentials: Any) -> BlockOutput:
    yield "out", credentials["api_key"]


def test_credentials_that_come_out_are_found() -> None:
    traits: dict[str, Any] = {
        "test_credentials": {"credentials": {"api_key": "key-12345678"}},
        "test_output": [("out", str)] * 2,
    }

    found = complaints_of(block_with(tell_credentials, **traits), "safety")

    assert "case 0: a secret stands in what the run gives or reports" in found


class DefaultSecretInput(TextInput):
    key: str = SchemaField(description="A secret.", default="hidden", secret=True)


def show_what_is_refused(self: Any, input_data: Any) -> Any:
    if not isinstance(input_data.get("key", ""), str):
        raise BlockInputError(f"inputs.key: expected a string, got {input_data['key']}")
    return Block.parse_input(self, input_data)


def test_an_error_that_shows_a_refused_secret_is_found() -> None:
    assert complaints_of(block_with(give_text, parse_input=show_what_is_refused), "safety") == [
        "input key: the error about a wrong secret shows it"
    ]


def test_a_secret_with_a_default_is_found() -> None:
    assert complaints_of(block_with(give_text, input_schema=DefaultSecretInput), "safety") == [
        "input key: is secret, and its default stands in the catalogue; leave it empty"
    ]


async def keep_on_self(self: Any, input_data: TextInput) -> BlockOutput:
    self.text = input_data.text
    yield "out", "begins"
    yield "out", self.text


def test_runs_that_mix_on_one_instance_are_found() -> None:
    expected = [("out", "begins"), ("out", "a"), ("out", "begins"), ("out", "b")]

    assert complaints_of(block_with(keep_on_self, test_output=expected), "safety") == [
        "runs at once on one instance give something else than runs apart: output 1: out: expected 'a', got 'b'"
    ]


async def swallow_the_end(self: Any, input_data: TextInput) -> BlockOutput:
    with suppress(asyncio.CancelledError):
        await asyncio.to_thread(int)
    yield "out", input_data.text


def test_a_run_that_goes_on_after_its_end_is_found() -> None:
    assert complaints_of(block_with(swallow_the_end), "safety") == [
        "case 0: goes on after it was cancelled; let CancelledError pass",
        "case 1: goes on after it was cancelled; let CancelledError pass",
    ]


async def end_late(self: Any, input_data: TextInput) -> BlockOutput:
    try:
        await asyncio.to_thread(int)
    except asyncio.CancelledError:
        await asyncio.Event().wait()
        raise
    yield "out", input_data.text


def test_a_run_that_takes_long_to_end_is_found() -> None:
    traits: dict[str, Any] = {"test_input": [{"text": "a"}], "test_output": ("out", "a"), "effect": Effect.IDEMPOTENT}

    assert complaints_of(block_with(end_late, **traits), "safety") == [
        "case 0: has not ended 1 s after it was cancelled"
    ]


def test_a_thread_that_takes_long_to_end_is_found() -> None:
    traits: dict[str, Any] = {"test_input": [{"text": "a"}], "test_output": ("out", "a"), "effect": Effect.IDEMPOTENT}
    release = threading.Event()
    runs = 0
    held_run = 0  # none

    def hold(self: Any, input_data: TextInput) -> SyncBlockOutput:
        nonlocal runs
        runs += 1
        if runs == held_run:
            release.wait(30)
        yield "out", input_data.text

    assert complaints_of(block_with(hold, **traits), "safety") == []
    # The last of all runs is the one that is cancelled.
    held_run, runs = runs, 0
    try:
        found = complaints_of(block_with(hold, **traits), "safety")
    finally:
        release.set()

    assert found == ["its thread has not ended 1 s after the run was cancelled"]


# All of them


async def never_end(self: Any, input_data: TextInput) -> BlockOutput:
    await asyncio.Event().wait()
    yield "out", 1


def test_a_block_that_never_ends_does_not_hold_the_checks() -> None:
    block = block_with(never_end, effect=Effect.IDEMPOTENT)

    assert complaints_of(block, "function", longest_seconds=0.05) == ["did not end within 0.05 s"]


async def exit_process(self: Any, input_data: TextInput) -> BlockOutput:
    raise SystemExit(3)
    yield "out", 1


def test_a_block_that_exits_fails_and_does_not_end_the_checks() -> None:
    assert complaints_of(block_with(exit_process), "function") == ["SystemExit: 3"]


async def cancel_itself(self: Any, input_data: TextInput) -> BlockOutput:
    raise asyncio.CancelledError
    yield "out", 1


def test_a_block_that_cancels_itself_fails_and_does_not_end_the_checks() -> None:
    assert complaints_of(block_with(cancel_itself), "function") == ["CancelledError"]


async def test_checks_that_are_cancelled_end() -> None:
    begun = asyncio.Event()

    async def begin_and_never_end(self: Any, input_data: TextInput) -> BlockOutput:
        begun.set()
        await asyncio.Event().wait()
        yield "out", 1

    running = asyncio.create_task(run_checks(block_with(begin_and_never_end)))
    await asyncio.wait_for(begun.wait(), 10)
    running.cancel()

    await asyncio.wait({running}, timeout=10)

    assert running.cancelled()


async def time_out(self: Any, input_data: TextInput) -> BlockOutput:
    raise TimeoutError("the server is slow")
    yield "out", 1


def test_a_timeout_of_the_blocks_own_is_told_as_its_error() -> None:
    block = block_with(time_out, test_output=[("error", "TimeoutError: the server is slow")] * 2)

    assert complaints_of(block, "function") == []


def test_results_read_as_sentences() -> None:
    results = asyncio.run(run_checks(block_with(give_text, description="", categories=())))

    assert str(results[0]) == (
        "SampleBlock: schema: description: is missing; say in a sentence what the block does\n"
        "SampleBlock: schema: categories: are missing; name at least one"
    )


def test_a_field_that_is_not_ours_is_a_complaint_of_the_rules() -> None:
    class PlainInput(TextInput):
        more: str = Field(default="", description="Plain.")

    found = complaints_of(block_with(give_text, input_schema=PlainInput), "schema")

    assert found == ["input more: must be declared with SchemaField"]
