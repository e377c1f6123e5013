"""Which fields an update changes: one rule for every method of that kind (AIP-134).

Those that its mask names; without a mask, or with an empty one, those that the request sets; `*` is all of them. So
nothing is emptied that nobody spoke of: whoever empties a field names it. A message that is there and empty counts as
not set, as an empty text or list does: of a filter it would mean everything.
"""

from collections.abc import Mapping, Sequence

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from services.common.errors import InvalidArgument, Violation

ALL = "*"


def changed_fields(
    mask: FieldMask, given: Message, changeable: Sequence[str], aliases: Mapping[str, str] | None = None
) -> list[str]:
    """The names that are changed, each once. `aliases` leads other names that clients may write to those."""
    aliases = aliases or {}
    if list(mask.paths) == [ALL]:
        return list(changeable)
    if not mask.paths:
        present = {aliases.get(field.name, field.name) for field, value in given.ListFields() if not _is_empty(value)}
        return [name for name in changeable if name in present]
    names = dict.fromkeys(aliases.get(path, path) for path in mask.paths)
    unknown = [name for name in names if name not in changeable]
    if unknown:
        problem = f"expected {', '.join(changeable)}, or {ALL} for all of them, got {', '.join(unknown)[:200]}"
        raise InvalidArgument(violations=[Violation("update_mask", problem)])
    return list(names)


def _is_empty(value: object) -> bool:
    return isinstance(value, Message) and not value.ByteSize()
