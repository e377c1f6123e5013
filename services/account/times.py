"""Times in requests."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import InvalidArgument, Violation


def moment(field: str, time: Timestamp) -> datetime:
    """The time in a field of a request."""
    try:
        return time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(violations=[Violation(field, "expected a time between the years 1 and 9999")]) from None
