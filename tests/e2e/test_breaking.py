"""`./task proto-breaking` finds a change that breaks the contract in whatever kind of clone it runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICE = Path("proto/blockyard/execution/v1/execution_service.proto")


class Clone:
    """A repository with the contract and the tool."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@localhost", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=self.place, check=True, capture_output=True)

    def clone(self, place: Path, *options: str) -> "Clone":
        self.git("clone", *options, self.place.as_uri(), str(place))
        return Clone(place)

    def edit(self, old: str, new: str) -> None:
        text = (self.place / SERVICE).read_text()
        assert old in text
        (self.place / SERVICE).write_text(text.replace(old, new))

    def break_it(self) -> None:
        self.edit("string graph_id = 1;", "string graf_id = 1;")

    def commit(self) -> None:
        self.git("commit", "--all", "--message", "changed")

    def compare(self) -> "subprocess.CompletedProcess[str]":
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        steps = [[sys.executable, "-m", "tools.stubs", "dependencies"], [sys.executable, "-m", "tools.breaking"]]
        results = [
            subprocess.run(step, cwd=self.place, env={**os.environ, "PATH": path}, capture_output=True, text=True)
            for step in steps
        ]
        assert results[0].returncode == 0, results[0].stderr
        return results[1]


@pytest.fixture
def origin(tmp_path: Path) -> Clone:
    """The repository that others are cloned from: two contracts on branch main, the later one adds a comment."""
    place = tmp_path / "origin"
    place.mkdir()
    for name in ("proto", "tools"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("buf.yaml", ".gitignore"):
        shutil.copy(ROOT / name, place / name)
    origin = Clone(place)
    origin.git("init", "--initial-branch=main")
    origin.git("add", ".")
    origin.git("commit", "--message", "the contract")
    origin.edit("// What to start.", "// What to start, and with what.")
    origin.commit()
    return origin


def on_main(origin: Clone, place: Path) -> Clone:
    return origin.clone(place)


def detached_without_a_branch(origin: Clone, place: Path) -> Clone:
    clone = origin.clone(place)
    clone.git("checkout", "--detach")
    clone.git("branch", "--delete", "--force", "main")
    return clone


def without_an_origin(origin: Clone, place: Path) -> Clone:
    clone = origin.clone(place)
    clone.git("checkout", "-b", "work")
    clone.git("remote", "remove", "origin")
    return clone


def without_any_main(origin: Clone, place: Path) -> Clone:
    clone = detached_without_a_branch(origin, place)
    clone.git("remote", "remove", "origin")
    return clone


def shallow(origin: Clone, place: Path) -> Clone:
    return origin.clone(place, "--depth", "1")


CLONES = [on_main, detached_without_a_branch, without_an_origin, without_any_main, shallow]


@pytest.mark.parametrize("clone_of", CLONES)
def test_a_change_that_breaks_is_found(origin: Clone, tmp_path: Path, clone_of: Callable[[Clone, Path], Clone]) -> None:
    clone = clone_of(origin, tmp_path / "clone")
    unchanged = clone.compare()
    assert unchanged.returncode == 0, unchanged.stdout + unchanged.stderr

    clone.break_it()

    broken = clone.compare()
    assert broken.returncode != 0
    assert 'changed name from "graph_id" to "graf_id"' in broken.stdout + broken.stderr


@pytest.mark.parametrize("clone_of", CLONES[:-1])
def test_a_breaking_change_that_is_on_main_already_is_found(
    origin: Clone, tmp_path: Path, clone_of: Callable[[Clone, Path], Clone]
) -> None:
    origin.break_it()
    origin.commit()

    done = clone_of(origin, tmp_path / "clone").compare()

    assert done.returncode != 0
    assert 'changed name from "graph_id" to "graf_id"' in done.stdout + done.stderr


def test_where_there_is_nothing_to_compare_with_it_says_so(origin: Clone, tmp_path: Path) -> None:
    done = origin.clone(tmp_path / "clone", "--depth", "1").compare()
    assert (done.returncode, done.stdout) == (0, "the contract was not compared: git knows no earlier one here\n")


def test_a_folder_without_git_says_so(origin: Clone) -> None:
    shutil.rmtree(origin.place / ".git")
    done = origin.compare()
    assert (done.returncode, done.stdout) == (0, "the contract was not compared: git knows no earlier one here\n")
