"""What is seen of code that is watched, and what is its own affair."""

import os
import socket
import tempfile
import threading
import zoneinfo
from pathlib import Path

import pytest
from blockyard.block.checks.watching import watched


def test_temporary_files_that_are_taken_away_are_free() -> None:
    with watched(__name__) as watch:
        with tempfile.TemporaryDirectory() as folder:
            inner = Path(folder) / "inner"
            inner.mkdir()
            (inner / "one.txt").write_text("one")
            (inner / "one.txt").rename(inner / "two.txt")
        with tempfile.TemporaryFile() as file:
            file.write(b"text")

    assert watch.seen == []


def test_what_stays_in_the_temporary_folder_is_told() -> None:
    with watched(__name__) as watch:
        Path(tempfile.gettempdir(), "left.txt").write_text("left")

    assert watch.seen == ["leaves files in the temporary folder (left.txt)"]


def test_the_folder_for_temporary_files_is_set_back() -> None:
    before = tempfile.gettempdir()

    with watched(__name__):
        inside = tempfile.gettempdir()

    assert inside != before
    assert tempfile.gettempdir() == before
    assert not Path(inside).exists()


def test_changes_elsewhere_are_told_each_once(tmp_path: Path) -> None:
    names = ("new", "old", "folder", "link", "opened")
    (tmp_path / "old").write_text("old")
    with watched(__name__) as watch:
        (tmp_path / "new").write_text("new")
        (tmp_path / "new").write_text("again")
        (tmp_path / "old").unlink()
        (tmp_path / "folder").mkdir()
        (tmp_path / "link").symlink_to("nowhere")
        os.close(os.open(tmp_path / "opened", os.O_CREAT | os.O_WRONLY))

    changed = [f"changes a file outside of a temporary folder ({tmp_path / name})" for name in names]
    assert watch.seen == changed


def test_files_of_the_machine_are_told_and_those_of_python_and_beside_the_module_are_free(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("data")
    with watched(__name__) as watch:
        Path(__file__).read_text()
        (Path(__file__).parent / "sample_blocks.py").read_text()
        Path(os.__file__).read_text()
        zoneinfo.ZoneInfo.no_cache("Europe/Berlin")
        with pytest.raises(FileNotFoundError):
            (tmp_path / "nothing.txt").read_text()
        Path(os.devnull).read_text()
        assert watch.seen == []
        (tmp_path / "data.txt").read_text()
        os.listdir(tmp_path)

    assert watch.seen == [
        f"reads a file of the machine ({tmp_path / 'data.txt'})",
        f"reads a file of the machine ({tmp_path})",
    ]


def test_threads_that_begin_inside_are_watched_and_others_are_not(tmp_path: Path) -> None:
    begin, done = threading.Event(), threading.Event()

    def before() -> None:
        begin.wait(10)
        (tmp_path / "by_another").write_text("")
        done.set()

    other = threading.Thread(target=before)
    other.start()
    with watched(__name__) as watch:
        begin.set()
        done.wait(10)
        inside = threading.Thread(target=(tmp_path / "by_its_own").write_text, args=("",))
        inside.start()
        inside.join()
    other.join()

    assert watch.seen == [f"changes a file outside of a temporary folder ({tmp_path / 'by_its_own'})"]


def test_connections_and_look_ups_are_told_and_sockets_alone_are_not() -> None:
    with watched(__name__) as watch, socket.socket() as one:
        assert watch.seen == []
        with pytest.raises(OSError, match="refused"):
            one.connect(("127.0.0.1", 9))
        socket.getaddrinfo("127.0.0.1", 80)

    assert watch.seen == [
        "reaches the network (socket.connect ('127.0.0.1', 9))",
        "reaches the network (socket.getaddrinfo 127.0.0.1)",
    ]


def test_nothing_is_seen_once_it_is_over(tmp_path: Path) -> None:
    with watched(__name__) as watch:
        pass
    (tmp_path / "later").write_text("")

    assert watch.seen == []


def test_one_at_a_time() -> None:
    with watched(__name__), pytest.raises(RuntimeError, match="is watched already"), watched(__name__):
        pass
