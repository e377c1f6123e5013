"""What can go wrong with a call on the bus. Refused publishes are data (messages.py), not errors."""


class BusError(Exception):
    """A call on the bus failed."""


class NotConnected(BusError):
    """NATS is away at the moment."""


class RequestTimeout(BusError):
    """No answer came in time."""


class NoResponders(BusError):
    """Nobody listens to this subject."""


class StreamMissing(BusError):
    """The stream is not there."""


class ConsumerMissing(BusError):
    """The consumer is not there."""


class JetStreamRefused(BusError):
    """JetStream refused a request."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"JetStream refused: {description} ({code})")
        self.code = code
        self.description = description
