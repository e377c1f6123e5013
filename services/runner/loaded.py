"""What a runner's process does first of all: it loads the blocks, and has itself copied while it has nothing else."""

import socket
from dataclasses import dataclass
from functools import partial

import structlog
from blockyard.block.loader import Catalogue
from pydantic import ValidationError
from pydantic_settings import SettingsError

from services import starting
from services.common import config, telemetry
from services.runner import process_worker
from services.runner.blocks_here import Loading, use_processes
from services.runner.config import BlockSettings, RunnerSettings
from services.runner.forks import Template
from services.runner.leased import HeldSecrets
from services.runner.own_strings import forget_secrets
from services.runner.template import fork_template

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The blocks, and the template of processes for them."""

    loading: Loading
    catalogue: Catalogue
    forked: tuple[int, socket.socket] | None
    """The template's id, and the socket to it."""

    @classmethod
    def first_of_all(cls, held_secrets: HeldSecrets, descriptor: int) -> "Loaded":
        """Load, and fork. The descriptor stays with this process."""
        settings = _settings()
        telemetry.configure_logs(RunnerSettings.service_name(), settings.log_level, settings.log_format)
        loading = Loading.of(settings)
        with starting.without_collections():
            catalogue = loading.load()
        blocks, forked = catalogue.blocks, None
        if use_processes(blocks):
            forked = fork_template(partial(process_worker.serve, blocks, held_secrets), forget_secrets, descriptor)
        return cls(loading, catalogue, forked)

    def template(self) -> Template | None:
        """For this runner, once it runs."""
        if self.forked is not None:
            return Template(*self.forked)
        if use_processes(self.catalogue.blocks):
            log.warning("processes for blocks start slower: no Linux, or a module of blocks starts a thread by itself")
        return None


def _settings() -> BlockSettings:
    try:
        return BlockSettings()
    except (ValidationError, SettingsError):
        return config.load(RunnerSettings)  # which names whatever else is wrong, and exits
