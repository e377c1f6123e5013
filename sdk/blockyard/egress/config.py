"""The policy that an operator has set, from the environment of the process."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from blockyard.egress.client import Egress
from blockyard.egress.errors import ALLOW_VARIABLE, PORTS_VARIABLE
from blockyard.egress.policy import EgressPolicy


def policy_from_environment(environment: Mapping[str, str] = os.environ) -> EgressPolicy:
    """An EgressConfigurationError says which variable cannot be read, and why."""
    return EgressPolicy.parse(environment.get(ALLOW_VARIABLE, ""), environment.get(PORTS_VARIABLE, ""))


@asynccontextmanager
async def open_egress() -> AsyncIterator[Egress]:
    """A client under the operator's policy. Blocks share one: `context.resource(open_egress)`."""
    async with Egress(policy_from_environment()) as egress:
        yield egress
