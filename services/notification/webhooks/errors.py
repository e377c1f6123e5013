"""Why a call about webhooks is refused."""

from blockyard.common.v1 import errors_pb2

from services.common.errors import Aborted, FailedPrecondition, NotFound, ResourceExhausted


class WebhookNotFound(NotFound):
    """There is no such webhook, or it belongs to somebody else."""

    reason = errors_pb2.ERROR_REASON_WEBHOOK_NOT_FOUND


class DeliveryNotFound(NotFound):
    """The webhook has no such delivery, or none any more."""

    reason = errors_pb2.ERROR_REASON_WEBHOOK_DELIVERY_NOT_FOUND


class DeliveryDone(FailedPrecondition):
    """The delivery has succeeded, and its content is not kept. A replay sends the event again."""


class TooManyWebhooks(ResourceExhausted):
    """You have as many webhooks as are allowed. Delete some."""

    reason = errors_pb2.ERROR_REASON_LIMIT_REACHED


class WebhookConflict(Aborted):
    """The webhook is being changed by others all the time. Try again."""


class SecretLost(FailedPrecondition):
    """The operator has taken away the key that the webhook's secret was made from. Rotate the secret."""
