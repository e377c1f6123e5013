"""An authority that all trust, and another one."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from services.common.tls import TlsFiles
from tests.stack.certificates import Authority, Pair


@dataclass(frozen=True)
class World:
    """An authority that all trust, and another one."""

    ours: Authority
    others: Authority

    def files(self, pair: Pair | None = None) -> TlsFiles:
        """Of a process that trusts our authority and has this certificate."""
        return TlsFiles(pair.certificate if pair else None, pair.key if pair else None, self.ours.file)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Authority(tmp_path / "ours", "our authority"), Authority(tmp_path / "others", "another authority"))
