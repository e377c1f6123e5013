"""Runs code in a sandbox: no network, a private folder, limits. See docs/code-execution.md for what it can and cannot.

AutoGPT's blocks that keep a sandbox between nodes (InstantiateCodeSandboxBlock, ExecuteCodeStepBlock) are not here: the
next node may run on another runner, and what a sandbox holds dies with its run.
"""

import base64
import mimetypes
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from blockyard.block import (
    Block,
    BlockCategory,
    BlockExecutionError,
    BlockInterrupted,
    BlockOutput,
    BlockSchema,
    Context,
    CredentialsField,
    CredentialsReference,
    Effect,
    Item,
    SchemaField,
)
from blockyard.sandbox import (
    End,
    Language,
    Limits,
    Outcome,
    Program,
    SandboxError,
    SandboxFile,
    SandboxLost,
    open_sandbox,
    unavailable_reason,
)
from typing_extensions import TypedDict

MAX_TIMEOUT_SECONDS = 600
# To set a sandbox up and to take it down, beside the time that the code has: in a cluster an image may be pulled first.
_AROUND_SECONDS = 240
# Of what code wrote on stderr, the end: there a message says what is the matter.
_SHOWN_CHARACTERS = 2000


class ProgrammingLanguage(StrEnum):
    """What code may be written in."""

    PYTHON = "python"
    JAVASCRIPT = "js"
    BASH = "bash"
    R = "r"
    JAVA = "java"


class MainCodeExecutionResult(TypedDict, total=False):
    """The value of the code's last expression, in each form that it shows itself in. Images are base64."""

    text: str
    html: str
    markdown: str
    svg: str
    png: str
    jpeg: str
    pdf: str
    latex: str
    json: Any
    javascript: str
    data: dict[str, Any]
    chart: dict[str, Any]
    extra: dict[str, Any]


class CodeExecutionResult(MainCodeExecutionResult, total=False):
    """As the main result, which is one of them."""

    is_main_result: bool


class SandboxFileOutput(TypedDict):
    """A file that the code left in its working folder."""

    path: str
    relative_path: str
    name: str
    content: str
    workspace_ref: str | None


class CodeBlockBase(Block):
    """What the blocks for code share."""

    def unavailable_reason(self) -> str:
        """Why this machine has no sandbox."""
        return unavailable_reason()

    async def run_program(self, program: Program, limits: Limits, context: Context) -> Outcome:
        """Runs it in a sandbox of this runner, of which so many may be at once."""
        async with context.resource(open_sandbox) as sandbox:
            return await sandbox.run(program, limits)

    async def outcome_of(
        self,
        code: str,
        language: ProgrammingLanguage,
        setup_commands: Sequence[str],
        timeout: int,
        template_id: str,
        variables: dict[str, Any],
        context: Context,
    ) -> Outcome:
        """The outcome of code that went well; a BlockExecutionError says why it did not. `timeout` is in seconds."""
        if template_id:
            raise BlockExecutionError(
                f"template_id: this sandbox has no templates, got {template_id!r}; leave it empty, and install what "
                "the code needs on the runner"
            )
        program = Program(code, Language(language.value), tuple(setup_commands), variables)
        limits = Limits(seconds=timeout, cpu_seconds=timeout)
        try:
            outcome = await self.run_program(program, limits, context)
        except SandboxLost as error:
            raise BlockInterrupted(str(error)) from error
        except SandboxError as error:
            raise BlockExecutionError(str(error)) from error
        if not outcome.succeeded:
            raise BlockExecutionError(failure(outcome, limits))
        return outcome


def failure(outcome: Outcome, limits: Limits) -> str:
    """Why the program did not go well, for whoever wrote it."""
    where = outcome.step or "code"
    match outcome.end:
        case End.OUT_OF_TIME:
            return f"{where}: was stopped after {limits.seconds:g} seconds, its timeout"
        case End.OUT_OF_MEMORY:
            return f"{where}: was stopped since it used more than {limits.memory >> 20} MB of memory"
        case End.TOO_MANY_PROCESSES:
            return f"{where}: was stopped since it had more than {limits.processes} processes and threads"
        case End.TOO_MUCH_OUTPUT:
            return f"{where}: was stopped since it wrote more than {limits.output >> 20} MB of output"
        case End.TOO_MANY_FILES:
            return f"{where}: was stopped since it made more than {limits.folder_entries} files"
    if outcome.start_error:
        return f"{where}: could not be started: {outcome.start_error}"
    if outcome.exit_code is None:
        return f"{where}: ended, and nothing was left to say how"
    how = f"exit code {outcome.exit_code}" if outcome.exit_code >= 0 else f"signal {-outcome.exit_code}"
    said = outcome.stderr if where == "code" else outcome.setup_output
    return f"{where}: ended with {how}: {said.strip()[-_SHOWN_CHARACTERS:]}".rstrip(": ")


def _setup_field() -> Any:
    return SchemaField(
        description="Shell commands to run before the code, in its working folder. There is no network.",
        placeholder="mkdir results",
        default_factory=list,
        advanced=False,
    )


def _code_field() -> Any:
    return SchemaField(description="Code to run.", placeholder="print('Hello')", default="", advanced=False)


def _language_field() -> Any:
    return SchemaField(description="What the code is written in.", default=ProgrammingLanguage.PYTHON, advanced=False)


def _timeout_field() -> Any:
    return SchemaField(
        description="Seconds after which it is stopped, setup commands included.",
        default=300,
        ge=1,
        le=MAX_TIMEOUT_SECONDS,
    )


def _template_field() -> Any:
    return SchemaField(description="Template of the sandbox. There are none here: leave it empty.", default="")


async def _example(program: Program, limits: Limits, context: Context) -> Outcome:
    """Stands in for the sandbox in the blocks' own tests, which also run where there is none."""
    if program.code == "1 / 0":
        stderr = 'Traceback (most recent call last):\n  File "main.py", line 1\nZeroDivisionError: division by zero\n'
        return Outcome("sandbox-example", End.EXITED, step="code", exit_code=1, stderr=stderr)
    file = SandboxFile("sums/total.txt", b"42")
    result = {"text": "42"}
    return Outcome(
        "sandbox-example", End.EXITED, step="code", exit_code=0, stdout="Hello\n", result=result, files=(file,)
    )


class CodeExecutionBlock(CodeBlockBase):
    class Input(BlockSchema):
        setup_commands: list[str] = _setup_field()
        code: str = _code_field()
        language: ProgrammingLanguage = _language_field()
        timeout: int = _timeout_field()
        template_id: str = _template_field()

    class Output(BlockSchema):
        response: str = SchemaField(description="The value of the code's last expression; what it wrote, if none.")
        stdout: str = SchemaField(description="What the code wrote to its standard output.")
        stderr: str = SchemaField(description="What the code wrote to its standard error.")
        sandbox_id: str = SchemaField(description="Name of the sandbox, which is gone by now.")
        error: str = SchemaField(description="Why the code did not go well.")

    def __init__(self) -> None:
        super().__init__(
            id="a1b2c3d4-e5f6-7890-abcd-ef1234567890",
            description="Runs code in a sandbox without network, and gives what it wrote.",
            categories={BlockCategory.DEVELOPER_TOOLS},
            input_schema=self.Input,
            output_schema=self.Output,
            effect=Effect.IDEMPOTENT,
            timeout=MAX_TIMEOUT_SECONDS + _AROUND_SECONDS,
            test_input=[
                {"code": "print('Hello')\n6 * 7"},
                {"code": "1 / 0"},
                {"code": "1", "template_id": "mine"},
            ],
            test_output=[
                ("response", "42"),
                ("stdout", "Hello\n"),
                ("stderr", ""),
                ("sandbox_id", "sandbox-example"),
                ("error", lambda message: message.endswith("ZeroDivisionError: division by zero")),
                ("error", lambda message: message.startswith("template_id: ")),
            ],
            test_mock={"run_program": _example},
        )

    async def run(self, input_data: Input, context: Context) -> BlockOutput:
        outcome = await self.outcome_of(
            input_data.code,
            input_data.language,
            input_data.setup_commands,
            input_data.timeout,
            input_data.template_id,
            {},
            context,
        )
        yield "response", outcome.result.get("text", outcome.stdout.strip())
        yield "stdout", outcome.stdout
        yield "stderr", outcome.stderr
        yield "sandbox_id", outcome.sandbox_id


class ExecuteCodeBlock(CodeBlockBase):
    class Input(BlockSchema):
        credentials: CredentialsReference | None = CredentialsField(
            provider="e2b",
            types=["api_key"],
            # Not used, so none is to be found for it.
            named_only=True,
            description="Not used: the code runs in a sandbox of this installation.",
            default=None,
        )
        setup_commands: list[str] = _setup_field()
        variables: dict[str, Any] = SchemaField(
            description="Values by the names that the code knows them by; in Bash, R and Java environment variables.",
            default_factory=dict,
            advanced=False,
        )
        code: str = _code_field()
        language: ProgrammingLanguage = _language_field()
        timeout: int = SchemaField(
            description="Seconds after which it is stopped, setup commands included; 600 if it is more.",
            default=300,
            ge=1,
        )
        dispose_sandbox: bool = SchemaField(
            description="Not used: a sandbox and all that is in it is removed when the code has ended.", default=True
        )
        template_id: str = _template_field()

    class Output(BlockSchema):
        main_result: MainCodeExecutionResult = SchemaField(description="The value of the code's last expression.")
        results: list[CodeExecutionResult] = SchemaField(description="All results of the code.")
        response: str = SchemaField(description="The main result as text.")
        stdout_logs: str = SchemaField(description="What the code wrote to its standard output.")
        stderr_logs: str = SchemaField(description="What the code wrote to its standard error.")
        files: list[SandboxFileOutput] = SchemaField(description="Files that the code left in its working folder.")
        error: str = SchemaField(description="Why the code did not go well.")

    def __init__(self) -> None:
        super().__init__(
            id="0b02b072-abe7-11ef-8372-fb5d162dd712",
            description="Runs code in a sandbox without network, and gives its results, output and files.",
            categories={BlockCategory.DEVELOPER_TOOLS},
            input_schema=self.Input,
            output_schema=self.Output,
            effect=Effect.IDEMPOTENT,
            timeout=MAX_TIMEOUT_SECONDS + _AROUND_SECONDS,
            test_input=[{"code": "print('Hello')\n6 * 7"}, {"code": "1 / 0"}],
            test_output=[
                ("main_result", {"text": "42"}),
                ("results", [{"text": "42", "is_main_result": True}]),
                ("response", "42"),
                ("stdout_logs", "Hello\n"),
                ("files", lambda files: [(file["path"], file["content"]) for file in files] == [_EXAMPLE_FILE]),
                ("error", lambda message: message.endswith("ZeroDivisionError: division by zero")),
            ],
            test_mock={"run_program": _example},
        )

    async def run(self, input_data: Input, context: Context) -> BlockOutput:
        outcome = await self.outcome_of(
            input_data.code,
            input_data.language,
            input_data.setup_commands,
            min(input_data.timeout, MAX_TIMEOUT_SECONDS),
            input_data.template_id,
            input_data.variables,
            context,
        )
        for item in _notebook_outputs(outcome):
            yield item


_EXAMPLE_FILE = ("/work/sums/total.txt", "42")


def _notebook_outputs(outcome: Outcome) -> list[Item]:
    """As AutoGPT's block gives them: what is empty is left out, `results` and `files` are not."""
    main = dict(outcome.result)
    outputs: list[Item] = [("main_result", main)] if main else []
    outputs.append(("results", [{**main, "is_main_result": True}] if main else []))
    texts = {"response": main.get("text"), "stdout_logs": outcome.stdout, "stderr_logs": outcome.stderr}
    outputs += [(pin, text) for pin, text in texts.items() if text]
    outputs.append(("files", [_file_output(file) for file in outcome.files]))
    return outputs


def _file_output(file: SandboxFile) -> SandboxFileOutput:
    return {
        "path": f"/work/{file.path}",
        "relative_path": file.path,
        "name": file.path.rsplit("/", 1)[-1],
        "content": _content(file),
        "workspace_ref": None,
    }


def _content(file: SandboxFile) -> str:
    """Text as it is, anything else as a data URI."""
    try:
        return file.content.decode()
    except UnicodeDecodeError:
        kind = mimetypes.guess_type(file.path)[0] or "application/octet-stream"
        return f"data:{kind};base64,{base64.b64encode(file.content).decode()}"
