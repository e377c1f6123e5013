"""Looks for texts, in any common encoding, in all that a stack has kept or said."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import asyncpg

WINDOW = 1 << 20


def encodings(secret: str) -> Iterator[bytes]:
    """The forms of a text that would give it away."""
    plain = secret.encode()
    yield plain
    yield secret.encode("utf-16-le")
    yield json.dumps(secret)[1:-1].encode()
    yield repr(secret)[1:-1].encode()
    yield quote(secret, safe="").encode()
    yield plain.hex().encode()
    yield plain.hex().upper().encode()
    yield plain[::-1]
    for shift in range(3):
        # Where it begins in what was encoded is not known: what its neighbours have a part in is left out.
        for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
            yield alphabet(b"\0" * shift + plain)[(0, 2, 3)[shift] : -4]


@dataclass
class Search:
    """What was looked through, and where something was found."""

    secrets: Mapping[str, str]
    """By name."""
    places: dict[str, int] = field(default_factory=dict)
    """Bytes by place."""
    found: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._forms = [(name, form) for name, secret in self.secrets.items() for form in set(encodings(secret))]
        self._longest = max(len(form) for _, form in self._forms)

    def data(self, place: str, data: bytes) -> None:
        """Looks through some bytes."""
        self.places[place] = self.places.get(place, 0) + len(data)
        self.found += [f"{name} in {place}" for name, form in self._forms if form in data]

    def file(self, place: str, path: Path) -> None:
        """Looks through a file."""
        before = b""
        with path.open("rb") as file:
            while piece := file.read(WINDOW):
                self.data(place, before + piece)
                self.places[place] -= len(before)
                before = piece[-self._longest :]

    def folder(self, place: str, folder: Path) -> None:
        """Looks through all files below a folder."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.file(place, path)

    async def tables(self, url: str) -> None:
        """Looks through all rows of all tables of a database, as text and as they are stored."""
        connection = await asyncpg.connect(url)
        try:
            tables = await connection.fetch(
                """
                SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
                WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
                """
            )
            for table in tables:
                rows = await connection.fetch(f"SELECT * FROM {table['name']}")
                for row in rows:
                    self.data(f"table {table['name']}", b"\0".join(_bytes(row.values())))
                self.places.setdefault(f"table {table['name']}", 0)
        finally:
            await connection.close()


def _bytes(values: Iterable[object]) -> Iterator[bytes]:
    for value in values:
        yield value if isinstance(value, bytes) else str(value).encode(errors="replace")
