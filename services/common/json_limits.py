"""How deep and how large a JSON text is, told without parsing it: a hostile one must cost less to refuse than to read.

Whether it is JSON at all is left to who parses it.
"""

import re

DEEPEST = 64
"""Levels of lists and objects. Services allow less where they know more."""
MOST_KEYS = 250_000
MOST_CONTAINERS = 250_000
"""Lists and objects: an empty one takes two bytes here, and a hundred once it is parsed."""

_STRING = re.compile(rb'"[^"]*"')
_KEPT = b'{}[]:"'
_DROPPED = bytes(byte for byte in range(256) if byte not in _KEPT)
_OPENING = frozenset(b"{[")


def problem(text: bytes) -> str:
    """What is wrong with a JSON text; empty if nothing is."""
    containers = text.count(b"{") + text.count(b"[")
    # Most texts end here: what is counted inside of strings only makes the count too large.
    if containers <= DEEPEST and (len(text) <= MOST_KEYS or text.count(b":") <= MOST_KEYS):
        return ""
    structure = _structure(text)
    keys = structure.count(b":")
    if keys > MOST_KEYS:
        return f"has {keys:,} keys, at most {MOST_KEYS:,} are taken"
    containers = structure.count(b"{") + structure.count(b"[")
    if containers > MOST_CONTAINERS:
        return f"has {containers:,} lists and objects, at most {MOST_CONTAINERS:,} are taken"
    if containers > DEEPEST and _is_too_deep(structure):
        return f"is nested deeper than {DEEPEST} levels"
    return ""


def _structure(text: bytes) -> bytes:
    """Brackets and colons that stand outside of strings."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two quotes in a row end a string and begin the next one, or are an empty one: without them nothing changes sides.
    quoted = text.translate(None, _DROPPED).replace(b'""', b"")
    return _STRING.sub(b"", quoted)


def _is_too_deep(structure: bytes) -> bool:
    level = 0
    for byte in structure.replace(b":", b""):
        level += 1 if byte in _OPENING else -1
        if level > DEEPEST:
            return True
    return False
