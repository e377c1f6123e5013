"""What each command does before its own work: a person waits for it."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from blockyard.cli.application import application
from click.testing import CliRunner

PROGRAM = """
import sys
from blockyard.cli import main
print([name for name in ("aiohttp", "importlib.metadata", "pydantic") if name in sys.modules])
"""


def test_commands_import_nothing_large_that_few_of_them_use() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


@pytest.mark.parametrize("how", ["--version", "version"])
def test_the_version_is_said(how: str) -> None:
    done = CliRunner().invoke(application, [how])

    assert done.exit_code == 0
    assert done.output.startswith(f"blockyard {version('blockyard')}, Python 3.")
