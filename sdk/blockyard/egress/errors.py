"""What can go wrong with an outgoing request. A block that lets one of these through fails with its sentence.

No message holds a URL's query or fragment, where keys are, nor the address that a name has, which is not for users.
"""

from typing import ClassVar

from blockyard.block.errors import BlockError

ALLOW_VARIABLE = "BLOCKYARD_EGRESS_ALLOW"
PORTS_VARIABLE = "BLOCKYARD_EGRESS_PORTS"


class EgressError(BlockError):
    """An outgoing request was not made, or not to its end."""


class EgressRefused(EgressError):
    """The policy, or the safety of the request itself, forbids it. Nothing was sent to the host that is named."""

    def __init__(self, what: str, why: str, remedy: str = "") -> None:
        """`what` was asked for, `why` it is refused, and what can be done about it."""
        super().__init__(f"{what}: {why}" + (f"; {remedy}" if remedy else ""))
        self.what = what
        self.why = why
        self.remedy = remedy


class EgressFailed(EgressError):
    """The other side could not be reached, or does not speak HTTP."""


class EgressTooLarge(EgressError):
    """The answer is larger than the limit."""


class EgressTimeout(EgressError):
    """A time limit of the request has passed."""

    reason: ClassVar[str] = "TIMEOUT"


class EgressConfigurationError(EgressError):
    """What an operator has set cannot be read."""
