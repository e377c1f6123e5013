"""What is wrong with a value by a JSON schema, in sentences: "expected a string, got 7"."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

_TYPES = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
# As protobuf's JSON mapping writes floats that are not finite.
_NUMBERS_AS_TEXT = frozenset({"NaN", "Infinity", "-Infinity"})


def problems(validator: Draft202012Validator, value: Any, secret: bool = False) -> Iterator[tuple[str, str]]:
    """The place inside the value ("[2].name"; empty for the value itself) and what is wrong there."""
    for error in validator.iter_errors(value):
        if not _is_number_as_text(error):
            place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
            # The sentence shows the value, and of a secret nothing is shown.
            yield place, "does not fit the pin" if secret else _sentence(error)


def _sentence(error: ValidationError) -> str:
    # Any: what stands behind the keyword in the schema.
    rule: Any = error.validator_value
    if error.validator == "type":
        return f"expected {_either(rule)}, got {shown(error.instance)}"
    if error.validator == "enum":
        options = ", ".join(shown(option) for option in rule)
        return f"expected one of {options[:300]}, got {shown(error.instance)}"
    if error.validator in ("anyOf", "oneOf"):
        types = [option.get("type") for option in rule if isinstance(option, Mapping)]
        # Without nested complaints about an item of a list, say: there the types alone would mislead.
        if all(isinstance(name, str) for name in types) and not _fits_one_type(error.context or ()):
            return f"expected {_either(types)}, got {shown(error.instance)}"
        return f"{shown(error.instance)} fits none of the allowed forms"
    return error.message[:300]


def _fits_one_type(context: Any) -> bool:  # Any: jsonschema types it as a list or a tuple by turns
    by_option: dict[object, bool] = {}
    for error in context:
        option = error.schema_path[0]
        by_option[option] = by_option.get(option, True) and not (error.validator == "type" and not error.path)
    return any(by_option.values())


def _is_number_as_text(error: ValidationError) -> bool:
    """Whether this is no mistake, but a float that JSON cannot write."""
    if not isinstance(error.instance, str) or error.instance not in _NUMBERS_AS_TEXT:
        return False
    options = [error.schema, *(error.schema.get("anyOf", ()) if isinstance(error.schema, Mapping) else ())]
    return any(isinstance(option, Mapping) and option.get("type") == "number" for option in options)


def _either(types: Any) -> str:
    names = [types] if isinstance(types, str) else list(types)
    return " or ".join(dict.fromkeys(_TYPES.get(name, str(name)) for name in names))


def shown(value: Any) -> str:
    """The value as JSON, cut where it gets long."""
    text = orjson.dumps(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}..."
