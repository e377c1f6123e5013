"""A durable subscriber on NATS, for programs in the cluster: all events of a user's executions, in order, without gaps.

    subscriber = Subscriber(client, find_nats_url(), "anna", FileCheckpoint("events.json"))
    await subscriber.run(handle)  # until it is cancelled, or `handle` raises

docs/events.md has what it relies on, and which rights it needs on NATS.
"""

from blockyard.connection import find_nats_url
from blockyard.subscriber.checkpoints import Checkpoint, CheckpointInvalid, Checkpoints, FileCheckpoint
from blockyard.subscriber.subscriber import Subscriber

__all__ = ["Checkpoint", "CheckpointInvalid", "Checkpoints", "FileCheckpoint", "Subscriber", "find_nats_url"]
