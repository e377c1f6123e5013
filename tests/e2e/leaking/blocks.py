"""Blocks that tell what they are given as credentials: on their outputs, in errors, stats, logs and on the terminal."""

import base64
import hashlib
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import structlog
from blockyard.block import (
    Block,
    BlockOutput,
    BlockSchema,
    Context,
    CredentialsField,
    CredentialsReference,
    Effect,
    SchemaField,
    SyncBlockOutput,
)

PROVIDER = "leaking"
TYPES = ("api_key", "oauth2", "user_password", "host_scoped")


def texts(value: Any) -> Iterator[str]:
    """All texts that a credential holds."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts(item)


def told(credentials: Any) -> list[str]:
    """The secret parts in the forms that people give them."""
    names = ("api_key", "access_token", "refresh_token", "password", "headers")
    found = [text for name in names for text in texts(credentials.get(name))]
    forms: list[str] = []
    for text in found:
        data = text.encode()
        forms += [
            text,
            f"Bearer {text}",
            base64.b64encode(data).decode(),
            base64.urlsafe_b64encode(b"x" + data).decode(),
            base64.b64encode(b"xy" + data).decode(),
            data.hex(),
            data.hex().upper(),
            quote(text, safe=""),
            repr(text),
        ]
    return forms


def shout(credentials: Any) -> None:
    """Tells them to whoever listens to the process."""
    for form in told(credentials):
        print("printed", form)
        print("printed", form, file=sys.stderr)
        logging.getLogger("a.library").error("logged %s", form)
        structlog.get_logger("a.block").error("logged", form=form)


class Input(BlockSchema):
    credentials: CredentialsReference = CredentialsField(
        provider=PROVIDER, types=TYPES, description="What is told to everybody."
    )
    way: str = SchemaField(description="value, raise, error, stats or nothing.", default="value")
    text: str = SchemaField(description="Passed on.", default="")


class Output(BlockSchema):
    value: Any = SchemaField(description="What it was given.")
    text: str = SchemaField(description="The input.")
    error: str = SchemaField(description="Why the block failed.")


def said(input_data: Input, credentials: Any, context: Context) -> Iterator[tuple[str, Any]]:
    """What each of the blocks does."""
    print("printed", input_data.text)
    shout(credentials)
    forms = told(credentials)
    if input_data.way == "raise":
        raise ValueError("; ".join(forms))
    if input_data.way == "error":
        yield "error", "; ".join(forms)
    if input_data.way == "stats":
        context.stats["told"] = forms
    if input_data.way == "value":
        large = "x" * (300 << 10)
        yield "value", {"told": forms, "large": [large, input_data.text, *forms], forms[0]: 1}
    yield "text", input_data.text


class LeakingBlock(Block):
    """On the event loop."""

    def __init__(self) -> None:
        super().__init__(
            id="0b2cfd26-9ac1-4cf1-9dd7-3a1d9e8ff801",
            description="Tells its credentials.",
            input_schema=Input,
            output_schema=Output,
            effect=Effect.IDEMPOTENT,
        )

    async def run(self, input_data: Input, context: Context, credentials: Any) -> BlockOutput:
        for item in said(input_data, credentials, context):
            yield item


class LeakingInThreadBlock(Block):
    """In a thread."""

    def __init__(self) -> None:
        super().__init__(
            id="0b2cfd26-9ac1-4cf1-9dd7-3a1d9e8ff802",
            description="Tells its credentials, in a thread.",
            input_schema=Input,
            output_schema=Output,
            effect=Effect.IDEMPOTENT,
        )

    def run(self, input_data: Input, context: Context, credentials: Any) -> SyncBlockOutput:
        yield from said(input_data, credentials, context)


class LeakingInProcessBlock(Block):
    """In a process of its own."""

    cpu_bound = True

    def __init__(self) -> None:
        super().__init__(
            id="0b2cfd26-9ac1-4cf1-9dd7-3a1d9e8ff803",
            description="Tells its credentials, in a process.",
            input_schema=Input,
            output_schema=Output,
            effect=Effect.IDEMPOTENT,
        )

    def run(self, input_data: Input, context: Context, credentials: Any) -> SyncBlockOutput:
        yield from said(input_data, credentials, context)


class HashingBlock(Block):
    """Tells nothing but a hash."""

    class Output(BlockSchema):
        digest: str = SchemaField(description="SHA-256 of the API key.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="0b2cfd26-9ac1-4cf1-9dd7-3a1d9e8ff804",
            description="Hashes its API key.",
            input_schema=Input,
            output_schema=self.Output,
            effect=Effect.IDEMPOTENT,
        )

    async def run(self, input_data: Input, context: Context, credentials: Any) -> BlockOutput:
        yield "digest", hashlib.sha256(credentials["api_key"].encode()).hexdigest()
