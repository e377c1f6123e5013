"""The wrapper `./task`: what it asks of a machine, and that it hands over at once when all is set up."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
READ_BY_WRAPPER = ("uv.lock", "pyproject.toml", "sdk/pyproject.toml", "tools/bootstrap.py")
NEEDED_PROGRAMS = ("sh", "cat", "cksum", "dirname", "mkdir")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the wrapper reads, in a folder whose name has a space."""
    place = tmp_path / "a clone"
    for name in ("task", *READ_BY_WRAPPER):
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
    write_program(project / ".venv/bin/python", "exit 0")
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
