"""Programs of each language, their results and their files."""

import asyncio
import shutil

import pytest
import uvloop
from blockyard.sandbox import BubblewrapSandbox, Language, LanguageUnavailable, Limits, Outcome, Program, ProgramInvalid

from tests.integration.sandbox import attempts

HELLO = {
    Language.PYTHON: "print('hello')",
    Language.JAVASCRIPT: "console.log('hello')",
    Language.BASH: "echo hello",
    Language.R: "cat('hello\\n')",
    Language.JAVA: 'System.out.println("hello");',
}
PROGRAMS = {
    Language.PYTHON: "python3",
    Language.JAVASCRIPT: "node",
    Language.BASH: "bash",
    Language.R: "Rscript",
    Language.JAVA: "java",
}


@pytest.mark.parametrize("language", Language)
async def test_language_runs_where_its_interpreter_is(language: Language) -> None:
    program = Program(HELLO[language], language)
    if shutil.which(PROGRAMS[language]) is None:
        with pytest.raises(LanguageUnavailable, match="is not installed where code runs"):
            await attempts.run(program)
        return

    outcome = await attempts.run(program)

    if outcome is None:
        return
    assert outcome.succeeded, outcome
    assert outcome.stdout == "hello\n"


RESULTS = [
    (Language.PYTHON, "x = 6\nx * 7", "42"),
    (Language.PYTHON, "'text'", "'text'"),
    (Language.PYTHON, "x = 1", None),
    (Language.PYTHON, "None", None),
    (Language.PYTHON, "", None),
    (Language.PYTHON, "import __main__\n__main__.__name__, __name__", "('__main__', '__main__')"),
    (Language.PYTHON, "open('mine.py', 'w').write('x = 3')\nimport mine\nmine.x", "3"),
    (Language.JAVASCRIPT, "const x = 6; x * 7", "42"),
    (Language.JAVASCRIPT, "Promise.resolve([1])", "[ 1 ]"),
    (Language.JAVASCRIPT, "let x = 1", None),
    (Language.JAVASCRIPT, "require('node:path').join('a', 'b')", "'a/b'"),
    (Language.JAVASCRIPT, "import path from 'node:path'; await Promise.resolve(path)", None),
]


@pytest.mark.parametrize(("language", "code", "expected"), RESULTS)
async def test_value_of_the_last_expression_is_the_result(language: Language, code: str, expected: str | None) -> None:
    if shutil.which(PROGRAMS[language]) is None:
        return

    outcome = await attempts.run(Program(code, language))

    if outcome is None:
        return
    assert outcome.succeeded, outcome
    assert outcome.result.get("text") == expected


async def test_value_shows_itself_in_the_forms_that_it_has() -> None:
    code = """
class Chart:
    def __repr__(self): return "chart"
    def _repr_png_(self): return b"\\x89PNG"
    def _repr_html_(self): return "<b>chart</b>", {"isolated": True}
    def _repr_json_(self): return {"points": [1, float("nan")]}
    def _repr_svg_(self): return None
Chart()
"""

    outcome = await attempts.run_python(code)

    if outcome is None:
        return
    forms = {"text": "chart", "png": "iVBORw==", "html": "<b>chart</b>", "json": {"points": [1, None]}}
    assert outcome.result == forms


FAILURES = [
    (Language.PYTHON, "def f():\n    raise ValueError('no')\nf()", 1, 'File "main.py", line 2, in f\n    raise'),
    (Language.PYTHON, "if", 1, "SyntaxError"),
    (Language.PYTHON, "import sys\nsys.exit(3)", 3, ""),
    (Language.PYTHON, "import os\nos.kill(os.getpid(), 9)", -9, ""),
    (Language.JAVASCRIPT, "throw new Error('no')", 1, "Error: no\n    at main.js:1"),
    (Language.JAVASCRIPT, "if", 1, "SyntaxError"),
    (Language.JAVASCRIPT, "Promise.reject(new TypeError('no'))", 1, "TypeError: no"),
    (Language.BASH, "no-such-program", 127, "not found"),
    (Language.JAVA, 'int x = "no";', 1, "incompatible types"),
]


@pytest.mark.parametrize(("language", "code", "exit_code", "said"), FAILURES)
async def test_program_that_fails_says_so(language: Language, code: str, exit_code: int, said: str) -> None:
    if shutil.which(PROGRAMS[language]) is None:
        return

    outcome = await attempts.run(Program(code, language))

    if outcome is None:
        return
    assert (outcome.step, outcome.exit_code) == ("code", exit_code)
    assert said in outcome.stderr
    assert not outcome.succeeded
    assert "/blockyard/cell.py" not in outcome.stderr


async def test_output_can_be_opened_by_its_name() -> None:
    outcome = await attempts.run_bash("echo out > /dev/stdout; echo err > /dev/stderr")

    if outcome is None:
        return
    assert (outcome.stdout, outcome.stderr) == ("out\n", "err\n")


async def test_setup_commands_come_first_and_share_the_folder() -> None:
    program = Program("print(open('made').read())", setup_commands=("echo one > made", "echo two >> made; echo said"))

    outcome = await attempts.run(program)

    if outcome is None:
        return
    assert (outcome.stdout, outcome.setup_output) == ("one\ntwo\n\n", "said\n")
    assert [(file.path, file.content) for file in outcome.files] == [("made", b"one\ntwo\n")]


async def test_setup_command_that_fails_is_the_last() -> None:
    program = Program("print('ran')", setup_commands=("true", "echo why; exit 4", "touch later"))

    outcome = await attempts.run(program)

    if outcome is None:
        return
    assert (outcome.step, outcome.exit_code, outcome.setup_output) == ("setup_commands[1]", 4, "why\n")
    assert (outcome.stdout, outcome.files) == ("", ())


VARIABLES = {"name": "Ada", "numbers": [1, 2]}
SHOW_VARIABLES = {
    Language.PYTHON: "print(name, numbers[1])",
    Language.JAVASCRIPT: "console.log(name, numbers[1])",
    Language.BASH: "echo $name ${numbers:4:1}",
}


@pytest.mark.parametrize("language", SHOW_VARIABLES)
async def test_code_knows_its_variables(language: Language) -> None:
    if shutil.which(PROGRAMS[language]) is None:
        return

    outcome = await attempts.run(Program(SHOW_VARIABLES[language], language, variables=VARIABLES))

    if outcome is None:
        return
    assert outcome.stdout == "Ada 2\n"


async def test_files_handed_back_are_bounded() -> None:
    code = """
for number in range(30):
    open(f"small-{number:02}", "w").write(str(number))
open("0-large", "wb").write(bytes(1 << 20))
"""

    outcome = await attempts.run_python(code, Limits(seconds=30, collected_files=20, file_size=(1 << 20) + 5))

    if outcome is None:
        return
    # The large one leaves five bytes: for five of one digit.
    assert [file.path for file in outcome.files] == ["0-large", *(f"small-{number:02}" for number in range(5))]


async def test_runs_beside_each_other_do_not_mix() -> None:
    codes = [f"open('mine', 'w').write('{number}')\nprint({number})" for number in range(4)]

    outcomes = await asyncio.gather(*(attempts.run_python(code) for code in codes))

    ended: list[Outcome] = [outcome for outcome in outcomes if outcome is not None]
    assert [outcome.stdout for outcome in ended] == [f"{number}\n" for number in range(len(ended))]
    assert [outcome.files[0].content for outcome in ended] == [str(number).encode() for number in range(len(ended))]
    assert len({outcome.sandbox_id for outcome in ended}) == len(ended)


INVALID = [
    (Program("x" * (1 << 20) + "y"), "the code has 1048577 bytes; the limit is 1048576"),
    (Program("", setup_commands=("true",) * 101), "101 setup commands; the limit is 100"),
    (Program("", setup_commands=("true", "echo \0")), "setup_commands[1]: holds a NUL character"),
    (Program("", variables={"not a name": 1}), "variables: 'not a name' cannot be the name of a variable"),
    (Program("", variables={"class": 1}), "variables: 'class' cannot be the name of a variable"),
    (Program("", Language.BASH, variables={"x": "\0"}), "variables.x: holds a NUL character"),
]


@pytest.mark.parametrize(("program", "message"), INVALID, ids=[message for _, message in INVALID])
async def test_what_cannot_be_a_program_is_refused(program: Program, message: str) -> None:
    with pytest.raises(ProgramInvalid) as refused:
        await BubblewrapSandbox().run(program, Limits())

    assert str(refused.value) == message


async def test_environment_that_is_too_large_is_said() -> None:
    outcome = await attempts.run(Program("true", Language.BASH, variables={"x": "x" * 200_000}))

    if outcome is None:
        return
    assert (outcome.step, outcome.start_error) == ("code", "Argument list too long")


def test_sandbox_runs_on_the_event_loop_of_the_services() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcomes = [runner.run(attempts.run_python("print('x' * 100_000)\n6 * 7")) for _ in range(2)]

    for outcome in outcomes:
        if outcome is not None:
            assert (outcome.result, len(outcome.stdout)) == ({"text": "42"}, 100_001)
