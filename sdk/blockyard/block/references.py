"""References to credentials, as nodes of graphs hold them: {"id", "provider", "type", "title"}, and never a secret.

Nothing of a value is repeated in a message: what somebody wrote there may be the secret itself.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

LONGEST_TITLE = 100

ADVICE = (
    "keep the secret in the vault (`blockyard credentials add`) and name it here as "
    '{"id": ..., "provider": ..., "type": ...}, or leave the pin empty and give it at the start'
)

_PARTS = ("id", "provider", "type", "title")

_NEEDED = frozenset({"id", "provider", "type"})
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def credential_id_of(value: Any) -> UUID | None:  # Any: JSON
    """The id in a reference to a credential; None if the value is no reference."""
    if not isinstance(value, Mapping) or not value.keys() >= _NEEDED:
        return None
    text = value["id"]
    return UUID(text) if isinstance(text, str) and _UUID.fullmatch(text) else None


def reference_problems(value: Any) -> Iterator[tuple[str, str]]:  # Any: JSON
    """The place inside the value, and why it is no reference to a credential; nothing if it is one."""
    if not isinstance(value, Mapping):
        yield "", f"takes a reference to a credential: {ADVICE}"
        return
    if not set(value) <= set(_PARTS):
        yield "", f"holds more than a reference ({', '.join(_PARTS)}): {ADVICE}"
    elif not set(value) >= _NEEDED:
        yield "", f"lacks id, provider or type: {ADVICE}"
    elif not all(isinstance(value[part], str) and value[part] for part in ("provider", "type")):
        yield "", "expected texts as provider and type"
    elif credential_id_of(value) is None:
        yield ".id", "expected the id of a credential, a UUID: `blockyard credentials list` shows yours"
    elif not _is_title(value.get("title")):
        yield ".title", f"expected a text of at most {LONGEST_TITLE} characters"


def _is_title(title: Any) -> bool:
    return title is None or (isinstance(title, str) and len(title) <= LONGEST_TITLE and "\0" not in title)
