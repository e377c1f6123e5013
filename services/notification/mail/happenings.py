"""What mails tell of: which events and notices, and what of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.event.v1.event_pb2 import Event, EventBatch, EventKind
from blockyard.event.v1.notice_pb2 import Notice, NoticeKind

from services.notification.mail.kinds import MailKind

LONGEST_TEXT = 1_000
"""Characters of a message or detail that are kept; a mail is no log."""
MOST_DETAILS = 20

OF_NOTICES: Mapping[str, MailKind] = {
    "LOW_BALANCE": MailKind.LOW_BALANCE,
    "CREDENTIAL_REVOKED": MailKind.CREDENTIAL_REVOKED,
    "WEBHOOK_DISABLED": MailKind.WEBHOOK_DISABLED,
    "SCHEDULE_PAUSED": MailKind.SCHEDULE_PAUSED,
    "SUBMISSION_REVIEWED": MailKind.SUBMISSION_REVIEWED,
}
"""By the name of a notice's kind. Of others there are no mails."""

_ENDS = {
    EventKind.EVENT_KIND_EXECUTION_COMPLETED: MailKind.EXECUTION_FINISHED,
    EventKind.EVENT_KIND_EXECUTION_FAILED: MailKind.EXECUTION_FAILED,
}


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that its user may want to be told."""

    user_id: str
    key: str
    """The same whenever the same is told again."""
    kind: MailKind
    time: datetime
    graph_id: str
    """Empty if it is about no graph."""
    details: Mapping[str, str]
    """What a mail says of it, by name."""


def of_batch(batch: EventBatch) -> Iterator[Happening]:
    """What users are told of a turn.

    Ends of executions that another one waits for are that one's business, and whoever has run a single block has its
    answer; but a person who is waited for must know, wherever it is.
    """
    top = bool(batch.graph_id) and not batch.parent_execution_id
    for event in batch.events:
        if event.waits_for_person:
            yield _happening(batch, event, MailKind.WAITING_FOR_YOU)
        elif top and (kind := _ENDS.get(event.kind)) is not None:
            yield _happening(batch, event, kind)


def _happening(batch: EventBatch, event: Event, kind: MailKind) -> Happening:
    details = {
        "execution_id": batch.execution_id,
        "node_id": event.node_id,
        "node_execution": str(event.node_execution or ""),
        "message": event.message,
        "reason": NodeErrorReason.Name(event.reason).removeprefix("NODE_ERROR_REASON_") if event.reason else "",
        "ambiguous": "yes" if event.kind == EventKind.EVENT_KIND_NODE_AMBIGUOUS else "",
    }
    return Happening(
        batch.user_id,
        f"{batch.execution_id}:{event.sequence}",
        kind,
        event.time.ToDatetime(UTC),
        batch.graph_id,
        _kept(details),
    )


def of_notice(notice: Notice) -> Happening | None:
    """What a user is told of a notice; None of kinds that are not known here."""
    if notice.kind not in NoticeKind.values():
        return None
    kind = OF_NOTICES.get(NoticeKind.Name(notice.kind).removeprefix("NOTICE_KIND_"))
    if kind is None:
        return None
    time = notice.time.ToDatetime(UTC)
    return Happening(notice.user_id, f"notice:{notice.id}", kind, time, "", _kept(notice.details))


def _kept(details: Mapping[str, str]) -> dict[str, str]:
    """Without what is empty, and without NUL, which PostgreSQL cannot hold."""
    chosen = sorted(details.items())[:MOST_DETAILS]
    return {_text(name): _text(text) for name, text in chosen if text}


def _text(text: str) -> str:
    text = text.replace("\0", "\ufffd")
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
