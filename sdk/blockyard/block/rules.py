"""The rules that a block must keep to be loaded. Each complaint begins with the block's name."""

import re
import uuid
from collections.abc import Iterator
from typing import Any, get_args

from blockyard.block.block import ERROR_PIN, Block
from blockyard.block.fields import is_schema_field
from blockyard.block.kinds import BlockType
from blockyard.block.run_style import RunStyle
from blockyard.block.schema import BlockSchema

_MODULE_NAME = re.compile(r"[a-z_][a-z0-9_]*")
# Their values are the graph's own inputs and results, so a failure of theirs is the execution's.
_WITHOUT_ERROR_PIN = frozenset({BlockType.INPUT, BlockType.OUTPUT})


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
    yield from _schema_complaints(block, block.input_schema, "input")
    yield from _schema_complaints(block, block.output_schema, "output")
    for name, field in block.input_schema.model_fields.items():
        if _is_boolean(field.annotation) and field.is_required():
            yield f"{block.name}: input {name}: a bool needs a default"
    error = block.output_schema.model_fields.get(ERROR_PIN)
    if error is not None and error.annotation is not str:
        yield f"{block.name}: output error: must be of type str"
    if error is None and block.block_type not in _WITHOUT_ERROR_PIN:
        yield f"{block.name}: output error: is missing; declare error: str"
    if block.block_type in (BlockType.WEBHOOK, BlockType.WEBHOOK_MANUAL) and block.webhook_config is None:
        yield f"{block.name}: a webhook block needs a webhook_config"


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
