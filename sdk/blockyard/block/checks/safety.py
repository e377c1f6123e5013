"""The safety check: what a run must leave alone, and what must not come out of it."""

import asyncio
import copy
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from blockyard import values
from blockyard.block.block import Block, Item
from blockyard.block.checks.results import Finding
from blockyard.block.checks.watching import watched
from blockyard.block.complaints import shown
from blockyard.block.context import Context
from blockyard.block.errors import BlockError
from blockyard.block.kinds import Effect
from blockyard.block.preparation import prepare
from blockyard.block.schema import BlockSchema
from blockyard.block.testing import cases_of, difference, expected_items, mocked, outputs_of

END_SECONDS = 1.0
"""Within this a run must have ended after it was cancelled."""

_SECRET = "s3cret-8c1f6e0d2b7a4953"
# Shorter texts, such as "key", stand in other words by chance.
_LEAST_SECRET_CHARACTERS = 8
_THREAD_NAME = "block"


async def check_safety(block: Block) -> Finding:
    """Runs the test cases and looks at what they leave behind.

    A run leaves its inputs unchanged, a pure one reaches neither the network nor files of the machine, secrets come out
    nowhere, runs of one instance do not mix, and a run that is cancelled ends.
    """
    cases = cases_of(block)
    if not cases:
        return Finding(("test_input has no case to run",))
    complaints: list[str] = []
    with mocked(block):
        for look in (_inputs_kept, _outside_untouched, _secrets_kept, _runs_apart, _cancelled):
            complaints += await look(block, cases)
    remark = "" if block.effect is Effect.PURE else f"effect {block.effect.name}: may reach the outside"
    return Finding(tuple(dict.fromkeys(complaints)), remark)


async def _inputs_kept(block: Block, cases: list[dict[str, Any]]) -> list[str]:
    complaints = []
    for number, case in enumerate(cases):
        # What a case gives may share parts with what came over a link to several nodes.
        inputs = prepare(block, case)
        before = copy.deepcopy(inputs)
        await _drained(block, inputs)
        for pin, value in before.items():
            if not _same(inputs.get(pin), value):
                complaints.append(
                    f"case {number}: changes its input {pin}, from {shown(value)} to {shown(inputs[pin])}"
                )
    return complaints


def _same(one: Any, other: Any) -> bool:
    try:
        return values.encode(one) == values.encode(other)
    except ValueError:
        return bool(one == other)


async def _outside_untouched(block: Block, cases: list[dict[str, Any]]) -> list[str]:
    if block.effect is not Effect.PURE:
        return []
    with watched(type(block).__module__) as watch:
        for case in cases:
            await outputs_of(block, case)
    return [f"is declared pure and {what}" for what in watch.seen]


async def _secrets_kept(block: Block, cases: list[dict[str, Any]]) -> list[str]:
    schema: type[BlockSchema] = block.input_schema
    secrets = {pin: _SECRET for pin in sorted(schema.secret_fields()) if schema.validate_field(pin, _SECRET) is None}
    complaints = [*_exported(block), *_refusals_that_tell(block, cases[0])]
    # What a case gives for a secret is what its test server or mock expects, so each case runs with both.
    for number, case in enumerate(cases):
        variants = [dict(case), {**case, **secrets}] if secrets else [dict(case)]
        for variant in variants:
            hidden = {
                *_texts({pin: variant.get(pin) for pin in schema.secret_fields()}),
                *_texts(block.test_credentials),
            }
            told = await _told(block, variant) if hidden else ""
            if any(secret in told for secret in hidden):
                complaints.append(f"case {number}: a secret stands in what the run gives or reports")
    return complaints


def _exported(block: Block) -> Iterator[str]:
    """A default is part of the schema, which everybody may read."""
    properties = block.input_schema.jsonschema().get("properties", {})
    for pin in sorted(block.input_schema.secret_fields()):
        if properties.get(pin, {}).get("default") not in (None, ""):
            yield f"input {pin}: is secret, and its default stands in the catalogue; leave it empty"
    told = json.dumps(block.to_dict())
    if any(secret in told for secret in _texts(block.test_credentials)):
        yield "a secret of test_credentials stands in the catalogue"


def _refusals_that_tell(block: Block, case: Mapping[str, Any]) -> Iterator[str]:
    """A secret of a wrong form is refused without being shown."""
    schema: type[BlockSchema] = block.input_schema
    good = prepare(block, case)
    for pin in sorted(schema.unshown_fields()):
        for wrong in (_SECRET, [_SECRET], {_SECRET: _SECRET}):
            try:
                block.parse_input({**good, pin: wrong})
            except BlockError as error:
                if _SECRET in str(error):
                    yield f"input {pin}: the error about a wrong secret shows it"
                    break


async def _told(block: Block, case: Mapping[str, Any]) -> str:
    """All that others see of a run: outputs, the error, and what it reports."""
    context = Context(task_id="test")
    try:
        outputs: Any = await outputs_of(block, case, context)
    except BlockError as error:
        outputs = str(error)
    return values.encode([outputs, context.stats]).decode()


def _texts(value: Any) -> Iterator[str]:
    """The texts in it that are long enough to be told from others; those of pydantic's secrets too."""
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    if isinstance(value, BaseModel) or (is_dataclass(value) and not isinstance(value, type)):
        value = {name: getattr(value, name) for name in _names(value)}
    if isinstance(value, str) and len(value) >= _LEAST_SECRET_CHARACTERS:
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _names(value: Any) -> list[str]:
    return list(type(value).model_fields) if isinstance(value, BaseModel) else [field.name for field in fields(value)]


async def _runs_apart(block: Block, cases: list[dict[str, Any]]) -> list[str]:
    """All cases twice, all at once, one item of each by turns: each gives what it gives alone."""
    copies = 2
    runs = [asyncio.create_task(_by_turns(block, case)) for case in (*cases, *cases)]
    outputs = await _all(runs)
    for copy_number in range(copies):
        part = outputs[copy_number * len(cases) : (copy_number + 1) * len(cases)]
        what = difference(expected_items(block), [item for run in part for item in run])
        if what:
            return [f"runs at once on one instance give something else than runs apart: {what}"]
    return []


async def _all(runs: list[asyncio.Task[list[Item]]]) -> list[list[Item]]:
    try:
        return list(await asyncio.gather(*runs))
    finally:
        # One that fails takes the others with it.
        for run in runs:
            run.cancel()
        await asyncio.wait(runs)


async def _by_turns(block: Block, case: Mapping[str, Any]) -> list[Item]:
    return await outputs_of(block, case, after_each=lambda: asyncio.sleep(0))


async def _cancelled(block: Block, cases: list[dict[str, Any]]) -> list[str]:
    """Cancels each case where it waits first."""
    complaints = []
    others = set(threading.enumerate())
    for number, case in enumerate(cases):
        run = asyncio.create_task(_by_turns(block, case))
        # It begins, and goes on until it waits for something.
        await asyncio.sleep(0)
        if run.done():
            run.exception()
            continue
        run.cancel()
        done, _ = await asyncio.wait({run}, timeout=END_SECONDS)
        if not done:
            complaints.append(f"case {number}: has not ended {END_SECONDS:g} s after it was cancelled")
        elif not run.cancelled():
            complaints.append(f"case {number}: goes on after it was cancelled; let CancelledError pass")
            run.exception()
    for thread in set(threading.enumerate()) - others:
        if thread.name == _THREAD_NAME:
            await asyncio.to_thread(thread.join, END_SECONDS)
            if thread.is_alive():
                complaints.append(f"its thread has not ended {END_SECONDS:g} s after the run was cancelled")
    return complaints


async def _drained(block: Block, inputs: Mapping[str, Any]) -> None:
    """Runs on these very inputs; how it ends is no matter here."""
    try:
        async with aclosing(block.execute(inputs, Context(task_id="test"), block.test_credentials)) as items:
            async for _ in items:
                pass
    except Exception:  # noqa: BLE001 - a case may be one that fails, by any exception
        return
