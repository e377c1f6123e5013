"""Cursors as subscribers send them: the codec is the SDK's, what is wrong with one is said as of any argument."""

from blockyard import cursors

from services.common.errors import InvalidArgument, Violation

encode_cursor = cursors.encode_cursor


class CursorInvalid(InvalidArgument):
    """The cursor is none that an answer gave. Subscribe without one to begin now."""


def decode_cursor(text: str) -> dict[int, int]:
    """Feed sequence by partition; raises CursorInvalid."""
    try:
        return cursors.decode_cursor(text)
    except ValueError as error:
        raise CursorInvalid(violations=[Violation("cursor", str(error))]) from error
