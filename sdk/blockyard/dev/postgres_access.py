"""Passwords of PostgreSQL: who must show one, and how the superuser gets the first."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blockyard.dev.cluster import DATABASE, SUPERUSER, give_to_server, run_single

ITERATIONS = 1
"""Of SCRAM. More of them protect passwords that can be guessed; these are random, and connecting waits for them."""


@dataclass(frozen=True, slots=True)
class PostgresAccess:
    """The password of each user; without any, all who come over loopback are trusted."""

    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The superuser's is set here, those of services by the migrations, which make their roles."""

    def settings(self, data_dir: Path) -> dict[str, str]:
        """PostgreSQL's own settings."""
        if not self.passwords:
            return {}
        return {"hba_file": str(_rules(data_dir)), "scram_iterations": str(ITERATIONS)}

    def install(self, data_dir: Path) -> None:
        """Put everything into place for a server that does not run."""
        if not self.passwords:
            return
        rules = _rules(data_dir)
        rules.write_text("# Written at each start.\nhost all all 127.0.0.1/32 scram-sha-256\n")
        give_to_server(rules, 0o600)
        self._set_password(data_dir)

    def _set_password(self, data_dir: Path) -> None:
        """Set the superuser's, unless it is set: nobody is let in without one, so it is done without a connection."""
        password = self.passwords[SUPERUSER]
        done = data_dir / "blockyard-password"
        mark = hashlib.sha256(password.encode()).hexdigest()
        if done.exists() and done.read_text() == mark:
            return
        statement = f"ALTER ROLE {SUPERUSER} PASSWORD '{password}'"
        run_single(data_dir, DATABASE, statement, {"scram_iterations": ITERATIONS})
        done.write_text(mark)
        give_to_server(done, 0o600)


def _rules(data_dir: Path) -> Path:
    return data_dir / "blockyard-hba.conf"
