"""Puts the parts of incoming webhooks together."""

from collections.abc import Awaitable, Callable

import asyncpg

from services.common.derived_secrets import DerivedSecrets
from services.common.rate_limits import RateLimit, parse_rate
from services.execution.config import ExecutionSettings
from services.execution.repository.triggers import TriggerRepository
from services.execution.starting import Starter
from services.execution.webhooks.api import TriggerApi
from services.execution.webhooks.receiving import Receiver
from services.execution.webhooks.secrets import PURPOSE, SecretKeys
from services.execution.webhooks.senders import Senders
from services.execution.webhooks.triggers import Triggers


def trigger_api(
    settings: ExecutionSettings,
    pool: asyncpg.Pool,
    starter: Starter,
    senders: Senders,
    refusal: Callable[[str], Awaitable[str]],
) -> TriggerApi:
    """The servicer. `refusal` says why nothing may be started for a user; empty if it may."""
    secret = settings.service_secret.get_secret_value()
    repository = TriggerRepository(pool)
    keys = SecretKeys(DerivedSecrets(settings.trigger_keys, settings.service_secret, PURPOSE))
    rate = parse_rate(settings.trigger_rate)
    receiver = Receiver(
        repository=repository,
        starter=starter,
        keys=keys,
        senders=senders,
        refusal=refusal,
        most_bytes=settings.trigger_payload_bytes,
        most_noted=settings.trigger_deliveries,
        limit=RateLimit(rate.shared(settings.rate_limit_replicas)) if rate is not None else None,
    )
    return TriggerApi(Triggers(repository, starter, keys, senders, settings.user_triggers), receiver, secret)
