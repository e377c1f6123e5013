"""The messages of webhooks, from their values."""

from datetime import datetime, timedelta

from blockyard.event.v1.event_pb2 import EventKind
from blockyard.notification.v1 import webhook_pb2 as pb

from services.notification.webhooks.records import Attempt, Delivery, DeliveryState, Filter, Replay, Webhook


def webhook_message(webhook: Webhook, now: datetime) -> pb.Webhook:
    """A webhook as its owner sees it at this time; never with a secret."""
    content, health, expire_time = webhook.content, webhook.health, webhook.secrets.previous_expire_time
    made = pb.Webhook(
        id=str(webhook.webhook_id),
        url=content.url,
        description=content.description,
        filter=_filter(content.filter),
        state=pb.WebhookState.ValueType(content.state),
        disable_reason=pb.WebhookDisableReason.ValueType(webhook.disable_reason),
        disable_message=webhook.disable_message,
        resume_cursor=webhook.resume_cursor,
        pending_deliveries=health.pending,
    )
    for name, time in (
        ("state_time", webhook.state_time),
        ("previous_secret_expire_time", expire_time if expire_time is not None and expire_time > now else None),
        ("last_success_time", health.last_success_time),
        ("failing_since_time", health.failing_since),
        ("create_time", webhook.create_time),
        ("update_time", webhook.update_time),
    ):
        if time is not None:
            getattr(made, name).FromDatetime(time)
    if webhook.replay is not None:
        made.replay.CopyFrom(_replay(webhook.replay))
    return made


def delivery_message(delivery: Delivery) -> pb.WebhookDelivery:
    """A delivery with its attempts."""
    made = pb.WebhookDelivery(
        id=str(delivery.delivery_id),
        webhook_id=str(delivery.webhook_id),
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        state=pb.WebhookDeliveryState.ValueType(delivery.state),
        attempts=map(attempt_message, delivery.attempts),
    )
    made.create_time.FromDatetime(delivery.create_time)
    if delivery.state is DeliveryState.PENDING:
        made.next_attempt_time.FromDatetime(delivery.due_time)
    return made


def attempt_message(attempt: Attempt) -> pb.WebhookAttempt:
    """An attempt."""
    made = pb.WebhookAttempt(
        number=attempt.number, status=attempt.status, error=attempt.error, response=attempt.response
    )
    made.time.FromDatetime(attempt.time)
    made.duration.FromTimedelta(timedelta(milliseconds=attempt.milliseconds))
    return made


def _filter(filter: Filter) -> pb.WebhookFilter:
    kinds = [EventKind.ValueType(kind) for kind in filter.kinds]
    return pb.WebhookFilter(graph_ids=filter.graph_ids, execution_ids=filter.execution_ids, kinds=kinds)


def _replay(replay: Replay) -> pb.WebhookReplay:
    state = pb.WEBHOOK_REPLAY_STATE_DONE if replay.done else pb.WEBHOOK_REPLAY_STATE_RUNNING
    made = pb.WebhookReplay(state=state, queued_deliveries=replay.queued, message=replay.message)
    made.create_time.FromDatetime(replay.create_time)
    return made
