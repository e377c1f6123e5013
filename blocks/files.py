"""Reads the files that values carry: data URIs, and plain text."""

import base64
import binascii
from typing import Annotated
from urllib.parse import unquote_to_bytes

from blockyard.block import BlockExecutionError
from pydantic import WithJsonSchema

# A file in a value: a data URI (data:text/csv;base64,...).
MediaFile = Annotated[str, WithJsonSchema({"type": "string", "format": "file"})]


def read_bytes(file: str) -> bytes:
    """Content of a data URI; anything else is text that stands for itself."""
    if not file.startswith("data:"):
        return file.encode()
    head, comma, body = file.partition(",")
    if not comma:
        raise BlockExecutionError("a data URI needs a comma before its content")
    if not head.endswith(";base64"):
        return unquote_to_bytes(body)
    try:
        return base64.b64decode(unquote_to_bytes(body), validate=True)
    except binascii.Error as error:
        raise BlockExecutionError(f"a data URI holds broken base64: {error}") from error


def decode(content: bytes) -> str:
    """The content as text: UTF-8, or Latin-1 where it is not that."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")
