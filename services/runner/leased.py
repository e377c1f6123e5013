"""What runs were given by the vault, for as long as they go on: where their secrets are, and what hides them.

While any run has a secret, what this process prints and logs is searched for it (`guard_streams`): every line, whoever
writes it. What a program that a block starts prints by itself, or a library in C, does not come by here.
"""

import io
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, BinaryIO, TextIO, cast

from typing_extensions import Buffer

from services.runner.redaction import Redaction

Given = dict[str, dict[str, Any]]
"""Credentials as blocks take them, by input pin."""


class LeasedCredential(dict[str, Any]):
    """The parts of one, for a block: a dictionary that does not print what is in it."""

    def __repr__(self) -> str:
        """Without secrets."""
        return f"<credential {self.get('title', '')!r} of {self.get('provider', '')!r}>"

    __str__ = __repr__


class HeldSecrets:
    """All that the runs of this process have at the moment."""

    def __init__(self) -> None:
        self._held: dict[frozenset[str], tuple[int, Redaction]] = {}
        # Replaced and never changed: threads of blocks print while the event loop leases.
        self._redactions: tuple[Redaction, ...] = ()

    def hold(self, texts: frozenset[str]) -> Redaction:
        """A run has these from now on; runs with the same share what hides them."""
        count, redaction = self._held.get(texts) or (0, Redaction(texts))
        self._held[texts] = (count + 1, redaction)
        if not count:
            self._redactions = (*self._redactions, redaction)
        return redaction

    def release(self, texts: frozenset[str]) -> None:
        """One run has them no more."""
        count, redaction = self._held[texts]
        if count > 1:
            self._held[texts] = (count - 1, redaction)
            return
        del self._held[texts]
        self._redactions = tuple(one for one in self._redactions if one is not redaction)

    def line(self, line: str) -> str:
        """What is printed, without any of them."""
        for redaction in self._redactions:
            line = redaction.line(line)
        return line

    @property
    def any(self) -> bool:
        """Whether a run has one."""
        return bool(self._redactions)

    def guard_streams(self) -> None:
        """Have all that is printed from now on come by here."""
        sys.stdout = self._guarded(sys.stdout)
        sys.stderr = self._guarded(sys.stderr)

    def _guarded(self, stream: TextIO) -> TextIO:
        stream.flush()
        return io.TextIOWrapper(
            # cast: it has all of a BinaryIO that is used; the class in `typing` cannot be subclassed in earnest.
            cast("BinaryIO", _Guarded(stream, self)),
            encoding=stream.encoding,
            errors="backslashreplace",
            # A line comes by as it is written, and not in the pieces that a buffer makes of it.
            write_through=True,
        )


class Leased:
    """What one run has."""

    __slots__ = ("_secrets", "given", "redaction", "texts")

    def __init__(self, given: Mapping[str, Mapping[str, Any]], texts: frozenset[str], secrets: HeldSecrets) -> None:
        self.given: Given = {pin: LeasedCredential(parts) for pin, parts in given.items()}
        self.texts = texts
        self.redaction = secrets.hold(texts)
        self._secrets = secrets

    def add(self, given: Mapping[str, Mapping[str, Any]], texts: frozenset[str]) -> None:
        """It has these from now on, too. Earlier ones stay hidden: they may be valid still."""
        for pin, parts in given.items():
            self.given[pin] = LeasedCredential(parts)
        together = self.texts | texts
        self.redaction = self._secrets.hold(together)
        self._secrets.release(self.texts)
        self.texts = together

    def stay_hidden(self) -> Callable[[], None]:
        """What it has stays hidden in what is printed until the answer is called: something of it cannot be ended."""
        self._secrets.hold(self.texts)
        return partial(self._secrets.release, self.texts)

    def forget(self) -> None:
        """The run has ended, and all was said of it."""
        for parts in self.given.values():
            parts.clear()
        self.given.clear()
        self._secrets.release(self.texts)
        self.texts = frozenset()


class _Guarded(io.BufferedIOBase):
    """What is written to a stream, without secrets."""

    def __init__(self, text_stream: TextIO, secrets: HeldSecrets) -> None:
        # Kept: it closes what it writes to when nobody has it any more.
        self._text_stream = text_stream
        self._stream = text_stream.buffer
        self._secrets = secrets

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        written = bytes(data)
        if self._secrets.any:
            text = written.decode("utf-8", "surrogateescape")
            self._stream.write(self._secrets.line(text).encode("utf-8", "surrogateescape"))
        else:
            self._stream.write(written)
        return len(written)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()
