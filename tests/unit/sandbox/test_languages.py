"""How programs are started."""

import os
import tempfile
from pathlib import Path

import pytest
from blockyard.sandbox import LanguageUnavailable
from blockyard.sandbox.bubblewrap import open_to_all
from blockyard.sandbox.languages import Interpreter, _find, _java_source, find_python, start_of
from blockyard.sandbox.program import Language, Limits


def test_java_statements_get_a_class_around_them() -> None:
    code = 'import java.util.List;\nint x = List.of(1).size();\nSystem.out.println(x + "import y;");'

    source = _java_source(code)

    assert source.index("import java.util.List;") < source.index("public class Main {") < source.index("int x")
    assert source.count("import java.util.List;") == 1


@pytest.mark.parametrize("main", ["public static void main(String[] a) {}", "static  void\tmain (String... a) {}"])
def test_java_class_stays_as_it_is(main: str) -> None:
    code = f"class Mine {{ {main} }}"

    assert _java_source(code) == code


def test_python_that_the_sandbox_cannot_open_is_not_used() -> None:
    own = find_python(lambda path: True)

    assert os.path.realpath(own.path) == own.path or own.path.startswith("/usr/")
    system = find_python(lambda path: path.startswith("/usr/"))
    assert system.path.startswith("/usr/")
    assert system.mounts == ()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program outside of the system's folders, called by a link in the PATH, as version managers install them."""
    program = tmp_path / "versions/1.0/bin/some-program"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh")
    program.chmod(0o755)
    (tmp_path / "shims").mkdir()
    (tmp_path / "shims/some-program").symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    return program


def test_of_a_program_elsewhere_nothing_else_is_shown(installed: Path) -> None:
    found = _find("some-program", "Some", lambda path: True)

    assert found == Interpreter(str(installed), (str(installed),))


def test_of_a_java_kit_elsewhere_all_is_shown(installed: Path) -> None:
    kit = installed.parent.parent
    (kit / "lib").mkdir()
    (kit / "lib/modules").write_text("")

    assert _find("some-program", "Some", lambda path: True) == Interpreter(str(installed), (str(kit),))


def test_program_that_is_not_there_is_said() -> None:
    with pytest.raises(LanguageUnavailable) as refused:
        _find("no-such-program", "Some", lambda path: True)

    assert str(refused.value) == "Some is not installed where code runs: there is no program called no-such-program"


def test_interpreter_that_the_sandbox_cannot_open_is_said() -> None:
    with pytest.raises(LanguageUnavailable, match=r"the user of the sandbox cannot open /.*bash; install it in /usr"):
        start_of(Language.BASH, "true", Limits(), lambda path: False)


def test_file_isopen_to_all_only_if_its_folders_are() -> None:
    assert open_to_all("/usr/bin/env")
    assert not open_to_all("/no/such/file")
    # Not below pytest's folder, which is closed itself.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        file = Path(folder, "file")
        file.write_text("x")
        file.chmod(0o644)
        assert not open_to_all(str(file))

        Path(folder).chmod(0o711)
        assert open_to_all(str(file))

        file.chmod(0o600)
        assert not open_to_all(str(file))
