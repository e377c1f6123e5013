"""The folder of a laptop stack, what is in it, and `state.json`, by which others find a stack that runs."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

STATE_FORMAT = 1


def default_home() -> Path:
    """BLOCKYARD_HOME, else `~/.blockyard`."""
    if chosen := os.environ.get("BLOCKYARD_HOME"):
        return Path(chosen).absolute()
    return Path.home() / ".blockyard"


@dataclass(frozen=True, slots=True)
class StackFolder:
    """Where one laptop stack keeps its things: the folder `dev` of a home."""

    path: Path

    @classmethod
    def of(cls, home: Path | str | None = None) -> Self:
        """The folder of the stack of a home, by default the user's."""
        return cls((Path(home) if home is not None else default_home()).absolute() / "dev")

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data directory."""
        return self.path / "postgres"

    @property
    def nats(self) -> Path:
        """NATS's folder."""
        return self.path / "nats"

    @property
    def edge(self) -> Path:
        """The configuration of the edge."""
        return self.path / "edge"

    @property
    def blobs(self) -> Path:
        """Large values and files."""
        return self.path / "blobs"

    @property
    def keys(self) -> Path:
        """The keys that wrap the vault's secrets: a file for each, which the vault makes itself."""
        return self.path / "keys"

    @property
    def logs(self) -> Path:
        """A log file for each process."""
        return self.path / "logs"

    @property
    def secret(self) -> Path:
        """The secret that signs the tokens of users."""
        return self.path / "secret"

    @property
    def service_secret(self) -> Path:
        """The secret that signs the tokens of services."""
        return self.path / "service-secret"

    @property
    def runner_secret(self) -> Path:
        """The secret that signs the tokens of runners."""
        return self.path / "runner-secret"

    @property
    def passwords(self) -> Path:
        """The passwords of the users of NATS and PostgreSQL: a file for each, in a folder for each server."""
        return self.path / "passwords"

    @property
    def token(self) -> Path:
        """The developer's token."""
        return self.path / "token"

    @property
    def lock(self) -> Path:
        """Locked by the process that runs the stack."""
        return self.path / "lock"

    @property
    def state(self) -> Path:
        """What a running stack says of itself."""
        return self.path / "state.json"

    @property
    def starting(self) -> Path:
        """The same of a stack whose services are not ready yet, or never will be."""
        return self.path / "starting.json"

    def log(self, name: str) -> Path:
        """The log file of a process."""
        return self.logs / f"{name}.log"


@dataclass(frozen=True, slots=True)
class StackState:
    """What a running stack says of itself in `state.json`."""

    pid: int
    folder: str
    addresses: dict[str, str]
    """host:port by process (`graph`, `execution-1`, ...); `execution` is the first replica: any takes every call."""
    postgres_url: str
    nats_url: str
    token_path: str
    processes: dict[str, int]
    """Process ids by name."""
    certificates: dict[str, str] = field(default_factory=dict)
    """Files with which the services are called over TLS; none on a stack without it."""
    subscriber_url: str = ""
    """Of NATS, for the developer's programs that subscribe to events there."""

    def token(self) -> str:
        """The developer's token of this stack."""
        return Path(self.token_path).read_text().strip()

    def write(self, place: Path) -> None:
        """Replace the state as a whole, so that no reader meets half of it."""
        write_private(place, json.dumps({"format": STATE_FORMAT, **asdict(self)}, indent=2) + "\n")


def read_state(home: Path | str | None = None) -> StackState | None:
    """The state of the stack that runs on a home, by default the user's; None when none runs there."""
    return _read(StackFolder.of(home).state)


def read_starting(home: Path | str | None = None) -> StackState | None:
    """The state of a stack that is being started on a home; None when there is none."""
    return _read(StackFolder.of(home).starting)


def _read(place: Path) -> StackState | None:
    try:
        content = json.loads(place.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(content, Mapping) or content.get("format") != STATE_FORMAT:
        return None
    try:
        state = StackState(**{name: value for name, value in content.items() if name != "format"})
    except TypeError:
        return None  # written by another release
    return state if _runs(state.pid) else None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, and put it in place as a whole."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
