"""What an owner may say of a webhook: where it leads, and which events it is sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from blockyard.egress import EgressPolicy, EgressRefused
from blockyard.egress.targets import parse_target
from blockyard.notification.v1 import webhook_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import InvalidArgument, Violation
from services.notification.asking import doubts
from services.notification.webhooks.records import Content, Filter, State

LONGEST_URL = 2_000
LONGEST_DESCRIPTION = 1_000
MOST_IDS = 100
CHANGEABLE = ("url", "description", "filter", "state")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator allows."""

    policy: EgressPolicy
    http_allowed: bool

    def content(self, message: webhook_pb2.Webhook, names: Sequence[str]) -> Content:
        """What is said by the fields that are named; raises InvalidArgument with all that is wrong with them."""
        violations: list[Violation] = []
        if "url" in names:
            violations += self._url(message.url)
        if "description" in names and len(message.description) > LONGEST_DESCRIPTION:
            violations.append(Violation("description", f"at most {LONGEST_DESCRIPTION} characters are taken"))
        if "filter" in names:
            violations += doubts(message.filter, MOST_IDS)
        if "state" in names and message.state not in webhook_pb2.WebhookState.values():
            violations.append(Violation("state", f"there is no state {message.state}"))
        if violations:
            raise InvalidArgument("The webhook is not valid.", violations=violations)
        filter = Filter(
            tuple(message.filter.graph_ids), tuple(message.filter.execution_ids), tuple(message.filter.kinds)
        )
        return Content(message.url, message.description, filter, State(message.state or State.ACTIVE))

    def _url(self, url: str) -> list[Violation]:
        if not url:
            return [Violation("url", "is required: where events are sent, such as https://example.com/events")]
        if len(url) > LONGEST_URL:
            return [Violation("url", f"at most {LONGEST_URL} characters are taken, got {len(url)}")]
        try:
            target = parse_target(url)
            self.policy.check(target)
        except EgressRefused as error:
            return [Violation("url", str(error))]
        if "#" in url:
            return [Violation("url", "has a fragment (#), which is never sent: leave it out")]
        if target.url.scheme != "https" and not self.http_allowed:
            return [Violation("url", "expected https: what is sent in the open can be read and changed on its way")]
        return []


def moment(field: str, time: Timestamp) -> datetime:
    """The time in a field of a request."""
    try:
        return time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(violations=[Violation(field, "expected a time between the years 1 and 9999")]) from None
