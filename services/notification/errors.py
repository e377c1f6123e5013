"""What a subscriber may be told besides the common errors."""

from blockyard.common.v1 import errors_pb2

from services.common.errors import OutOfRange, ResourceExhausted, Unavailable


class CursorExpired(OutOfRange):
    """Something of what came after the cursor is not kept any more. List executions for what they did, and subscribe
    without a cursor."""

    reason = errors_pb2.ERROR_REASON_CURSOR_EXPIRED


class CursorAhead(OutOfRange):
    """The cursor is ahead of what there is: it is of another installation, or the database was restored. Subscribe
    without a cursor."""

    reason = errors_pb2.ERROR_REASON_CURSOR_AHEAD


class SubscriberTooSlow(ResourceExhausted):
    """Events come faster than they are read, so this subscription ends. Subscribe again with the last cursor."""

    reason = errors_pb2.ERROR_REASON_SUBSCRIBER_TOO_SLOW
    retry_after = 1.0


class TooManySubscriptions(ResourceExhausted):
    """The user has as many subscriptions open as one may have. End some of them."""

    reason = errors_pb2.ERROR_REASON_TOO_MANY_SUBSCRIPTIONS


class TooManyConnections(Unavailable):
    """This replica has as many connections open as it takes. Try again: another one may have room."""

    retry_after = 5.0
