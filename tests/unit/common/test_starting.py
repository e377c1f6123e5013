"""The start of a service's process: what it does without, and that nobody else has to."""

import gc
import json
import subprocess
import sys

import pytest

from services import starting

PROGRAM = """
import sys
sys.argv = ["-m"]  # as it is while the interpreter looks for the program behind it
import importlib
import services
importlib.import_module(sys.orig_argv[-1])
import gc, json
collects = gc.isenabled()
unused = [name for name in ("aiohttp", "httpx2", "rich") if sys.modules.get(name)]
services.starting.end()
import aiohttp, rich
print(json.dumps([unused, collects, gc.isenabled(), gc.get_freeze_count() > 10_000]))
"""


@pytest.mark.parametrize("service", ["account", "execution"])
def test_a_service_imports_nothing_that_it_does_not_use_and_blocks_may_import_it_afterwards(service: str) -> None:
    command = [sys.executable, "-c", PROGRAM, f"services.{service}.__main__"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], False, True, True]


def test_whoever_imports_the_services_without_running_one_keeps_its_collections() -> None:
    assert gc.isenabled()


def test_a_package_that_is_there_already_stays() -> None:
    with starting.without("json"):
        assert sys.modules["json"] is json

    assert sys.modules["json"] is json


def test_a_package_is_not_there_for_what_is_imported_without_it() -> None:
    assert "this" not in sys.modules

    with starting.without("this"), pytest.raises(ImportError):
        import this  # noqa: F401  # it has to fail

    assert "this" not in sys.modules
