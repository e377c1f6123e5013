"""The program that a service's doctor.py is: reads the service's settings, makes its checks, and tells what they find.

A line of JSON for each finding; the exit code is 1 if something is wrong.
"""

import asyncio
import dataclasses
import difflib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import asyncpg
import structlog
from pydantic import SecretStr

from services import starting
from services.common import config
from services.common.config import DatabaseSettings, ProcessSettings
from services.common.doctor.certificates import Certificates
from services.common.doctor.databases import Database
from services.common.doctor.findings import Check, Finding, Told, Verdict, examine, ok, warning
from services.common.doctor.messaging import Messaging

AnySettings = TypeVar("AnySettings", bound=ProcessSettings)

ALIKE = 0.95
"""Of two names of variables that are so much alike, one is the other with a slip. No two of ours are."""
SHORTEST_SECRET = 6
"""What is shorter is not looked for in what is said: it would hide words."""


class Patient:
    """The parts that checks of one process share."""

    def __init__(
        self, settings: ProcessSettings, resources: AsyncExitStack, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self.resources = resources
        self.service = settings.service_name()
        self.certificates = Certificates(settings, clock)
        self.messaging = Messaging(settings, self.service, resources)
        self._database: Database | None = None
        if isinstance(settings, DatabaseSettings):
            url, size = settings.database_url.get_secret_value(), settings.database_pool_size
            self._database = Database(url, self.service, size, resources, clock)

    @property
    def pool(self) -> "asyncpg.Pool[asyncpg.Record]":
        """The service's database, for checks that need "schema"."""
        assert self._database is not None
        return self._database.pool

    def checks(self) -> list[Check]:
        """What can be said of every process."""
        return [*self.certificates.checks(), *(self._database.checks() if self._database is not None else [])]


Own = Callable[[AnySettings, Patient], Sequence[Check]]
"""The checks of one service alone."""


def main(settings_class: type[AnySettings], own: Own[AnySettings]) -> None:
    """Tell all findings, then exit."""
    starting.end()
    # What is built for the checks may log; here it would stand between the findings.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    exit_code = asyncio.run(_tell_all(settings_class, own))
    # A thread that hangs, on a folder that is away for one, is not waited for.
    sys.stdout.flush()
    os._exit(exit_code)


async def _tell_all(settings_class: type[AnySettings], own: Own[AnySettings]) -> int:
    exit_code = 0
    async for finding in findings(settings_class, own):
        print(json.dumps({**dataclasses.asdict(finding), "verdict": finding.verdict.value}), flush=True)
        if finding.verdict is Verdict.WRONG:
            exit_code = 1
    return exit_code


async def findings(
    settings_class: type[AnySettings], own: Own[AnySettings], clock: Callable[[], float] = time.time
) -> AsyncIterator[Finding]:
    """What is found with the settings of the environment. No secret of theirs is in it."""
    settings, problems = config.read(settings_class)
    if settings is None:
        for problem in problems:
            yield Finding("settings", Verdict.WRONG, problem, "Correct the variable, then start the process again.")
        yield Finding("everything else", Verdict.NOT_CHECKED, "since settings is wrong")
        return
    secrets = secrets_of(settings)
    async with AsyncExitStack() as resources:
        patient = Patient(settings, resources, clock)
        checks = [Check("settings", partial(_valid, settings_class)), *patient.checks(), *own(settings, patient)]
        async for finding in examine(checks):
            yield dataclasses.replace(
                finding, said=masked(finding.said, secrets), advice=masked(finding.advice, secrets)
            )


async def _valid(settings_class: type[ProcessSettings]) -> AsyncIterator[Told]:
    """Those of other services may stand in the same environment; one that is nearly one of these is a slip."""
    known = [f"{config.PREFIX}{name.upper()}" for name in settings_class.model_fields]
    for name in sorted(os.environ.keys() - set(known)):
        if name.startswith(config.PREFIX) and (meant := difflib.get_close_matches(name, known, 1, ALIKE)):
            yield warning(f"nothing reads {name}", f"If {meant[0]} is meant, correct the name.")
    yield ok("all can be read")


def secrets_of(settings: ProcessSettings) -> list[str]:
    """What must not be said: secrets, and the passwords in URLs, the longest first."""
    found: set[str] = set()
    for name in type(settings).model_fields:
        value: Any = getattr(settings, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else value if isinstance(value, str) else ""
        if isinstance(value, SecretStr) or "@" in text:
            for part in text.split(","):
                password = _password(part) if "://" in part else part
                found |= {password, unquote(password)} if password else set()
    return sorted((secret for secret in found if len(secret) >= SHORTEST_SECRET), key=len, reverse=True)


def masked(text: str, secrets: Sequence[str]) -> str:
    """The text without secrets, whoever put them into it."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:  # no URL, whatever it begins with
        return url
