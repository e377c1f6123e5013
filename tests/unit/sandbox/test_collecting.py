"""What is read of a folder that somebody else has filled."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockyard.sandbox.collecting import collect, open_folder, read_result

SECRET = b"secret"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_bytes(SECRET)
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.fixture
def held(folder: Path) -> Iterator[int]:
    descriptor = open_folder(str(folder))
    yield descriptor
    os.close(descriptor)


def contents(held: int, most_files: int = 100, most_bytes: int = 1000, skipped: str = "") -> dict[str, bytes]:
    return {file.path: file.content for file in collect(held, skipped, most_files, most_bytes)}


def test_no_link_is_followed(folder: Path, held: int) -> None:
    (folder / "file").symlink_to("../secret/file")
    (folder / "absolute").symlink_to(folder.parent / "secret/file")
    (folder / "inner").symlink_to(folder.parent / "secret")
    (folder / "plain").write_bytes(b"plain")
    # The links do lead there.
    assert (folder / "file").read_bytes() == (folder / "inner/file").read_bytes() == SECRET

    assert contents(held) == {"plain": b"plain"}


def test_result_that_is_a_link_is_not_followed(folder: Path, held: int) -> None:
    (folder.parent / "secret/file").write_text('{"text": "secret"}')
    (folder / "result.json").symlink_to("../secret/file")

    assert read_result(held, 1000) == {}


def test_result_that_is_a_pipe_is_not_waited_for(folder: Path, held: int) -> None:
    os.mkfifo(folder / "result.json")

    assert read_result(held, 1000) == {}


def test_result_that_is_cut_off_is_none(folder: Path, held: int) -> None:
    (folder / "result.json").write_text('{"text": "long"}')

    assert read_result(held, 1000) == {"text": "long"}
    assert read_result(held, 5) == {}


def test_half_characters_are_replaced(folder: Path, held: int) -> None:
    (folder / "result.json").write_text('{"text": "a\\ud800b", "json": [NaN]}')

    assert read_result(held, 1000) == {"text": "a?b", "json": [None]}


def test_pipes_and_sockets_are_left_out(folder: Path, held: int) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "plain").write_bytes(b"plain")

    assert contents(held) == {"plain": b"plain"}


def test_folder_that_was_moved_away_is_read_all_the_same(folder: Path, held: int) -> None:
    (folder / "plain").write_bytes(b"mine")
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to("secret")

    assert contents(held) == {"plain": b"mine"}


def test_bounds_hold(folder: Path, held: int) -> None:
    for number in range(5):
        (folder / f"{number}").write_bytes(b"x" * number)

    assert list(contents(held, most_files=2)) == ["0", "1"]
    assert list(contents(held, most_bytes=3)) == ["0", "1", "2"]
    assert list(contents(held, skipped="1", most_bytes=5)) == ["0", "2", "3"]


def test_folders_below_a_depth_are_left_out(folder: Path, held: int) -> None:
    deep = folder
    for number in range(40):
        (deep / f"{number}").write_bytes(b"x")
        deep = deep / "d"
        deep.mkdir()

    assert len(contents(held)) == 17
