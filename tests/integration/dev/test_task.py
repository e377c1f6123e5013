"""The wrapper `./task`: what it asks of a machine, that it hands over at once when all is set up, and how it ends."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]
READ_BY_WRAPPER = ("uv.lock", "pyproject.toml", "sdk/pyproject.toml", "tools/bootstrap.py")
NEEDED_PROGRAMS = ("sh", "cat", "cksum", "dirname", "mkdir")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the wrapper reads, in a folder whose name has a space."""
    place = tmp_path / "a clone"
    for name in ("task", "tools/hand_over.py", *READ_BY_WRAPPER):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / name)
    return place


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH on which there is no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDED_PROGRAMS:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(project: Path, path: Path, *arguments: str, home: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [project / "task", *arguments],
        env={"PATH": str(path), "HOME": home},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def finish_setup(project: Path) -> None:
    """Leave what a finished setup leaves, with a task program that says how it was called."""
    write_program(project / ".venv/bin/python", f'exec "{sys.executable}" "$@"')
    write_program(project / ".venv/bin/task", 'echo "$HOME" "$@"')
    content = b"".join((project / name).read_bytes() for name in READ_BY_WRAPPER)
    checksum = subprocess.run(["cksum"], input=content, capture_output=True, check=True).stdout.decode().strip()
    (project / ".venv/.blockyard-stamp").write_text(f"{checksum} {project.resolve()}")


def test_without_a_python_it_says_what_to_install(project: Path, bare_path: Path, tmp_path: Path) -> None:
    done = run(project, bare_path, "test", home=str(tmp_path))

    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr


def test_a_python_that_is_too_old_is_not_used(project: Path, bare_path: Path, tmp_path: Path) -> None:
    write_program(bare_path / "python3", 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac')

    done = run(project, bare_path, "test", home=str(tmp_path))

    assert done.returncode == 1
    assert "python3 is: Python 3.9.2" in done.stderr


def test_when_all_is_set_up_it_hands_over_at_once(project: Path, bare_path: Path, tmp_path: Path) -> None:
    finish_setup(project)

    done = run(project, bare_path, "chaos", "--", "--seed", "7", home=str(tmp_path))

    assert done.stdout.split() == [
        str(tmp_path),
        *f"--exit-code --taskfile {project}/Taskfile.yml chaos -- --seed 7".split(),
    ]
    assert done.stderr == ""


@pytest.mark.parametrize("home", ["", "/no/such/folder"])
def test_without_a_home_it_makes_one_of_its_own(project: Path, bare_path: Path, home: str) -> None:
    finish_setup(project)

    done = run(project, bare_path, home=home)

    assert done.stdout.startswith(f"{project}/.cache/home ")
    assert os.path.isdir(project / ".cache" / "home")


def test_a_changed_lock_file_sets_up_again(project: Path, bare_path: Path, tmp_path: Path) -> None:
    finish_setup(project)
    write_program(bare_path / "python3", 'case "$*" in *bootstrap.py*) echo "set up $3" >&2;; esac')
    with (project / "uv.lock").open("a") as lock:
        lock.write("# changed\n")

    done = run(project, bare_path, home=str(tmp_path))

    assert done.stderr.strip() == f"set up {project}"


def test_an_environment_that_was_moved_is_set_up_again(project: Path, bare_path: Path, tmp_path: Path) -> None:
    finish_setup(project)
    write_program(bare_path / "python3", 'case "$*" in *bootstrap.py*) echo "set up" >&2;; esac')
    moved = project.rename(tmp_path / "elsewhere")

    done = run(moved, bare_path, home=str(tmp_path))

    assert done.stderr.strip() == "set up"


ENDING = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]

WAITING_COMMAND = """
import os, signal, sys

ending = {signal.SIGTERM, signal.SIGHUP, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, ending)
os.write(1, b"the command waits\\n")
number = signal.sigwait(ending)
os.write(1, f"the command got {number.name}\\n".encode())
sys.exit(7)
"""

COUNTING_COMMAND = """
import os, signal

ending = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, ending)
os.write(1, b"the command waits\\n")
interrupts = 0
while signal.sigwait(ending) is signal.SIGINT:
    interrupts += 1
    os.write(1, b"interrupted\\n")
os.write(1, f"interrupts: {interrupts}\\n".encode())
"""

ON_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


@contextmanager
def started(*command: str | Path, home: Path, stdin: int = subprocess.DEVNULL) -> Iterator["subprocess.Popen[str]"]:
    """The command in a session of its own, of which nothing is left afterwards."""
    with subprocess.Popen(
        command,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdin=stdin,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def waiting(
    project: Path, taskfile: str, command: str = WAITING_COMMAND, terminal: bool = False
) -> Iterator["subprocess.Popen[str]"]:
    """`./task wait` of this Taskfile.yml with the real go-task when its command waits.

    It is away from any terminal, or on one that the process is which is given: what it is written is typed there.
    """
    finish_setup(project)
    write_program(project / ".venv/bin/task", f'exec "{Path(sys.executable).with_name("task")}" "$@"')
    (project / "Taskfile.yml").write_text(taskfile)
    (project / "wait.py").write_text(command)
    place = [sys.executable, "-c", ON_A_TERMINAL] if terminal else []
    stdin = subprocess.PIPE if terminal else subprocess.DEVNULL
    with started(*place, project / "task", "wait", home=project, stdin=stdin) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "the command waits\n"
        yield process


def taskfile(*commands: str) -> str:
    lines = "".join(f"      - {command}\n" for command in commands)
    return f"version: '3'\nsilent: true\ntasks:\n  wait:\n    cmds:\n{lines}"


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_a_signal_reaches_the_command_whose_exit_code_is_kept(project: Path, number: signal.Signals) -> None:
    with waiting(project, taskfile("python wait.py", "echo the next command")) as process:
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)

    assert f"the command got {number.name}\n" in output
    assert "the next command" not in output
    assert process.returncode == 7


def test_a_signal_to_the_whole_group_ends_it_as_well(project: Path) -> None:
    with waiting(project, taskfile("python wait.py")) as process:
        os.killpg(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=60)

    assert "the command got SIGTERM\n" in output
    assert process.returncode == 7


BETWEEN_COMMANDS = """
import os, signal, sys

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCONT})
os.write(1, b"the command has ended\\n")
signal.sigwait({signal.SIGCONT})
sys.exit(7)
"""


def test_the_exit_code_of_a_command_that_has_just_ended_is_kept(project: Path) -> None:
    finish_setup(project)
    (project / "between.py").write_text(BETWEEN_COMMANDS)
    write_program(project / ".venv/bin/task", f'exec "{sys.executable}" "{project}/between.py"')
    with started(project / "task", "wait", home=project) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "the command has ended\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 7


def test_ctrl_c_of_a_terminal_reaches_the_command_once(project: Path) -> None:
    with waiting(project, taskfile("python wait.py"), COUNTING_COMMAND, terminal=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        (wrapper,) = psutil.Process(process.pid).children()
        process.stdin.write("\x03")
        process.stdin.flush()
        lines = iter(process.stdout.readline, "")
        assert any("interrupted" in line for line in lines)

        wrapper.terminate()  # after the interrupt also where it gets both at once: the lower number comes first

        assert "interrupts: 1\n" in "".join(lines)
        assert process.wait(timeout=60) == 0


def test_a_signal_that_is_ignored_stays_ignored(project: Path) -> None:
    nohup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with waiting(project, taskfile("python wait.py")) as process:
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
    finally:
        signal.signal(signal.SIGHUP, nohup)

    assert "SIGHUP" not in output
    assert "the command got SIGTERM\n" in output


def test_a_signal_before_any_command_runs_ends_it(project: Path) -> None:
    finish_setup(project)
    write_program(
        project / ".venv/bin/task",
        f"""exec "{sys.executable}" -c '
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("go-task reads its file", flush=True)
signal.pause()'""",
    )
    with started(project / "task", home=project) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "go-task reads its file\n"
        process.terminate()
        assert process.wait(timeout=60) == 128 + signal.SIGKILL
