"""NATS as the services use it: streams with acks in bulk, consumers that survive restarts, plain subjects.

`async with connect(url, name) as bus:` gives a connection that is never given up.
"""

from services.starting import without

# nats-py would speak WebSocket with it: a quarter of all that a service imports, by time.
with without("aiohttp"):
    from services.common.bus.connection import INBOXES, Bus, Subscription, connect
    from services.common.bus.errors import (
        BusError,
        ConsumerMissing,
        JetStreamRefused,
        NoResponders,
        NotConnected,
        RequestTimeout,
        StreamMissing,
    )
    from services.common.bus.jetstream import EVENTS, NOTICES, NOTICES_CONFIGURATION, RESULTS, TASKS, StreamLimits
    from services.common.bus.messages import (
        Ack,
        ConsumerInfo,
        Delivery,
        Message,
        PublishRefused,
        Refusal,
        StreamInfo,
    )
    from services.common.bus.pull import PullConsumer
    from services.common.bus.push import PushConsumer

__all__ = [
    "EVENTS",
    "INBOXES",
    "NOTICES",
    "NOTICES_CONFIGURATION",
    "RESULTS",
    "TASKS",
    "Ack",
    "Bus",
    "BusError",
    "ConsumerInfo",
    "ConsumerMissing",
    "Delivery",
    "JetStreamRefused",
    "Message",
    "NoResponders",
    "NotConnected",
    "PublishRefused",
    "PullConsumer",
    "PushConsumer",
    "Refusal",
    "RequestTimeout",
    "StreamInfo",
    "StreamLimits",
    "StreamMissing",
    "Subscription",
    "connect",
]
