"""The rules that a block must keep to be loaded. Each complaint begins with the block's name."""

import json
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from string import Formatter
from typing import Any, get_args

from pydantic.fields import FieldInfo

from blockyard.block.block import ERROR_PIN, Block
from blockyard.block.credentials_rules import credentials_complaints
from blockyard.block.fields import extra_of, is_schema_field
from blockyard.block.kinds import BlockType, Effect
from blockyard.block.run_style import RunStyle
from blockyard.block.schema import BlockSchema
from blockyard.common.v1.errors_pb2 import NodeErrorReason

# The catalogue's limits.
SHORTEST_TIMEOUT_SECONDS = 0.001
LONGEST_TIMEOUT_SECONDS = 7 * 24 * 3600.0
MOST_ATTEMPTS = 100
LARGEST_MULTIPLIER = 100.0
LONGEST_BACKOFF = timedelta(days=1)

_MODULE_NAME = re.compile(r"[a-z_][a-z0-9_]*")
# The values of inputs and outputs are the graph's own, so a failure of theirs is the execution's; what an agent gives
# are the results of its graph.
_WITHOUT_ERROR_PIN = frozenset({BlockType.INPUT, BlockType.OUTPUT, BlockType.AGENT})
_NEEDED_INPUTS = {
    BlockType.INPUT: frozenset({"name", "value"}),
    BlockType.OUTPUT: frozenset({"name", "value"}),
    BlockType.COLLECT: frozenset({"item"}),
}
_POOL_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_REASONS = [name.removeprefix("NODE_ERROR_REASON_") for name, number in NodeErrorReason.items() if number]


def class_complaints(block_class: type[Block]) -> Iterator[str]:
    """What is wrong with the class itself, before an instance is made."""
    name = block_class.__name__
    if not name.endswith("Block"):
        yield f"{name}: the name of a block's class must end in Block (or in Base, if it is abstract)"
    module = block_class.__module__.rsplit(".", 1)[-1]
    if not _MODULE_NAME.fullmatch(module):
        yield f"{name}: the name of its module must be in lower case, got {module!r}"
    if block_class.run_signature.style is None:
        yield f"{name}: run must be an async generator or a generator that yields (pin, value)"
    if block_class.cpu_bound and block_class.run_signature.style is RunStyle.ASYNC:
        yield f"{name}: a cpu_bound block runs in a process, so its run must be a plain generator"


def block_complaints(block: Block) -> Iterator[str]:
    """What is wrong with the block."""
    if not _is_uuid(block.id):
        yield f"{block.name}: its id must be a UUID in lower case, got {block.id!r}"
    if wrong := [side for side, schema in _sides(block) if not _is_block_schema(schema)]:
        yield from (f"{block.name}: {side} schema: must be a subclass of BlockSchema" for side in wrong)
        # Nothing more can be said of it.
        return
    for side, schema in _sides(block):
        yield from _schema_complaints(block, schema, side)
    for name, field in block.input_schema.model_fields.items():
        yield from _input_complaints(block, name, field)
    error = block.output_schema.model_fields.get(ERROR_PIN)
    if error is not None and error.annotation is not str:
        yield f"{block.name}: output error: must be of type str"
    if error is None and block.block_type not in _WITHOUT_ERROR_PIN:
        yield f"{block.name}: output error: is missing; declare error: str"
    if block.block_type in (BlockType.WEBHOOK, BlockType.WEBHOOK_MANUAL) and block.webhook_config is None:
        yield f"{block.name}: a webhook block needs a webhook_config"
    yield from _named_inputs_complaints(block)
    yield from credentials_complaints(block)
    if block.cache is not None:
        yield from _cache_complaints(block)
    yield from _registration_complaints(block)
    yield from _description_complaints(block)


def _input_complaints(block: Block, name: str, field: FieldInfo) -> Iterator[str]:
    place, extra = f"{block.name}: input {name}", extra_of(field)
    if field.is_required():
        if _is_boolean(field.annotation):
            yield f"{place}: a bool needs a default"
        if extra.get("hidden"):
            yield f"{place}: is hidden, so nobody can fill it in: it needs a default"
    elif field.default is not None and field.default_factory is None:
        if extra.get("secret") and field.default != "":
            yield f"{place}: is secret, and its default would be in the catalogue: leave the default empty"
        elif problem := block.input_schema.validate_field(name, field.default):
            yield f"{place}: its default does not fit: {problem}"
    if extra.get("many"):
        yield f"{place}: many is for outputs"
    for other in extra.get("depends_on", ()):
        if other not in block.input_schema.model_fields or other == name:
            yield f"{place}: depends_on: there is no other input {other!r}"


def _named_inputs_complaints(block: Block) -> Iterator[str]:
    """What the block says elsewhere of inputs that it does not have."""
    inputs = block.input_schema.model_fields
    for number, cost in enumerate(block.costs):
        for name in cost.filter:
            if name not in inputs:
                yield f"{block.name}: costs[{number}]: filter: there is no input {name!r}"
    if (webhook := block.webhook_config) is None:
        return
    place = f"{block.name}: webhook_config"
    try:
        named = [name for _, name, _, _ in Formatter().parse(webhook.resource_format) if name is not None]
    except ValueError as error:
        yield f"{place}: resource_format: {error}, got {webhook.resource_format!r}"
        return
    for name in (*named, *filter(None, [webhook.event_filter_input])):
        if name not in inputs:
            yield f"{place}: there is no input {name!r}"


def _sides(block: Block) -> tuple[tuple[str, Any], ...]:
    return ("input", block.input_schema), ("output", block.output_schema)


def _is_block_schema(schema: Any) -> bool:
    return isinstance(schema, type) and issubclass(schema, BlockSchema)


def _cache_complaints(block: Block) -> Iterator[str]:
    """Why an earlier run's result must not be given again."""
    if block.effect is Effect.ONCE:
        yield f"{block.name}: cache: its effect is ONCE, so each run has to happen; leave the cache out"
    for name in sorted(block.input_schema.get_credentials_fields()):
        yield f"{block.name}: cache: input {name}: what credentials give is not for others; leave the cache out"


def _registration_complaints(block: Block) -> Iterator[str]:
    """What the catalogue would refuse, and with it everything else that the runner has."""
    if not SHORTEST_TIMEOUT_SECONDS <= block.timeout <= LONGEST_TIMEOUT_SECONDS:
        limits = f"{SHORTEST_TIMEOUT_SECONDS:g} to {LONGEST_TIMEOUT_SECONDS:g} seconds"
        yield f"{block.name}: its timeout must be {limits}, got {block.timeout:g}"
    if not _POOL_NAME.fullmatch(block.pool):
        yield f"{block.name}: its pool must be 1 to 63 characters of a-z 0-9 - (not first), got {block.pool!r}"
    retry = block.retry
    if retry.max_attempts > MOST_ATTEMPTS or retry.multiplier > LARGEST_MULTIPLIER:
        yield f"{block.name}: retry: at most {MOST_ATTEMPTS} attempts and a multiplier of {LARGEST_MULTIPLIER:g}"
    if retry.max_backoff > LONGEST_BACKOFF:
        yield f"{block.name}: retry: max_backoff must be at most {LONGEST_BACKOFF}, got {retry.max_backoff}"
    for reason in retry.reasons:
        if reason not in _REASONS:
            yield f"{block.name}: retry: there is no reason {reason!r}; there are {', '.join(_REASONS)}"
    for pin in sorted(_NEEDED_INPUTS.get(block.block_type, frozenset()) - set(block.input_schema.model_fields)):
        yield f"{block.name}: input {pin}: is missing; a block of type {block.block_type.name} needs it"


def _description_complaints(block: Block) -> Iterator[str]:
    """A block that cannot be described would keep its runner from registering any."""
    place = "description"
    try:
        for side, schema in _sides(block):
            place = f"{side} schema"
            schema.jsonschema()
        place = "description"
        json.dumps(block.to_dict())
    except Exception as error:  # noqa: BLE001 - an author's types may raise anything; it is told
        # Pydantic adds a link to its errors, on a line of its own.
        reason = str(error).split("\n", 1)[0]
        yield f"{block.name}: {place}: cannot be written as JSON: {type(error).__name__}: {reason}"


def _is_uuid(text: Any) -> bool:
    try:
        return bool(str(uuid.UUID(text)) == text)
    except (TypeError, ValueError, AttributeError):
        return False


def _is_boolean(annotation: Any) -> bool:
    members: tuple[object, ...] = (annotation, *get_args(annotation))
    return any(member is bool for member in members)


def _schema_complaints(block: Block, schema: type[BlockSchema], side: str) -> Iterator[str]:
    for name, field in schema.model_fields.items():
        if not is_schema_field(field):
            yield f"{block.name}: {side} {name}: must be declared with SchemaField"
