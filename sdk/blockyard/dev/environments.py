"""The processes of a stack that runs, each with the very environment that it was started with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from blockyard.dev import nats_users
from blockyard.dev.home import StackFolder, StackState
from blockyard.dev.services import MIGRATED, pool_of

RUNNER = "runner"
LOG_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """A process of a service, or what is left of it."""

    name: str
    """Such as `execution-1`."""
    service: str
    """Such as `execution`."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What it was started with; empty if it has ended."""
    last_line: str = ""
    """Of its log, if it has ended."""


def service_processes(state: StackState) -> list[RunningProcess]:
    """Those of the services and runners of a stack, in the order of their start."""
    services = {name: name.partition("-")[0] for name in state.processes}
    return [_process(name, service, state) for name, service in services.items() if service in (*MIGRATED, RUNNER)]


def ended_servers(state: StackState) -> list[str]:
    """Those of PostgreSQL, NATS and the edge that ran, and do not any more."""
    servers = {name: pid for name, pid in state.processes.items() if name in ("postgres", "nats", "edge")}
    return [name for name, pid in servers.items() if pid and not psutil.pid_exists(pid)]


def _process(name: str, service: str, state: StackState) -> RunningProcess:
    try:
        process = psutil.Process(state.processes[name])
        if process.status() != psutil.STATUS_ZOMBIE:
            environment = process.environ()
            return RunningProcess(name, service, _remembered(environment, state) if service == RUNNER else environment)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        pass
    return RunningProcess(name, service, last_line=_last_line(StackFolder(Path(state.folder)).log(name)))


def _remembered(environment: Mapping[str, str], state: StackState) -> dict[str, str]:
    """A runner's environment as it was: it blanks its secrets, since blocks could read them; the stack has them."""
    whole = {name: value for name, value in environment.items() if value.strip("-") or not value}
    folder = StackFolder(Path(state.folder))
    nats = urlsplit(state.nats_url)
    user = nats_users.runner_of(pool_of(whole))
    password = (folder.passwords / "nats" / user).read_text().strip()
    place = nats.netloc.rpartition("@")[2]
    return {
        **whole,
        "BLOCKYARD_RUNNER_SECRET": folder.runner_secret.read_text().strip(),
        "BLOCKYARD_NATS_URL": f"{nats.scheme}://{user}:{password}@{place}",
    }


def _last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - LOG_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
