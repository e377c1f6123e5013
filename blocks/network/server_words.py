"""What servers say, made fit for a message: on one line, not too long, without the secrets that they were given."""

MAX_MESSAGE_CHARACTERS = 500
# A shorter text stands in other words by chance, and hiding it there would show it.
_LEAST_HIDDEN_CHARACTERS = 4


def without(text: str, *secrets: str) -> str:
    """A server's words on one line, not too long, and without these texts, which some servers repeat."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _LEAST_HIDDEN_CHARACTERS:
            text = text.replace(secret, "***")
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else f"{text[: MAX_MESSAGE_CHARACTERS - 3]}..."
