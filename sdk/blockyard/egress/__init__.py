"""The one module through which blocks reach the network. Its policy keeps them from internal addresses.

async with context.resource(open_egress) as egress:
    answer = await egress.fetch("GET", "https://example.com/")
"""

import importlib
from typing import TYPE_CHECKING

from blockyard.egress.errors import (
    EgressConfigurationError,
    EgressError,
    EgressFailed,
    EgressRefused,
    EgressTimeout,
    EgressTooLarge,
)
from blockyard.egress.policy import AllowRule, EgressLimits, EgressPolicy
from blockyard.egress.proxies import ProxyServer

if TYPE_CHECKING:
    from blockyard.egress.client import Answer, Egress, StreamedAnswer
    from blockyard.egress.config import open_egress, policy_from_environment

__all__ = [
    "AllowRule",
    "Answer",
    "Egress",
    "EgressConfigurationError",
    "EgressError",
    "EgressFailed",
    "EgressLimits",
    "EgressPolicy",
    "EgressRefused",
    "EgressTimeout",
    "EgressTooLarge",
    "ProxyServer",
    "StreamedAnswer",
    "open_egress",
    "policy_from_environment",
]

_WITH_A_CLIENT = {
    "Answer": "client",
    "Egress": "client",
    "StreamedAnswer": "client",
    "open_egress": "config",
    "policy_from_environment": "config",
}
"""What needs aiohttp, by module. It is imported when it is asked for: who only reads addresses is spared it."""


def __getattr__(name: str) -> object:
    if name not in _WITH_A_CLIENT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_WITH_A_CLIENT[name]}"), name)
    globals()[name] = value
    return value
