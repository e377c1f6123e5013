"""JSON values as they travel inside Blockyard: UTF-8 bytes, integers exact, nothing lost in silence.

Floats that are not finite travel as the strings "NaN", "Infinity" and "-Infinity", as in protobuf's JSON mapping. The
key `blockyard:blob` is reserved for references to the blob store, which whoever stores a value makes, never a block.
"""

import dataclasses
import json
import math
import re
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any

import orjson

BLOB_KEY = "blockyard:blob"
NO_JSON = "The value is no JSON: its runner made it wrongly."
"""What readers are told of one that was recorded."""
_BLOB_KEY_BYTES = BLOB_KEY.encode()
_DEEPEST = 1_024
_LONG_NUMBER = re.compile(rb"\d{19}")


def encode(value: Any) -> bytes:
    """The value as JSON. A ValueError says what in it has no JSON form."""
    try:
        encoded = orjson.dumps(value)
    except TypeError:
        # Rare: other types than JSON has, keys that are no text, or a value that cannot travel.
        encoded = _encode_uncommon(value)
    # orjson writes null for a float that is not finite. Only where there may be one the value is walked.
    if b"null" in encoded or _BLOB_KEY_BYTES in encoded:
        return _encode_uncommon(_checked(value))
    return encoded


def encode_reference(key: str, size: int, sha256: str) -> bytes:
    """Bytes that stand for a value which is kept in the blob store."""
    return orjson.dumps({BLOB_KEY: {"key": key, "size": size, "sha256": sha256}})


def decode(encoded: bytes | str) -> Any:
    """The value of JSON bytes; a ValueError if they are not JSON."""
    return orjson.loads(encoded)


def is_json(encoded: bytes, deepest: int = _DEEPEST) -> bool:
    """Whether `decode` takes these bytes, which are nested no deeper than so many levels; it takes 1,024 itself."""
    try:
        orjson.loads(encoded)
        if deepest < _DEEPEST and encoded.count(b"[") + encoded.count(b"{") > deepest:
            around = _DEEPEST - deepest
            orjson.loads(b"[" * around + encoded + b"]" * around)
    except ValueError:
        return False
    return True


def parse(text: bytes | str) -> Any:
    """The value of JSON from outside: as `decode`, but integers beyond 64 bits are refused rather than rounded."""
    value = orjson.loads(text)
    if _LONG_NUMBER.search(text if isinstance(text, bytes) else text.encode()):
        json.loads(text, parse_int=_integer)
    return value


def _integer(digits: str) -> int:
    number = int(digits)
    if not -(2**63) <= number < 2**64:
        raise ValueError(f"the integer {digits[:40]} does not fit into 64 bits: send it as text")
    return number


def _encode_uncommon(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        # orjson wraps what _plain raised; the cause is the clearer sentence.
        raise ValueError(f"a value has no JSON form: {error.__cause__ or error}") from error


def _plain(value: Any) -> Any:
    if _is_model(value):
        return value.model_dump()
    if isinstance(value, set | frozenset):
        # In an order of its own: a pure block's outputs must not differ from process to process.
        return sorted(value, key=lambda item: (type(item).__name__, repr(item)))
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be turned into JSON")


def _is_model(value: Any) -> bool:
    """Whether it is one of pydantic's, which is not imported for it: it is a quarter of what a client would import."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(value, pydantic.BaseModel)


def _checked(value: Any) -> Any:
    """A copy in which floats that are not finite are text; refuses the reserved key."""
    if isinstance(value, float):
        return value if math.isfinite(value) else _text_of_float(value)
    if isinstance(value, dict):
        if BLOB_KEY in value:
            raise ValueError(f"the key {BLOB_KEY!r} is reserved for references to the blob store")
        return {key: _checked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_checked(item) for item in value]
    if isinstance(value, Enum):
        return _checked(value.value)
    if _is_model(value) or isinstance(value, set | frozenset | Mapping):
        return _checked(_plain(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _checked(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def _text_of_float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
