"""Reads what a program left in its folders. Names and contents are the program's own: every link is a trap.

Only called once all of the program's processes are dead, so that nothing is exchanged between a look and a read. The
folders are held by descriptors; no path is ever followed from the root, and no link at all.
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from blockyard.sandbox.program import SandboxFile

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_DEPTH = 16
_TEXT_FORMS = frozenset({"text", "html", "markdown", "svg", "png", "jpeg", "pdf", "latex", "javascript"})
_OBJECT_FORMS = frozenset({"data", "extra"})


def open_folder(path: str) -> int:
    """Descriptor of a folder that this package made itself."""
    return os.open(path, _FOLDER)


def entries_in(folder: int) -> int:
    """Files, folders and links in the file system that the folder is the root of."""
    usage = os.fstatvfs(folder)
    return usage.f_files - usage.f_ffree


def collect(folder: int, skipped: str, most_files: int, most_bytes: int) -> tuple[SandboxFile, ...]:
    """Plain files below the folder, by path; `skipped` is an entry of it that is left out.

    Stops at so many files, and leaves out files that do not fit into what is left of so many bytes.
    """
    _open_up(folder)
    found: list[SandboxFile] = []
    left = most_bytes
    for path, descriptor in _files(folder, "", skipped, 0):
        try:
            if len(found) < most_files and os.fstat(descriptor).st_size <= left:
                content = _read(descriptor, left)
                left -= len(content)
                found.append(SandboxFile(path, content))
        finally:
            os.close(descriptor)
    return tuple(found)


def read_result(folder: int, limit: int) -> dict[str, Any]:
    """The forms of the last expression's value; empty if there is none, or if what is there is something else."""
    _open_up(folder)
    descriptor = _open_file("result.json", folder)
    if descriptor is None:
        return {}
    try:
        # A text may hold halves of characters, which no receiver of it could write down.
        written = json.dumps(json.loads(_read(descriptor, limit), parse_constant=lambda _: None), ensure_ascii=False)
        forms = json.loads(written.encode(errors="replace"))
    # Code can write there too. RecursionError: brackets without end.
    except (ValueError, RecursionError):
        return {}
    finally:
        os.close(descriptor)
    return known_forms(forms)


def known_forms(found: Any) -> dict[str, Any]:
    """Of what may be anything the forms that a value can have; empty if it is something else."""
    if not isinstance(found, dict):
        return {}
    return {form: value for form, value in found.items() if _is_form(form, value)}


def _is_form(form: str, value: Any) -> bool:
    if form in _TEXT_FORMS:
        return isinstance(value, str)
    return form == "json" or (form in _OBJECT_FORMS and isinstance(value, dict))


def _files(folder: int, prefix: str, skipped: str, depth: int) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_folder in names:
        path = prefix + name
        if path == skipped:
            continue
        if not is_folder:
            descriptor = _open_file(name, folder)
            if descriptor is not None:
                yield os.fsencode(path).decode(errors="replace"), descriptor
        elif depth < _MAX_DEPTH and (inner := _open(name, _FOLDER, folder)) is not None:
            try:
                yield from _files(inner, f"{path}/", skipped, depth + 1)
            finally:
                os.close(inner)


def _open_up(folder: int) -> None:
    """Its owner may have closed it to everybody, this process included; it is this process's user, or it is root."""
    # In a container the folder is a volume, which neither this user nor the program's owns and can close.
    with suppress(PermissionError):
        os.fchmod(folder, 0o700)


def _open(name: str, flags: int, folder: int) -> int | None:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError:
        # A link, a socket, or closed to everybody by its mode.
        return None


def _open_file(name: str, folder: int) -> int | None:
    descriptor = _open(name, _FILE, folder)
    if descriptor is not None and not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return descriptor


def _read(descriptor: int, limit: int) -> bytes:
    """Up to `limit` bytes."""
    parts, left = [], limit
    while left and (part := os.read(descriptor, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
