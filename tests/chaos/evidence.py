"""What helps to find out why something went wrong: the service's own explanation, and the lines of the logs."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from blockyard.client import Client
from blockyard.errors import CallError

LINES_A_FILE = 5
LINE_CHARACTERS = 2_000


async def explain(client: Client, execution_id: str) -> str:
    """What the service answers when it is asked what an execution waits for."""
    try:
        answer = await client.executions.explain(execution_id)
    except CallError as error:
        return f"ExplainExecution failed: {type(error).__name__}: {error}"
    lines = [f"{answer.summary} (owner: {answer.owner or 'none'}, next look: {answer.next_look})"]
    lines += [
        f"  node execution {one.node_execution} of {one.node_id}: {one.reason}"
        + (f", runner {one.runner}" if one.runner else "")
        + (f", wakes {one.wakes}" if one.wakes else "")
        for one in answer.waiting
    ]
    return "\n".join(lines)


async def log_lines(folder: Path, execution_id: str) -> list[str]:
    """The last lines of each log that mention an execution."""
    return await asyncio.to_thread(lambda: list(_log_lines(sorted(folder.glob("*.log*")), execution_id)))


def _log_lines(files: Sequence[Path], text: str) -> Iterator[str]:
    for file in files:
        with file.open(encoding="utf-8", errors="replace") as lines:
            found = [line.strip()[:LINE_CHARACTERS] for line in lines if text in line]
        for line in found[-LINES_A_FILE:]:
            yield f"{file.name}: {line}"
