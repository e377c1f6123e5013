"""Blocks that are given credentials, in each style, and are careless with them."""

import asyncio
import base64
import html
import json
import logging
import os
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import structlog
from blockyard.block import (
    Block,
    BlockCost,
    BlockCostType,
    BlockExecutionError,
    BlockOutput,
    BlockSchema,
    CachePolicy,
    Context,
    CredentialsField,
    CredentialsReference,
    Effect,
    SchemaField,
    SyncBlockOutput,
)
from blockyard.block.stored_values import ValueScope

from tests.integration.runner.blocks import _Output

ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "repr": repr,
    "in a larger repr": lambda secret: repr(f'it\'s "{secret}"'),
    "in a repr with one quote": lambda secret: repr(f"it's {secret}"),
    "html": html.escape,
    "url in a url": lambda secret: urllib.parse.quote(urllib.parse.quote(secret, safe=""), safe=""),
    "json": json.dumps,
    "twice in json": lambda secret: json.dumps(json.dumps({"key": secret})),
    "url": lambda secret: urllib.parse.quote(secret, safe=""),
    "form": lambda secret: urllib.parse.urlencode({"key": secret}),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 after one": lambda secret: base64.b64encode(f"a{secret}b".encode()).decode(),
    "base64 after two": lambda secret: base64.b64encode(f"ab{secret}cd".encode()).decode(),
    "base64 for urls": lambda secret: base64.urlsafe_b64encode(f"key={secret}".encode()).decode(),
    "basic": lambda secret: base64.b64encode(f"anna:{secret}".encode()).decode(),
    "hex": lambda secret: secret.encode().hex(),
    "upper hex": lambda secret: secret.encode().hex().upper(),
    "bytes": lambda secret: repr(secret.encode()),
}


class _Input(BlockSchema):
    credentials: CredentialsReference = CredentialsField(provider="acme", types=["api_key"])
    how: str = SchemaField(description="What is done with the secret.", default="length")
    encoding: str = SchemaField(description="How it is written.", default="plain")


def _key(credentials: Any) -> str:
    key: str = credentials["api_key"]
    return key


def _said(how: str, text: str, credentials: Any) -> Iterator[tuple[str, Any]]:
    """What a careless block does with a text that has the secret in it."""
    match how:
        case "length":
            yield "value", len(_key(credentials))
        case "yield":
            yield "value", f"<{text}>"
        case "yield deep":
            yield "value", {"a": [{text: 1}, [text, 2]], "b": True}
        case "yield large":
            yield "value", [text, "x" * (1 << 20)]
        case "yield much":
            for number in range(10):
                yield "value", f"{number} {text} {'x' * (200 << 10)}"
        case "print":
            print("printed", text)
            print("printed on stderr", text, file=sys.stderr)
            sys.stdout.buffer.write(b"printed in bytes " + text.encode() + b"\n")
            sys.stdout.flush()
            yield "value", "printed"
        case "log":
            logging.getLogger("library").error("logged %s", text, extra={"header": text})
            structlog.stdlib.get_logger("library").warning("logged in fields", header={"key": [text]})
            yield "value", "logged"
        case "raise":
            raise ValueError(f"got {text}")
        case "raise as author":
            raise BlockExecutionError(f"got {text}")
        case "error pin":
            yield "error", f"got {text}"
        case "in a thread":
            missing: dict[str, str] = {}
            thread = threading.Thread(target=lambda: missing[text])
            thread.start()
            thread.join()
            yield "value", "raised"
        case "show":
            yield "value", f"{credentials} {credentials!r} {[credentials]}"
        case "environment":
            yield "value", sorted(name for name in os.environ if name.startswith("BLOCKYARD_"))


class _CredentialsBlockBase(Block[_Input, _Output]):
    id_of_class: ClassVar[str]
    effect_of_class = Effect.IDEMPOTENT
    traits_of_class: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__(
            id=self.id_of_class,
            description="Is careless with a credential.",
            input_schema=_Input,
            output_schema=_Output,
            effect=self.effect_of_class,
            **self.traits_of_class,
        )


class KeyBlock(_CredentialsBlockBase):
    id_of_class = "5a3b2e8e-1f64-4a2c-9c0a-6ad0a3f6b101"

    async def run(self, input_data: _Input, context: Context, credentials: Any = None) -> BlockOutput:
        text = ENCODINGS[input_data.encoding](_key(credentials))
        if input_data.how == "keep":
            await context.values.put("key", {"kept": text}, ValueScope.ACROSS_AGENTS)
        if input_data.how == "stats":
            self.merge_stats(context, {"called": text, "calls": 1})
        if input_data.how == "reference":
            yield "value", input_data.credentials.model_dump()
        if input_data.how == "names":
            yield "value", [sorted(credentials), sorted(credentials["headers"]), credentials["scopes"]]
        if input_data.how == "refresh":
            yield "value", _key(credentials)
            fresh = await context.credentials.refresh("credentials")
            print("fresh", _key(fresh), "before", text)
            yield "value", [len(_key(credentials)), len(_key(fresh)), _key(fresh), text]
        if input_data.how == "refresh another":
            await context.credentials.refresh("other_credentials")
        if input_data.how == "wait":
            yield "value", "begun"
            await asyncio.sleep(60)
        for item in _said(input_data.how, text, credentials):
            yield item


class KeyInThreadBlock(_CredentialsBlockBase):
    id_of_class = "5a3b2e8e-1f64-4a2c-9c0a-6ad0a3f6b102"

    def run(self, input_data: _Input, credentials: Any = None) -> SyncBlockOutput:
        if input_data.how == "late":
            text = _key(credentials)
            try:
                # In C code: nothing is raised in the thread before that returns.
                time.sleep(1.5)
                yield "value", "in time"
            finally:
                print("late", text)
        yield from _said(input_data.how, ENCODINGS[input_data.encoding](_key(credentials)), credentials)


class KeyInProcessBlock(_CredentialsBlockBase):
    id_of_class = "5a3b2e8e-1f64-4a2c-9c0a-6ad0a3f6b103"
    cpu_bound = True

    def run(self, input_data: _Input, credentials: Any = None) -> SyncBlockOutput:
        if input_data.how == "arguments":
            yield "value", [*sys.argv, *(f"{name}={value}" for name, value in os.environ.items())]
            yield "value", [Path("/proc/self", name).read_text() for name in ("cmdline", "environ")]
        yield from _said(input_data.how, ENCODINGS[input_data.encoding](_key(credentials)), credentials)


class KeyOnceBlock(KeyBlock):
    id_of_class = "5a3b2e8e-1f64-4a2c-9c0a-6ad0a3f6b104"
    effect_of_class = Effect.ONCE


class KeyCostsBlock(KeyBlock):
    """Costs by the second."""

    id_of_class = "5a3b2e8e-1f64-4a2c-9c0a-6ad0a3f6b105"
    traits_of_class: ClassVar[dict[str, Any]] = {"costs": [BlockCost(1_000, BlockCostType.SECOND)]}


class PureKeyBlock(KeyBlock):
    """Pure, so that it could be run inline."""

    id_of_class = "5a3b2e8e-1f64-4a2c-9c0a-6ad0a3f6b106"
    effect_of_class = Effect.PURE


class CountedBlock(Block):
    """A cache, and no field for credentials: with one, no block may have a cache."""

    class Input(BlockSchema):
        how: str = SchemaField(description="Nothing.", default="")

    Output = _Output

    def __init__(self) -> None:
        super().__init__(
            id="5a3b2e8e-1f64-4a2c-9c0a-6ad0a3f6b107",
            description="Counts its runs.",
            input_schema=self.Input,
            output_schema=self.Output,
            cache=CachePolicy(seconds=60),
        )
        self._runs = 0

    async def run(self, input_data: Input) -> BlockOutput:
        self._runs += 1
        yield "value", self._runs
