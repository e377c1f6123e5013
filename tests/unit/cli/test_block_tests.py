"""`blockyard blocks test` and `blockyard blocks new`, as a person types them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from blockyard.cli.application import application
from blockyard.cli.new_package import names_for
from blockyard.errors import BlockyardError
from click.testing import CliRunner, Result

GOOD = """
from blockyard.block import *


class {name}(Block):
    class Input(BlockSchema):
        text: str = SchemaField(description="A text.")

    class Output(BlockSchema):
        out: str = SchemaField(description="The text.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="{id}",
            description="Gives its text.",
            categories={{BlockCategory.TEXT}},
            input_schema=self.Input,
            output_schema=self.Output,
            effect=Effect.PURE,
            test_input=[{{"text": "a"}}, {{"text": "b"}}],
            test_output=[("out", "a"), ("out", "{second}")],
        )

    async def run(self, input_data: Input) -> BlockOutput:
        yield "out", input_data.text
"""


def blockyard(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(application, list(arguments))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, with a package of blocks in it: one good, one bad, one that the loader refuses."""
    package = tmp_path / "made_for_tests"
    package.mkdir()
    ids = [f"5b0a4f0e-8f0c-4a79-9d0e-0a5a4e1b2c2{number}" for number in range(3)]
    (package / "__init__.py").write_text("")
    (package / "good.py").write_text(GOOD.format(name="GoodTestBlock", id=ids[0], second="b"))
    (package / "bad.py").write_text(GOOD.format(name="BadTestBlock", id=ids[1], second="c"))
    (package / "refused.py").write_text(GOOD.format(name="RefusedTestBlock", id="no-uuid", second="b"))
    (tmp_path / "good_for_tests.py").write_text(GOOD.format(name="OtherTestBlock", id=ids[2], second="b"))
    monkeypatch.chdir(tmp_path)
    # The command finds packages in the working folder; what it adds to the path and loads is taken back.
    path, before = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("made_for_tests", "good_for_tests", "my_blocks"):
            del sys.modules[name]


def test_all_that_is_in_the_package_is_shown_and_a_failure_is_exit_code_1(folder: Path) -> None:
    done = blockyard("blocks", "test", "--packages", "made_for_tests")

    assert done.exit_code == 1
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    assert rows["BLOCK"] == ["BLOCK", "RESULT", "SCHEMA", "FUNCTION", "ERROR", "SPEED", "SAFETY"]
    assert rows["GoodTestBlock"][1:5] == ["ok", "ok", "ok", "ok"]
    assert rows["GoodTestBlock"][6] == "ms"
    assert rows["BadTestBlock"][1:4] == ["FAILED", "ok", "FAILED"]
    assert rows["RefusedTestBlock"] == ["RefusedTestBlock", "FAILED"]
    assert "BadTestBlock: function: output 1: out: expected 'c', got 'b'" in done.stdout
    assert "made_for_tests.refused: RefusedTestBlock: its id must be a UUID in lower case" in done.stdout
    assert done.stderr == "Error: 2 of 3 blocks failed\n"


def test_blocks_that_pass_end_with_a_line_that_counts(folder: Path) -> None:
    done = blockyard("blocks", "test", "--packages", "good_for_tests")

    assert done.exit_code == 0, done.output
    assert "1 block, 5 checks: all passed in " in done.stdout


def test_names_and_ids_choose(folder: Path) -> None:
    by_name = blockyard("blocks", "test", "GoodTestBlock", "--packages", "made_for_tests")
    by_id = blockyard("blocks", "test", "5b0a4f0e-8f0c-4a79-9d0e-0a5a4e1b2c20", "--packages", "made_for_tests")
    refused = blockyard("blocks", "test", "RefusedTestBlock", "--packages", "made_for_tests")

    assert (by_name.exit_code, by_id.exit_code, refused.exit_code) == (0, 0, 1)
    assert "BadTestBlock" not in by_name.stdout
    assert "RefusedTestBlock: its id must be a UUID" in refused.stdout


def test_built_in_blocks_are_there_without_packages() -> None:
    done = blockyard("blocks", "test", "TextProcessingBlock", "DelayBlock")

    assert done.exit_code == 0, done.output
    speeds = {line.split()[0]: line.split()[5] for line in done.stdout.splitlines() if "Block" in line}
    assert speeds["DelayBlock"] == "-"
    assert float(speeds["TextProcessingBlock"]) > 0


def test_the_bound_is_an_option() -> None:
    done = blockyard("blocks", "test", "TextProcessingBlock", "--bound", "0.000001")

    assert done.exit_code == 1
    assert "more than the bound of 1e-06 ms" in done.stdout


def test_an_unknown_name_is_said_with_the_nearest(folder: Path) -> None:
    done = blockyard("blocks", "test", "GoodTestBlok", "--packages", "made_for_tests")

    assert (done.exit_code, done.stderr) == (1, "Error: there is no block GoodTestBlok; do you mean GoodTestBlock?\n")


def test_a_package_that_is_not_there_or_has_no_blocks_is_said(folder: Path) -> None:
    (folder / "empty_for_tests.py").write_text("")
    missing = blockyard("blocks", "test", "--packages", "nothing_of_that_name")
    empty = blockyard("blocks", "test", "--packages", "empty_for_tests")

    assert missing.exit_code == 1
    assert "cannot be imported: ModuleNotFoundError" in missing.stdout
    assert (empty.exit_code, empty.stderr) == (1, "Error: there are no blocks in empty_for_tests\n")


def test_junit_is_written(folder: Path) -> None:
    done = blockyard("blocks", "test", "--packages", "made_for_tests", "--junit", "build/blocks.xml")

    assert done.exit_code == 1
    cases = list(ElementTree.parse(folder / "build" / "blocks.xml").iter("testcase"))
    failed = {(case.get("classname"), case.get("name")) for case in cases if case.find("failure") is not None}
    assert len(cases) == 11
    assert ("BadTestBlock", "function") in failed
    assert ("RefusedTestBlock", "load") in failed
    assert not [name for name, _ in failed if name == "GoodTestBlock"]


def test_json_has_all_results(folder: Path) -> None:
    done = blockyard("blocks", "test", "--packages", "made_for_tests", "--json")

    document = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [(one["block"], one["check"]) for one in document["results"]][:2] == [
        ("BadTestBlock", "schema"),
        ("BadTestBlock", "function"),
    ]
    assert [one["block"] for one in document["refused"]] == ["RefusedTestBlock"]


def test_a_narrow_terminal_shows_each_block_and_its_result(folder: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from blockyard.cli.output import Output; from rich.console import Console\n"
            "import blockyard.cli.application as program\n"
            "class Narrow(Output):\n"
            "    def __init__(self, *given):\n"
            "        super().__init__(*given)\n"
            "        self.console = Console(width=40, force_terminal=True, color_system=None)\n"
            "program.Output = Narrow\n"
            "program.main()",
            *("blocks", "test", "--packages", "made_for_tests"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    table = done.stdout.partition("\n\n")[0].splitlines()
    assert done.returncode == 1
    assert all(len(line.rstrip()) <= 40 for line in table)
    assert ["GoodTestBlock", "ok"] in [line.split()[:2] for line in table]
    assert ["BadTestBlock", "FAILED"] in [line.split()[:2] for line in table]


def test_a_new_package_passes_its_tests_as_it_stands(folder: Path) -> None:
    done = blockyard("blocks", "new", "my-blocks")
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder / "my-blocks",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.exit_code == 0, done.output
    assert "cd my-blocks && blockyard blocks test --packages my_blocks" in done.stdout
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout


def test_a_new_package_passes_the_command_that_it_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blockyard("blocks", "new", "my-blocks", "--folder", "elsewhere/mine")
    monkeypatch.chdir(folder / "elsewhere" / "mine")

    done = blockyard("blocks", "test", "--packages", "my_blocks")

    assert done.exit_code == 0, done.output
    assert "MyGreetingBlock" in done.stdout


def test_every_new_block_has_an_id_of_its_own(folder: Path) -> None:
    sources = []
    for name in ("one", "two"):
        blockyard("blocks", "new", "my-blocks", "--folder", name)
        sources.append((folder / name / "my_blocks" / "greetings.py").read_text())

    assert sources[0] != sources[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MyBlocks", "'MyBlocks' is no name for a package: lower-case letters and digits, in words joined by -"),
        ("my blocks", "is no name for a package: lower-case"),
        ("../mine", "is no name for a package: lower-case"),
        ("7up", "is no name for a package: lower-case"),
        ("my--blocks", "is no name for a package: lower-case"),
        ("", "is no name for a package: lower-case"),
        ("class", "is no name for a package: Python itself uses 'class'"),
        ("json", "is no name for a package: Python itself uses 'json'"),
        ("blockyard", "is no name for a package: a module 'blockyard' is installed here already"),
    ],
)
def test_a_name_that_cannot_be_is_refused(folder: Path, name: str, said: str) -> None:
    done = blockyard("blocks", "new", name)

    assert done.exit_code == 1
    assert said in done.stderr
    assert not (folder / name).exists() or name == ""


@pytest.mark.parametrize(
    ("name", "module", "block"),
    [
        ("my-blocks", "my_blocks", "MyGreetingBlock"),
        ("my_blocks", "my_blocks", "MyGreetingBlock"),
        ("weather", "weather", "WeatherGreetingBlock"),
        ("blocks4us", "blocks4us", "Blocks4usGreetingBlock"),
    ],
)
def test_names_follow_from_the_one_given(name: str, module: str, block: str) -> None:
    names = names_for(name)

    assert (names.project, names.module, names.block) == (module.replace("_", "-"), module, block)


def test_a_folder_that_is_not_empty_is_left_alone(folder: Path) -> None:
    (folder / "my-blocks").mkdir()
    (folder / "my-blocks" / "mine.txt").write_text("mine")
    (folder / "file").write_text("mine")

    done = blockyard("blocks", "new", "my-blocks")
    over_a_file = blockyard("blocks", "new", "my-blocks", "--folder", "file")

    assert (done.exit_code, done.stderr) == (1, "Error: my-blocks: is not empty; name another folder with --folder\n")
    assert [path.name for path in (folder / "my-blocks").iterdir()] == ["mine.txt"]
    assert over_a_file.exit_code == 1
    assert (folder / "file").read_text() == "mine"


def test_an_empty_folder_is_taken(folder: Path) -> None:
    (folder / "my-blocks").mkdir()

    assert blockyard("blocks", "new", "my-blocks").exit_code == 0


def test_what_cannot_be_a_name_says_so_to_programs_too() -> None:
    with pytest.raises(BlockyardError, match="no name for a package"):
        names_for("A")
