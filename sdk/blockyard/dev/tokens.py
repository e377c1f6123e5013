"""The secrets of a laptop stack and the tokens made from them: for the developer, and for anyone else in tests."""

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jwt

from blockyard.dev.home import StackFolder, write_private

ISSUER = "blockyard"
AUDIENCE = "blockyard"
DEVELOPER = "developer"
LIFE_SECONDS = 30 * 24 * 3600


def user_token(secret: str, user_id: str, role: str = "user", life_seconds: float = LIFE_SECONDS) -> str:
    """A token for a user with the role admin, user or viewer; a negative life makes an expired one."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user_id,
        "role": role,
        "iat": now,
        "exp": now + int(life_seconds),
    }
    return jwt.encode(claims, secret, algorithm="HS256")


@dataclass(frozen=True, slots=True, repr=False)
class StackSecrets:
    """What signs the tokens of users, of services, and of runners."""

    users: str
    services: str
    runners: str


def ensure_secrets(folder: StackFolder) -> StackSecrets:
    """The secrets of a stack, made at its first start and kept, so that tokens outlive a restart."""
    places = (folder.secret, folder.service_secret, folder.runner_secret)
    return StackSecrets(*(_ensure(place) for place in places))


def ensure_passwords(folder: StackFolder, server: str, users: Iterable[str]) -> dict[str, str]:
    """The password of each user of NATS or PostgreSQL, made and kept likewise."""
    return {user: _ensure(folder.passwords / server / user) for user in users}


def _ensure(place: Path) -> str:
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(place, secrets.token_urlsafe(48) + "\n")
    return place.read_text().strip()


def write_developer_token(folder: StackFolder, secret: str) -> str:
    """A fresh token for the developer, put where the command line finds it."""
    token = user_token(secret, DEVELOPER, role="admin")  # of a machine of their own, its users and vault included
    write_private(folder.token, token + "\n")
    return token
