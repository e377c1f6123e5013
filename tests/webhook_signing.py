"""Signs deliveries as those who send webhooks to triggers do."""

import base64
import hmac

from pydantic import SecretStr

PREFIX = "whsec_"


def standard_signature(secret: SecretStr, message_id: str, timestamp: int, body: bytes) -> str:
    """After the Standard Webhooks specification."""
    text = secret.get_secret_value()
    key = base64.b64decode(text.removeprefix(PREFIX)) if text.startswith(PREFIX) else text.encode()
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def github_signature(secret: SecretStr, body: bytes) -> str:
    """As GitHub signs."""
    return "sha256=" + hmac.digest(secret.get_secret_value().encode(), body, "sha256").hex()
