"""`python -m services.account.sign_token USER [--role admin] [--hours 1]`: prints a token for a user.

For the first administrator of an installation without an identity provider; from then on there are API keys. It needs
BLOCKYARD_JWT_SECRET, which only services have: whoever may read that may be anybody.
"""

import argparse
from collections.abc import Sequence

from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common import config
from services.common.identity import user_token
from services.common.permissions import Role

HOURS = 24 * 365


class TokenSettings(BaseSettings):
    """What tokens are signed with."""

    model_config = SettingsConfigDict(env_prefix=config.PREFIX, extra="ignore", frozen=True, env_ignore_empty=True)

    jwt_secret: config.Secret


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the token; a wrong argument ends it with 2."""
    parser = argparse.ArgumentParser(prog="python -m services.account.sign_token", description=__doc__)
    parser.add_argument("user", help="the user's id")
    parser.add_argument("--role", choices=[role.value for role in Role], default=Role.USER.value)
    parser.add_argument("--hours", type=float, default=1.0, help="how long it is valid")
    chosen = parser.parse_args(arguments)
    if not 0 < chosen.hours <= HOURS:
        parser.error(f"--hours: expected more than 0 and at most {HOURS}, got {chosen.hours:g}")
    settings = config.load(TokenSettings)
    try:
        print(user_token(settings.jwt_secret.get_secret_value(), chosen.user, chosen.role, chosen.hours * 3600))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
