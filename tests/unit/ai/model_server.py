"""A server of models for tests: speaks chat completions (OpenAI) and messages (Anthropic) over loopback.

It answers what the test has written down, whole or as a stream of server-sent events, and keeps what it was asked.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias

INPUT_TOKENS = 11
OUTPUT_TOKENS = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float

    @property
    def anthropic(self) -> bool:
        """Whether it is a request of Anthropic's protocol."""
        return self.path.endswith("/messages")

    def last(self) -> str:
        """The text of the last message."""
        text = self.body["messages"][-1]["content"]
        assert isinstance(text, str)
        return text

    def system(self) -> str:
        """The system prompt, where each protocol has it."""
        if self.anthropic:
            return str(self.body.get("system", ""))
        return "\n\n".join(message["content"] for message in self.body["messages"] if message["role"] == "system")


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool; the arguments are sent as they stand."""

    name: str
    arguments: str
    id: str = "call_1"


@dataclass(frozen=True, slots=True)
class Says:
    """An answer. `finish` is OpenAI's word for why it ended, or Anthropic's."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = ""
    # A stream waits here behind its first piece.
    held: asyncio.Event | None = None
    # A stream breaks off behind so many pieces: the connection, or only the events.
    cut_after: int | None = None
    cut_connection: bool = True
    # A stream says this error instead of its end.
    error: dict[str, Any] | None = None
    usage: bool = True


@dataclass(frozen=True, slots=True)
class Fails:
    """A status that is none of success."""

    status: int
    message: str = "something is wrong"
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "some_error"


@dataclass(frozen=True, slots=True)
class Raw:
    """A body that is sent as it stands."""

    body: str
    content_type: str = "application/json"

    @staticmethod
    def events(*events: Any) -> "Raw":
        """A whole stream of these events; those of Anthropic's protocol are named by their type."""
        named = [(event.get("type") if isinstance(event, dict) else None, json.dumps(event)) for event in events]
        lines = [
            f"event: {kind}\ndata: {data}\n\n" if isinstance(kind, str) else f"data: {data}\n\n" for kind, data in named
        ]
        return Raw("".join(lines), "text/event-stream")


class Hangs:
    """No answer, until the other side gives up."""


Reply: TypeAlias = Says | Fails | Raw | Hangs
Script: TypeAlias = Sequence[Reply] | Callable[[Asked], Reply]


class ModelServer:
    """Gives the replies in turn, the last one again and again; or asks a function for each."""

    def __init__(self, script: Script) -> None:
        self.asked: list[Asked] = []
        # Somebody gave up waiting for a reply that hangs.
        self.given_up = asyncio.Event()
        self._script = script
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Without a path."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await _read(reader)
            self.asked.append(asked)
            reply = self._reply(asked)
            if isinstance(reply, Hangs):
                await reader.read()
                self.given_up.set()
            elif isinstance(reply, Says) and asked.body.get("stream"):
                await _send_stream(writer, reply, asked)
            else:
                writer.write(_whole(reply, asked))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            # The other side has gone, as some tests want it to.
            pass
        finally:
            writer.close()

    def _reply(self, asked: Asked) -> Reply:
        if callable(self._script):
            return self._script(asked)
        return self._script[min(len(self.asked), len(self._script)) - 1]


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(head[0].split(" ")[1], headers, json.loads(body), time.monotonic())


def _whole(reply: Reply, asked: Asked) -> bytes:
    if isinstance(reply, Raw):
        return _response(200, reply.body, {"content-type": reply.content_type})
    if isinstance(reply, Fails):
        error: dict[str, Any] = {"type": reply.kind, "message": reply.message}
        body = {"type": "error", "error": error} if asked.anthropic else {"error": {**error, "code": reply.kind}}
        return _response(reply.status, json.dumps(body), {"content-type": "application/json", **reply.headers})
    assert isinstance(reply, Says)
    message = _anthropic_message(reply, asked) if asked.anthropic else _openai_message(reply, asked)
    return _response(200, json.dumps(message), {"content-type": "application/json"})


def _response(status: int, body: str, headers: dict[str, str]) -> bytes:
    content = body.encode()
    lines = [f"HTTP/1.1 {status} x", f"content-length: {len(content)}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def _openai_message(reply: Says, asked: Asked) -> dict[str, Any]:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.calls
    ]
    message = {"role": "assistant", "content": reply.text or None, **({"tool_calls": calls} if calls else {})}
    finish = reply.finish or ("tool_calls" if calls else "stop")
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": asked.body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        **({"usage": _openai_usage()} if reply.usage else {}),
    }


def _openai_usage() -> dict[str, int]:
    total = INPUT_TOKENS + OUTPUT_TOKENS
    return {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS, "total_tokens": total}


def _anthropic_message(reply: Says, asked: Asked) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
    content += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments)}
        for call in reply.calls
    ]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked.body["model"],
        "content": content,
        "stop_reason": reply.finish or ("tool_use" if reply.calls else "end_turn"),
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS if reply.usage else 0},
    }


async def _send_stream(writer: asyncio.StreamWriter, reply: Says, asked: Asked) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    )
    async for event in _events(reply, asked):
        content = event.encode()
        writer.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        await writer.drain()
    if reply.cut_after is None or not reply.cut_connection:
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _events(reply: Says, asked: Asked) -> AsyncIterator[str]:
    pieces = _pieces(reply.text)
    make = _anthropic_events if asked.anthropic else _openai_events
    begin, texts, end = make(reply, pieces, asked)
    for event in begin:
        yield event
    for number, event in enumerate(texts):
        if number == reply.cut_after:
            return
        yield event
        if number == 0 and reply.held is not None:
            await reply.held.wait()
    if reply.cut_after is not None:
        return
    for event in end:
        yield event


def _pieces(text: str) -> list[str]:
    """Word by word, each with the space before it."""
    words = text.split(" ") if text else []
    return [word if number == 0 else f" {word}" for number, word in enumerate(words)]


def _openai_events(reply: Says, pieces: list[str], asked: Asked) -> tuple[Iterator[str], Iterator[str], Iterator[str]]:
    def event(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _data(
            {
                "id": "1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": asked.body["model"],
                "choices": [choice],
            }
        )

    def end() -> Iterator[str]:
        if reply.error is not None:
            yield _data({"error": reply.error})
            return
        for index, call in enumerate(reply.calls):
            half = len(call.arguments) // 2
            first = {
                "index": index,
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments[:half]},
            }
            yield event({"tool_calls": [first]})
            yield event({"tool_calls": [{"index": index, "function": {"arguments": call.arguments[half:]}}]})
        yield event({}, reply.finish or ("tool_calls" if reply.calls else "stop"))
        if reply.usage:
            yield _data(
                {
                    "id": "1",
                    "object": "chat.completion.chunk",
                    "created": 1,
                    "model": asked.body["model"],
                    "choices": [],
                    "usage": _openai_usage(),
                }
            )
        yield "data: [DONE]\n\n"

    return iter([event({"role": "assistant", "content": ""})]), (event({"content": piece}) for piece in pieces), end()


def _anthropic_events(
    reply: Says, pieces: list[str], asked: Asked
) -> tuple[Iterator[str], Iterator[str], Iterator[str]]:
    start = {
        **_anthropic_message(Says(), asked),
        "stop_reason": None,
        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1},
    }
    begin = [
        _named("message_start", {"message": start}),
        _named("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
        _named("ping", {}),
    ]

    def end() -> Iterator[str]:
        if reply.error is not None:
            yield _named("error", {"error": reply.error})
            return
        yield _named("content_block_stop", {"index": 0})
        for index, call in enumerate(reply.calls, 1):
            block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
            yield _named("content_block_start", {"index": index, "content_block": block})
            half = len(call.arguments) // 2
            for part in (call.arguments[:half], call.arguments[half:]):
                yield _named(
                    "content_block_delta", {"index": index, "delta": {"type": "input_json_delta", "partial_json": part}}
                )
            yield _named("content_block_stop", {"index": index})
        reason = reply.finish or ("tool_use" if reply.calls else "end_turn")
        yield _named(
            "message_delta",
            {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": OUTPUT_TOKENS}},
        )
        yield _named("message_stop", {})

    texts = (
        _named("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": piece}}) for piece in pieces
    )
    return iter(begin), texts, end()


def _data(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event)}\n\n"


def _named(kind: str, event: dict[str, Any]) -> str:
    return f"event: {kind}\n" + _data({"type": kind, **event})
