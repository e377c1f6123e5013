"""What a run was given on secret pins is kept out of the message that tells why it failed.

Authors and libraries put inputs into their errors, and errors go into events, rows and logs.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from blockyard.block import BlockInputError
from blockyard.block.dynamic_pins import base_pin

from services.runner.inputs import decode_inputs
from services.runner.redaction import Redaction
from services.runner.runs import Run

SHORTEST = 4
"""Shorter text is in many a message by chance, and to take it out would tell more than it hides."""
MOST_TEXTS = 1_000
"""Texts that are looked for, on the event loop that all runs share."""
TOO_MANY = f"why is not told: its secret inputs hold more than {MOST_TEXTS:,} texts, which the message might repeat"


def without_secrets(run: Run, text: str) -> str:
    """The text with `***` in the place of every secret that the run was given."""
    if run.leased is not None:
        text = run.leased.redaction.text(text)
    names = run.block.input_schema.secret_fields()
    if not names or not text:
        return text
    try:
        inputs = decode_inputs(run.task.inputs)
    except BlockInputError:
        # Whatever it is, no block has seen it.
        return text
    return without(text, [value for pin, value in inputs.items() if base_pin(pin) in names])


def without(text: str, values: Sequence[Any]) -> str:
    """The text with `***` in the place of all texts in these JSON values."""
    texts = {one for value in values for one in _texts(value) if len(one) >= SHORTEST}
    if len(texts) > MOST_TEXTS:
        return TOO_MANY
    return Redaction(texts, SHORTEST, most=len(text) + 1).text(text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
