"""Writes what the chart repeats of the code: `python -m tools.chart_files`. A test tells when it is to be run again.

files/schema-hash      names the newest migrations: the Job that applies them has it in its name
files/grpc-services    the services that the edge lets clients of gRPC call
files/nats_users.yaml  who may do what on NATS
"""

import hashlib
from pathlib import Path

from blockyard.dev import nats_users

from services.common import schema_history
from services.gateway import routes

FILES = Path(__file__).parents[1] / "charts" / "blockyard" / "files"
HASH_DIGITS = 8


def contents() -> dict[str, str]:
    """Each file's content by its name."""
    migrated = sorted(
        folder.parent.name for folder in schema_history.SERVICES.glob("*/migrations") if has_versions(folder)
    )
    newest = "".join(f"{service} {schema_history.newest_revision(service)}\n" for service in migrated)
    return {
        "schema-hash": f"{hashlib.sha256(newest.encode()).hexdigest()[:HASH_DIGITS]}\n",
        "grpc-services": "".join(f"{service}\n" for service in sorted(routes.services())),
        "nats_users.yaml": nats_users.DATA.read_text(encoding="utf-8"),
    }


def has_versions(folder: Path) -> bool:
    """Whether migrations are kept here; services/common has what they share."""
    return (folder / "versions").is_dir()


if __name__ == "__main__":
    for name, content in contents().items():
        (FILES / name).write_text(content, encoding="utf-8")
