"""As whom a process connects to NATS, and how it knows NATS."""

from dataclasses import dataclass, field
from pathlib import Path

from services.common.tls import TlsFiles


@dataclass(frozen=True, slots=True)
class NatsAccess:
    """Files are read at each connection, so that passwords and certificates may change under a running process."""

    user: str = ""
    """The user, where the URL names none."""
    password_file: Path | None = None
    tls: TlsFiles = field(default_factory=TlsFiles)
    stream_replicas: int = 1
    """Servers that keep each stream which this process makes."""

    def password(self) -> str:
        """The user's password of this moment."""
        return self.password_file.read_text().strip() if self.password_file is not None else ""
