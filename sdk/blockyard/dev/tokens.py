"""The secret of a laptop stack and the tokens made from it: for the developer, and for anyone else in tests."""

import secrets
import time

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


def ensure_secret(folder: StackFolder) -> str:
    """The secret of a stack, made at its first start and kept, so that tokens outlive a restart."""
    if not folder.secret.exists():
        write_private(folder.secret, secrets.token_urlsafe(48) + "\n")
    return folder.secret.read_text().strip()


def write_developer_token(folder: StackFolder, secret: str) -> str:
    """A fresh token for the developer, put where the command line finds it."""
    token = user_token(secret, DEVELOPER)
    write_private(folder.token, token + "\n")
    return token
