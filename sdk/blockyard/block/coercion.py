"""Fits values to the types of pins, by the table that AutoGPT's files rely on.

A value that fits is left alone, and so is every value where the table does not know the type (an enum, a model, a
date): validation has the last word.
"""

import json
import types
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel

Converter: TypeAlias = Callable[[Any], Any]


def coerce(value: Any, annotation: Any) -> Any:
    """The value, converted to the type where it is of another one."""
    converter = converter_for(annotation)
    return value if converter is None else converter(value)


def converter_for(annotation: Any) -> Converter | None:
    """What converts to the type; None if every value is left as it is."""
    try:
        # `int | str` equals `str | int`, but it is the first member that is converted to.
        return _cached(annotation, repr(annotation))
    except TypeError:
        # Annotations that cannot be hashed, such as Annotated with a dictionary in it.
        return _build(annotation)


def _build(annotation: Any) -> Converter | None:
    if isinstance(annotation, type) and annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return converter_for(arguments[0])
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin in (list, set, tuple, frozenset):
        return _list_of(converter_for(arguments[0]) if _is_homogeneous(arguments) else None)
    if origin is dict:
        return _dictionary_of(converter_for(arguments[0]), converter_for(arguments[1]))
    return None


def _is_homogeneous(arguments: tuple[Any, ...]) -> bool:
    return len(arguments) == 1 or (len(arguments) == 2 and arguments[1] is Ellipsis)


@lru_cache(maxsize=4096)
def _cached(annotation: Any, _written: str) -> Converter | None:
    return _build(annotation)


def _to_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


def _to_integer(value: Any) -> int:
    if type(value) is int:
        return value
    if isinstance(value, list | tuple | dict | set):
        return len(value)
    try:
        # First as an integer: 64 bits are more than a float holds.
        return int(value) if isinstance(value, str | int) else int(float(value))
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return 0


def _to_float(value: Any) -> float:
    if type(value) is float:
        return value
    if isinstance(value, list | tuple | dict | set):
        return float(len(value))
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _to_boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.lower() in ("true", "1")
    return bool(value)


def _to_list(value: Any) -> Any:
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, str):
        parsed = _parsed(value, "[")
        return parsed if isinstance(parsed, list) else [value]
    return [value]


def _to_dictionary(value: Any) -> Any:
    if isinstance(value, dict | BaseModel):
        return value
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    if isinstance(value, str):
        parsed = _parsed(value, "{")
        return parsed if isinstance(parsed, dict) else {"value": value}
    return {"value": value}


def _parsed(text: str, opening: str) -> Any:
    """The text as JSON if it may be what is looked for; None otherwise."""
    if not text.lstrip().startswith(opening):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


_PLAIN: dict[type, Converter] = {
    str: _to_text,
    int: _to_integer,
    float: _to_float,
    bool: _to_boolean,
    list: _to_list,
    tuple: _to_list,
    set: _to_list,
    frozenset: _to_list,
    dict: _to_dictionary,
}


def _list_of(item: Converter | None) -> Converter:
    if item is None:
        return _to_list

    def convert(value: Any) -> Any:
        elements = _to_list(value)
        converted = [item(element) for element in elements]
        same = all(before is after for before, after in zip(elements, converted, strict=True))
        return elements if same else converted

    return convert


def _dictionary_of(key: Converter | None, item: Converter | None) -> Converter:
    if key is None and item is None:
        return _to_dictionary

    def convert(value: Any) -> Any:
        entries = _to_dictionary(value)
        if not isinstance(entries, dict):
            return entries
        return {
            name if key is None else key(name): element if item is None else item(element)
            for name, element in entries.items()
        }

    return convert


def _union(members: tuple[Any, ...]) -> Converter | None:
    """Leaves alone what fits a member; else converts to the first member that can be converted to."""
    if any(member is Any or member is object for member in members):
        return None
    converters = [converter for member in members if (converter := converter_for(member)) is not None]
    # A value may fit a member that the table does not know, a model for instance: only validation can tell.
    if not converters or any(_unknown(member) for member in members):
        return None

    def convert(value: Any) -> Any:
        if any(fits(value, member) for member in members):
            return value
        return converters[0](value)

    return convert


def _unknown(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _unknown(get_args(annotation)[0])
    return annotation is not types.NoneType and converter_for(annotation) is None and not _is_literal(annotation)


def _is_literal(annotation: Any) -> bool:
    return get_origin(annotation) is Literal


def fits(value: Any, annotation: Any) -> bool:
    """Whether the value is of the type as it is."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return fits(value, arguments[0])
    if origin in (Union, types.UnionType):
        return any(fits(value, member) for member in arguments)
    if origin is Literal:
        return value in arguments
    if origin in (list, set, frozenset, tuple):
        return isinstance(value, list | tuple | set | frozenset) and (
            not _is_homogeneous(arguments) or all(fits(item, arguments[0]) for item in value)
        )
    if origin is dict:
        return isinstance(value, dict) and all(
            fits(name, arguments[0]) and fits(item, arguments[1]) for name, item in value.items()
        )
    if annotation is Any or annotation is object:
        return True
    if annotation in (int, float) and isinstance(value, bool):
        return False
    if annotation is float:
        return isinstance(value, int | float)
    return isinstance(annotation, type) and isinstance(value, annotation)
