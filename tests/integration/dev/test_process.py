"""One child process of the laptop stack: how it ends, what it leaves, and who goes with it."""

import signal
import sys
from pathlib import Path

import pytest
from blockyard.dev.process import ChildProcess

from tests.integration.dev.processes import runs, written_number
from tests.waiting import until

STUBBORN = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
Path(sys.argv[1]).write_text("1\\n")
signal.pause()
"""

WITH_CHILD = """
import os, signal, subprocess, sys
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
Path(sys.argv[1]).write_text(f"{child.pid}\\n")
signal.pause()
"""


def program(source: str, folder: Path) -> ChildProcess:
    command = [sys.executable, "-c", source, str(folder / "number")]
    return ChildProcess("program", command, folder / "logs" / "program.log")


async def test_stop_lets_a_process_end_itself(tmp_path: Path) -> None:
    process = program(
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5));"
        "open(sys.argv[1], 'w').write('1\\n'); signal.pause()",
        tmp_path,
    )
    process.start()
    await until(lambda: written_number(tmp_path / "number") == 1, "it listens to signals")

    await process.stop()

    assert process.exit_code == 5


async def test_stop_kills_what_does_not_listen(tmp_path: Path) -> None:
    process = program(STUBBORN, tmp_path)
    process.start()
    await until(lambda: written_number(tmp_path / "number") == 1, "it ignores signals")

    await process.stop(grace_seconds=0.1)

    assert process.exit_code == -signal.SIGKILL


async def test_stop_ends_a_frozen_process(tmp_path: Path) -> None:
    process = program("import signal; signal.pause()", tmp_path)
    process.start()
    process.freeze()

    await process.stop()

    assert process.exit_code == -signal.SIGTERM


async def test_kill_takes_the_children_too(tmp_path: Path) -> None:
    process = program(WITH_CHILD, tmp_path)
    process.start()
    await until(lambda: written_number(tmp_path / "number") is not None, "it has a child")
    child = written_number(tmp_path / "number")
    assert child is not None

    await process.kill()

    assert not process.alive()
    assert not runs(child)


async def test_a_process_can_be_started_again_after_any_end(tmp_path: Path) -> None:
    process = program("import signal; signal.pause()", tmp_path)
    process.start()
    first = process.pid
    await process.kill()

    process.start()

    assert process.alive()
    assert process.pid != first
    await process.stop()


async def test_the_last_lines_are_those_of_the_last_run(tmp_path: Path) -> None:
    process = program("import os; print('run', os.getpid())", tmp_path)
    process.start()
    await process.ended(30)
    process.start()
    await process.ended(30)

    assert process.last_lines() == f"run {process.pid}"


async def test_a_program_that_is_not_there_says_so_in_its_log(tmp_path: Path) -> None:
    process = ChildProcess("missing", ["/no/such/program"], tmp_path / "missing.log")
    process.start()
    await process.ended(30)

    assert process.exit_code != 0
    assert "No such file" in process.last_lines()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent was killed")
async def test_a_process_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = program(
        "import sys, time, asyncio\n"
        "from pathlib import Path\n"
        "from blockyard.dev.process import ChildProcess\n"
        f"child = ChildProcess('child', [sys.executable, '-c', {STUBBORN!r}, sys.argv[1] + '.ready'],"
        " Path(sys.argv[1] + '.log'))\n"
        "child.start()\n"
        "Path(sys.argv[1]).write_text(f'{child.pid}\\n')\n"
        "child._popen.wait()\n",
        tmp_path,
    )
    parent.start()
    await until(lambda: written_number(tmp_path / "number.ready") == 1, "the child runs")
    child = written_number(tmp_path / "number")
    assert child is not None

    parent.send(signal.SIGKILL)

    await until(lambda: not runs(child), "the child has ended")
    assert await parent.ended(30)
