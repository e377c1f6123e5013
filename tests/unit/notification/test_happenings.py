"""What of turns and notices a mail may tell."""

from blockyard.event.v1.event_pb2 import Event, EventBatch, EventKind
from blockyard.event.v1.notice_pb2 import Notice, NoticeKind

from services.notification.mail.happenings import LONGEST_TEXT, OF_NOTICES, of_batch, of_notice
from services.notification.mail.kinds import MailKind

OTHERS = [EventKind.ValueType(kind) for kind in (1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13)]
END = Event(sequence=9, kind=EventKind.EVENT_KIND_EXECUTION_FAILED, message="no\0luck" + "!" * 2_000)


def batch(*events: Event, graph_id: str = "g", parent: str = "") -> EventBatch:
    return EventBatch(execution_id="e", graph_id=graph_id, user_id="ann", parent_execution_id=parent, events=events)


def test_ends_and_people_who_are_waited_for_are_told_and_nothing_else() -> None:
    done = Event(sequence=7, kind=EventKind.EVENT_KIND_EXECUTION_COMPLETED)
    approval = Event(sequence=3, kind=EventKind.EVENT_KIND_NODE_WAITING, node_id="review", waits_for_person=True)
    child = Event(sequence=4, kind=EventKind.EVENT_KIND_NODE_WAITING, node_id="agent")
    others = [Event(sequence=10 + kind, kind=kind) for kind in OTHERS]

    told = list(of_batch(batch(approval, child, *others, done, END)))

    assert [(one.kind, one.key, one.user_id, one.graph_id) for one in told] == [
        (MailKind.WAITING_FOR_YOU, "e:3", "ann", "g"),
        (MailKind.EXECUTION_FINISHED, "e:7", "ann", "g"),
        (MailKind.EXECUTION_FAILED, "e:9", "ann", "g"),
    ]
    assert told[0].details == {"execution_id": "e", "node_id": "review"}
    assert told[2].details["message"].startswith("no\ufffdluck!!!")
    assert len(told[2].details["message"]) == LONGEST_TEXT


def test_ends_of_children_and_of_single_blocks_are_told_to_nobody_else() -> None:
    asked = Event(sequence=3, kind=EventKind.EVENT_KIND_NODE_AMBIGUOUS, waits_for_person=True)

    assert [one.kind for one in of_batch(batch(END, asked, parent="p"))] == [MailKind.WAITING_FOR_YOU]
    assert list(of_batch(batch(END, graph_id=""))) == []


def test_notices_of_known_kinds_are_told() -> None:
    notice = Notice(
        id="n", user_id="ann", kind=NoticeKind.NOTICE_KIND_LOW_BALANCE, details={"balance": "3", "none": ""}
    )
    told = of_notice(notice)

    assert told is not None
    assert (told.kind, told.key, told.details) == (MailKind.LOW_BALANCE, "notice:n", {"balance": "3"})
    assert of_notice(Notice(id="n", kind=999)) is None  # type: ignore[arg-type]
    assert of_notice(Notice(id="n")) is None


def test_each_notice_has_its_kind_of_mail() -> None:
    names = {name.removeprefix("NOTICE_KIND_") for name in NoticeKind.keys()}  # noqa: SIM118 - no mapping
    assert names - {"UNSPECIFIED"} <= OF_NOTICES.keys(), "a new kind of notice: say which mail tells of it"
