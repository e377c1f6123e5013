"""What can be measured of webhooks."""

from prometheus_client import Counter, Histogram

from services.notification.webhooks.sending import Sent

ATTEMPTS = Counter(
    "blockyard_webhook_attempts",
    "Attempts to deliver an event to a webhook, by what came of them: delivered, refused (a status), unanswered",
    ["outcome"],
)
SECONDS = Histogram(
    "blockyard_webhook_attempt_seconds",
    "How long attempts took",
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
QUEUED = Counter("blockyard_webhook_deliveries_queued", "Events put into queues of webhooks")
GIVEN_UP = Counter("blockyard_webhook_deliveries_given_up", "Deliveries of which all attempts failed")
DISABLED = Counter("blockyard_webhooks_disabled", "Webhooks that were disabled by themselves, by reason", ["reason"])


def observe(sent: Sent) -> None:
    """Counts an attempt."""
    outcome = "delivered" if sent.succeeded else "refused" if sent.attempt.status else "unanswered"
    ATTEMPTS.labels(outcome).inc()
    SECONDS.observe(sent.attempt.milliseconds / 1000)
