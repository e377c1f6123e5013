"""Setting up a clone: what tools/bootstrap.py asks of uv."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOOTSTRAP = ROOT / "tools" / "bootstrap.py"


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder in which uv seems to be installed: a program that says how it was told to check certificates."""
    place = tmp_path / "clone"
    (place / ".venv").mkdir(parents=True)
    tools = place / ".cache" / "bootstrap"
    write_program(tools / "bin" / "python", "exit 0")
    write_program(tools / "bin" / "uv", 'echo "system certificates: ${UV_SYSTEM_CERTS:-no}"')
    uv = next(line for line in BOOTSTRAP.read_text().splitlines() if line.startswith("UV = ")).split('"')[1]
    (tools / f".{uv}").touch()
    return place


def set_up(clone: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-I", str(BOOTSTRAP), str(clone), "stamp"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_authorities_of_the_machine_are_trusted(clone: Path, tmp_path: Path) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.write_text("")

    done = set_up(clone, SSL_CERT_FILE=str(authorities))

    assert done.returncode == 0, done.stderr
    assert "system certificates: true" in done.stdout


def test_a_machine_without_authorities_leaves_uv_its_own(clone: Path, tmp_path: Path) -> None:
    done = set_up(clone, SSL_CERT_FILE=str(tmp_path / "none.pem"), SSL_CERT_DIR=str(tmp_path / "none"))

    assert done.returncode == 0, done.stderr
    assert "system certificates: no" in done.stdout


def test_what_the_user_has_chosen_stays(clone: Path, tmp_path: Path) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.write_text("")

    done = set_up(clone, SSL_CERT_FILE=str(authorities), UV_SYSTEM_CERTS="false")

    assert "system certificates: false" in done.stdout


def test_an_interrupted_setup_says_so_and_goes_on_later(clone: Path) -> None:
    uv = clone / ".cache" / "bootstrap" / "bin" / "uv"
    whole = uv.read_text()
    # It goes on until its parent is gone: the signal may come before the parent has got hold of it to kill it.
    write_program(uv, "kill -INT $PPID; exec >/dev/null 2>&1; while kill -0 $PPID; do sleep 0.05; done")

    interrupted = set_up(clone)

    assert (interrupted.returncode, interrupted.stdout.count("\n")) == (130, 1)
    assert interrupted.stderr == "task: setting up was interrupted; the same command goes on with it\n"
    uv.write_text(whole)
    assert set_up(clone).returncode == 0


def test_nothing_is_left_among_the_temporary_files(clone: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    write_program(clone / ".cache" / "bootstrap" / "bin" / "uv", 'touch "$TMPDIR/uv.lock"')

    done = set_up(clone, TMPDIR=str(temporary))

    assert done.returncode == 0, done.stderr
    assert os.listdir(temporary) == []


def test_a_second_run_finds_it_done(clone: Path) -> None:
    set_up(clone)
    write_program(clone / ".venv" / "bin" / "python", "exit 0")
    shutil.rmtree(clone / ".cache" / "bootstrap")

    done = set_up(clone)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
