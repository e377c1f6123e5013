"""The blocks for code, in a real sandbox."""

import shutil
from typing import Any

import pytest
from blockyard.block import Block, BlockExecutionError
from blockyard.block.preparation import prepare
from blockyard.sandbox import End, Limits, Outcome

from blocks.code.execution import CodeExecutionBlock, ExecuteCodeBlock
from blocks.code.execution import failure as failure_of
from tests.integration.sandbox.attempts import namespaces_work


async def outputs(block: Block, **inputs: Any) -> list[tuple[str, Any]] | None:
    """What the block gives; None where no sandbox can be had, once it is sure that it was refused."""
    if namespaces_work():
        return [output async for output in block.execute(prepare(block, inputs))]
    with pytest.raises(BlockExecutionError, match="To do: "):
        async for _ in block.execute(prepare(block, inputs)):
            pass
    return None


async def failure(block: Block, **inputs: Any) -> str:
    """Why it fails."""
    with pytest.raises(BlockExecutionError) as failed:
        async for _ in block.execute(prepare(block, inputs)):
            pass
    return str(failed.value)


async def test_code_gives_its_value_and_what_it_wrote() -> None:
    given = await outputs(CodeExecutionBlock(), code="import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7")

    if given is None:
        return
    assert given[:3] == [("response", "42"), ("stdout", "out\n"), ("stderr", "err\n")]
    assert [pin for pin, _ in given[3:]] == ["sandbox_id"]


async def test_response_is_what_was_written_where_there_is_no_value() -> None:
    given = await outputs(CodeExecutionBlock(), code="echo $((6 * 7))", language="bash", setup_commands=["true"])

    assert given is None or given[0] == ("response", "42")


async def test_notebook_outputs_leave_out_what_is_empty() -> None:
    assert await outputs(ExecuteCodeBlock(), code="x = 1") in (None, [("results", []), ("files", [])])


async def test_notebook_outputs_hold_result_and_files() -> None:
    code = "open('a.txt', 'w').write(who)\nopen('b.png', 'wb').write(b'\\x89PNG')\nprint('x')\nwho"

    given = await outputs(ExecuteCodeBlock(), code=code, variables={"who": "Ada"}, timeout=9999)

    if given is None:
        return
    assert given[:4] == [
        ("main_result", {"text": "'Ada'"}),
        ("results", [{"text": "'Ada'", "is_main_result": True}]),
        ("response", "'Ada'"),
        ("stdout_logs", "x\n"),
    ]
    assert given[4][0] == "files"
    assert [(file["path"], file["name"], file["content"]) for file in given[4][1]] == [
        ("/work/a.txt", "a.txt", "Ada"),
        ("/work/b.png", "b.png", "data:image/png;base64,iVBORw=="),
    ]


FAILURES = [
    ({"code": "1 / 0"}, "code: ended with exit code 1: ", "ZeroDivisionError: division by zero"),
    ({"code": "while True: pass", "timeout": 1}, "code: ", ""),
    ({"code": "sleep 1000", "language": "bash", "timeout": 1}, "code: was stopped after 1 seconds, its timeout", ""),
    ({"code": "yes", "language": "bash"}, "code: was stopped since it wrote more than 1 MB of output", ""),
    ({"code": "", "setup_commands": ["echo no; exit 3"]}, "setup_commands[0]: ended with exit code 3: no", ""),
    ({"code": "kill -9 $$", "language": "bash"}, "code: ended with signal 9", ""),
    ({"code": "", "template_id": "mine"}, "template_id: this sandbox has no templates, got 'mine'", ""),
]


@pytest.mark.parametrize("block", [CodeExecutionBlock(), ExecuteCodeBlock()], ids=lambda block: block.name)
@pytest.mark.parametrize(("inputs", "begins", "ends"), FAILURES)
async def test_failure_says_what_and_where(block: Block, inputs: dict[str, Any], begins: str, ends: str) -> None:
    message = await failure(block, **inputs)

    if not namespaces_work() and "template_id" not in inputs:
        assert "To do: " in message
        return
    assert message.startswith(begins)
    assert message.endswith(ends)


@pytest.mark.parametrize("end", End)
def test_each_end_has_its_words(end: End) -> None:
    said = failure_of(Outcome("sandbox-1", end, step="setup_commands[2]", exit_code=-9), Limits())

    assert said.startswith("setup_commands[2]: ended with signal 9" if end is End.EXITED else "setup_commands[2]: was")


def test_program_whose_end_is_unknown_is_no_success() -> None:
    said = failure_of(Outcome("sandbox-1", End.EXITED, step="code"), Limits())

    assert said == "code: ended, and nothing was left to say how"


async def test_language_that_is_not_here_is_said() -> None:
    if shutil.which("Rscript") is not None:
        assert await outputs(CodeExecutionBlock(), code="6 * 7", language="r") is not None
        return
    message = await failure(CodeExecutionBlock(), code="6 * 7", language="r")

    assert message == "R is not installed where code runs: there is no program called Rscript"
