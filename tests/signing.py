"""The secrets of services that tests start by themselves, and tokens of services and runners made from them."""

from services.common import identity

JWT_SECRET = "a secret for tests only, forty characters"
SERVICE_SECRET = "a secret of services in tests, as long as that"
RUNNER_SECRET = "a secret of runners in tests, as long as that"

SETTINGS = {"jwt_secret": JWT_SECRET, "service_secret": SERVICE_SECRET, "runner_secret": RUNNER_SECRET}
"""What a service must be told besides its own."""
ENVIRONMENT = {f"BLOCKYARD_{name.upper()}": value for name, value in SETTINGS.items()}
"""The same for a service that is a process."""
SECRETS = identity.Secrets(JWT_SECRET, SERVICE_SECRET, RUNNER_SECRET)


def service_token(name: str = "test") -> str:
    """The token with which a service calls others."""
    return identity.service_token(SERVICE_SECRET, name)


def runner_token() -> str:
    """The token with which a runner calls services."""
    return identity.service_token(RUNNER_SECRET, "runner")
