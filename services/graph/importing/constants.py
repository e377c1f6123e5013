"""The constants of an agent's node, made to fit the block that is here: what it does not have is left out, and what is
of another type is converted as a run would do it."""

import operator
from collections.abc import Collection, Mapping
from functools import reduce
from types import GenericAlias
from typing import Any

from blockyard import values
from blockyard.block.coercion import coerce
from blockyard.block.dynamic_pins import base_pin
from blockyard.graph.v1.block_pb2 import BlockType
from blockyard.graph.v1.graph_service_pb2 import RemarkCode

from services.graph.blocks import BlockDefinition
from services.graph.importing.agents import AgentNode
from services.graph.importing.remarks import Remarks
from services.graph.importing.secrets import is_credentials
from services.graph.rules.values import shown

_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "null": None,
}
_DEEPEST_TYPE = 5


def fitting_constants(
    node: AgentNode, block: BlockDefinition | None, linked: Collection[str], remarks: Remarks
) -> dict[str, Any]:
    """The constants that are kept. `linked` are the input pins that links end at."""
    kept: dict[str, Any] = {}
    credentials: set[str] = set()
    for pin, value in node.inputs.items():
        path = f"{node.path}.input_default.{pin[:100]}"
        base = base_pin(pin)
        schema = block.inputs.get(base) if block else None
        if is_credentials(base, schema, value):
            credentials.add(base)
            if base not in linked and (value or (block is not None and base in block.required)):
                remarks.add(RemarkCode.REMARK_CODE_CREDENTIALS_TO_FILL, path, _credentials_to_fill(value, schema))
        elif block is not None and base not in block.inputs:
            remarks.add(
                RemarkCode.REMARK_CODE_INPUT_UNKNOWN, path, f"{block.name} has no input {base[:100]!r}: it was left out"
            )
        elif value is None and not _takes_null(base, block):
            remarks.add(RemarkCode.REMARK_CODE_INPUT_NULL, path, "was null, so it was left out")
        else:
            kept[pin] = value if pin != base else _converted(pin, value, block, linked, path, remarks)
            _check_model(pin, value, block, path, remarks)
    if block is not None:
        for pin in sorted(block.required - credentials - set(linked)):
            if is_credentials(pin, block.inputs.get(pin), None):
                path = f"{node.path}.input_default.{pin}"
                remarks.add(
                    RemarkCode.REMARK_CODE_CREDENTIALS_TO_FILL, path, _credentials_to_fill(None, block.inputs.get(pin))
                )
    return kept


def _credentials_to_fill(value: Any, schema: Any) -> str:
    provider = value.get("provider") if isinstance(value, Mapping) else None
    if not provider and isinstance(schema, Mapping):
        provider = schema.get("credentials_provider")
    if isinstance(provider, list):
        provider = " or ".join(str(one) for one in provider)
    of = f" of {str(provider)[:100]}" if provider else ""
    return f"credentials{of} are not part of a file: name one of yours in the node, or give it at each start"


def _takes_null(pin: str, block: BlockDefinition | None) -> bool:
    """Whether null says something there: a required value that may be null."""
    return block is not None and pin in block.required and block.validator(pin).is_valid(None)


def _converted(
    pin: str, value: Any, block: BlockDefinition | None, linked: Collection[str], path: str, remarks: Remarks
) -> Any:
    """The value as a run would convert it; the value itself if that does not help."""
    if block is None or pin in linked or block.validator(pin).is_valid(value):
        return value
    annotation = _annotation(block.inputs[pin])
    if annotation is None:
        return value
    try:
        # As it will be stored: pairs are lists, and keys are text.
        converted = values.decode(values.encode(coerce(value, annotation)))
    except ValueError:
        return value
    if not block.validator(pin).is_valid(converted):
        return value
    what = "" if block.is_secret(pin) else f": {shown(value)} became {shown(converted)}"
    remarks.add(RemarkCode.REMARK_CODE_INPUT_CONVERTED, path, f"was converted to the type of the pin{what}")
    return converted


def _annotation(schema: Any, depth: int = 0) -> Any:
    """The Python type that a schema stands for, as far as conversion knows it; None if it does not."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST_TYPE or "enum" in schema or "const" in schema:
        return None
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(alternatives, list):
        return _union([_annotation(one, depth + 1) for one in alternatives if one != {"type": "null"}])
    name = schema.get("type")
    if isinstance(name, list):
        return _union([_annotation({**schema, "type": one}, depth + 1) for one in name if one != "null"])
    if name == "array":
        item = _annotation(schema.get("items"), depth + 1)
        return list if item is None else GenericAlias(list, (item,))
    if name == "object":
        item = _annotation(schema.get("additionalProperties"), depth + 1)
        return dict if item is None else GenericAlias(dict, (str, item))
    return _TYPES.get(name) if isinstance(name, str) else None


def _union(members: list[Any]) -> Any:
    if not members or any(member is None for member in members):
        return None
    return reduce(operator.or_, members)


def _check_model(pin: str, value: Any, block: BlockDefinition | None, path: str, remarks: Remarks) -> None:
    if pin != "model" or block is None or not isinstance(value, str):
        return
    if block.type != BlockType.BLOCK_TYPE_AI and "AI" not in block.message.categories:
        return
    known = _known_names(block.inputs[pin])
    if known and value not in known:
        remarks.add(
            RemarkCode.REMARK_CODE_MODEL_UNKNOWN,
            path,
            f"{block.name} does not know the model {value[:100]!r}: its name was kept, and a run asks the configured "
            f"provider for it; known are {', '.join(known)[:200]}",
        )


def _known_names(schema: Any) -> list[str]:
    """The values that a schema names, as the only ones or as examples."""
    if not isinstance(schema, Mapping):
        return []
    found: list[str] = []
    for keyword in ("anyOf", "oneOf"):
        alternatives = schema.get(keyword)
        for alternative in alternatives if isinstance(alternatives, list) else ():
            found.extend(_known_names(alternative))
    for keyword in ("enum", "examples"):
        names = schema.get(keyword)
        found.extend(name for name in names or () if isinstance(name, str))
    return found
