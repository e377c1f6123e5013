"""Sees, by an audit hook of Python, whether code reaches the network, other programs, or files that are not its own."""

import os
import sys
import sysconfig
import tempfile
import threading
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Any

_NETWORK = frozenset(
    {
        *("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"),
        *("socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"),
    }
)
_PROGRAMS = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn"}
)
# Events about a file, with the positions of paths and of the descriptor of the folder that a path starts from.
_CHANGES: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.link": ((0, 2), (1, 3)),
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.rmdir": ((0, 1),),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
}
_LOOKS = frozenset({"os.listdir", "os.scandir"})
_EVENTS = _NETWORK | _PROGRAMS | _CHANGES.keys() | _LOOKS | {"open"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_MODULE_SUFFIXES = tuple(all_suffixes())


class Watch:
    """What was seen of the code that is watched."""

    def __init__(self, folder: Path, readable: tuple[str, ...]) -> None:
        self.seen: list[str] = []
        self._folder = os.path.realpath(folder)
        self._readable = readable
        self._others = {thread.ident: thread for thread in threading.enumerate()}

    def concerns_this_thread(self) -> bool:
        """Whether what happens here and now is the watched code's doing: other threads of the process go on."""
        if _inside.get() is self:
            return True
        other = self._others.get(threading.get_ident())
        # A thread that has ended leaves its number to a new one.
        return other is None or not other.is_alive()

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Keeps what must not be, each once."""
        what = self._judge(event, arguments)
        if what and what not in self.seen:
            self.seen.append(what)

    def _judge(self, event: str, arguments: tuple[Any, ...]) -> str:
        if event in _NETWORK:
            return f"reaches the network ({event} {arguments[-1] if len(arguments) < 3 else arguments[0]})"
        if event in _PROGRAMS:
            return f"starts another program ({event})"
        if event == "open":
            path, mode, flags = arguments[:3]
            writes = bool(set(mode) & set("wax+")) if isinstance(mode, str) else bool(flags & _WRITING)
            return self._judge_file(path, None, writes=writes)
        if event in _LOOKS:
            return self._judge_file(arguments[0], None, writes=False)
        return next(filter(None, (self._judge_change(arguments, *place) for place in _CHANGES[event])), "")

    def _judge_change(self, arguments: tuple[Any, ...], at: int, folder_at: int | None) -> str:
        folder = arguments[folder_at] if folder_at is not None and folder_at < len(arguments) else None
        return self._judge_file(arguments[at], folder, writes=True)

    def _judge_file(self, given: Any, folder: int | None, *, writes: bool) -> str:
        # A descriptor was opened before.
        if not isinstance(given, str | bytes | os.PathLike):
            return ""
        named = os.fsdecode(given)
        path = os.path.realpath(os.path.join(_folder_of(folder), named))
        if _below(path, self._folder) or "/__pycache__/" in f"{path}/" or path == os.devnull:
            return ""
        if writes:
            return f"changes a file outside of a temporary folder ({path})"
        if path.endswith(_MODULE_SUFFIXES) or any(_below(path, root) for root in self._readable):
            return ""
        # A look at what is not there tells nothing; shutil.rmtree names files without the folder that they are in.
        return f"reads a file of the machine ({path})" if os.path.exists(path) else ""


_current: Watch | None = None
_inside: ContextVar[Watch | None] = ContextVar("blockyard_watch", default=None)
_installed = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    watch = _current
    if watch is None or event not in _EVENTS or not watch.concerns_this_thread():
        return
    watch.note(event, arguments)


@contextmanager
def watched(module: str) -> Iterator[Watch]:
    """Watches what runs inside: in this context, and in threads that begin meanwhile. One at a time in a process.

    Temporary files are free: they go to a folder that is made for it. So are reads of Python's own files, of installed
    packages, of time zones, and of what lies beside the module of that name.
    """
    global _current, _installed
    if not _installed:
        # There is no way to take an audit hook away again; while nothing is watched it returns at once.
        sys.addaudithook(_hook)
        _installed = True
    if _current is not None:
        raise RuntimeError("something is watched already in this process")
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="blockyard-check-") as folder:
        watch = Watch(Path(folder), _readable_roots(module))
        token = _inside.set(watch)
        tempfile.tempdir = folder
        _current = watch
        try:
            yield watch
        finally:
            _current = None
            tempfile.tempdir = before
            _inside.reset(token)
        if left := sorted(os.listdir(folder)):
            watch.seen.append(f"leaves files in the temporary folder ({', '.join(left[:3])})")


def _readable_roots(module: str) -> tuple[str, ...]:
    own = getattr(sys.modules.get(module), "__file__", None)
    roots = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), *zoneinfo.TZPATH}
    roots.update(entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages"))
    if own:
        roots.add(str(Path(own).parent))
    return tuple(sorted(os.path.realpath(root) for root in roots))


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _folder_of(descriptor: int | None) -> str:
    """The folder that a relative path starts from: the working folder, unless a descriptor says another one."""
    if isinstance(descriptor, int) and descriptor >= 0:
        try:
            return os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            return os.getcwd()
    return os.getcwd()
