"""What events come to, and how it is drawn in little room."""

from blockyard.cli.following import _View, summary
from blockyard.cli.output import Output, duration, jsonable, short
from blockyard.cli.progress import Progress
from blockyard.client import ExecutionStatus
from blockyard.event.v1 import event_pb2
from blockyard.events import Event, EventKind
from rich.console import Console


def event(kind: EventKind, sequence: int, node_id: str = "", attempt: int = 1, message: str = "") -> Event:
    number = event_pb2.EventKind.ValueType(kind.value)
    proto = event_pb2.Event(sequence=sequence, kind=number, node_id=node_id, attempt=attempt, message=message)
    return Event.from_proto("execution", proto)


def test_counts_follow_the_events() -> None:
    progress = Progress()
    for sequence, (kind, node, attempt) in enumerate(
        [
            (EventKind.EXECUTION_STARTED, "", 0),
            (EventKind.NODE_QUEUED, "a", 1),
            (EventKind.NODE_QUEUED, "a", 1),
            (EventKind.NODE_COMPLETED, "a", 1),
            (EventKind.NODE_QUEUED, "b", 1),
            (EventKind.NODE_RETRYING, "b", 1),
            (EventKind.NODE_QUEUED, "b", 2),
            (EventKind.NODE_FAILED, "b", 2),
        ],
        start=1,
    ):
        progress.apply(event(kind, sequence, node, attempt))

    assert (progress.status, progress.sequence) == ("RUNNING", 8)
    assert (progress.completed, progress.failed, progress.alive) == (1, 1, 1)
    assert (progress.nodes["b"].retries, progress.nodes["b"].alive) == (1, 0)
    assert summary(progress, 1.25) == "1 node execution completed, 1 failed, 1 under way, 1.2 s"


def test_what_the_end_cancelled_has_not_failed() -> None:
    progress = Progress()
    progress.apply(event(EventKind.NODE_QUEUED, 1, "a"))
    progress.apply(event(EventKind.NODE_CANCELLED, 2, "a"))
    assert (progress.failed, progress.cancelled, progress.alive) == (0, 1, 0)
    assert summary(progress, 1) == "0 node executions completed, 1 cancelled, 1.0 s"


def test_the_end_is_the_status() -> None:
    progress = Progress()
    progress.apply(event(EventKind.EXECUTION_FAILED, 1, message="no voice"))
    assert (progress.status, progress.message) == ("FAILED", "no voice")


def test_the_live_view_fits_a_narrow_and_low_terminal() -> None:
    progress = Progress()
    for number in range(30):
        progress.apply(event(EventKind.NODE_QUEUED, number + 1, f"a_node_with_a_very_long_name_{number}"))
    console = Console(width=30, height=10, force_terminal=True, file=None, color_system=None)
    with console.capture() as captured:
        console.print(_View(console, progress, {}).render())
    lines = captured.get().rstrip("\n").split("\n")
    assert len(lines) <= 9
    assert max(map(len, lines)) <= 30
    assert "a_node_with_a_very_l" in lines[-1]


def test_durations_are_for_people() -> None:
    assert [duration(s) for s in (0.0123, 4.21, 192, 7500)] == ["12 ms", "4.2 s", "3 min 12 s", "2 h 5 min"]


def test_values_are_cut_on_one_line() -> None:
    assert short({"a": "ü\n"}) == '{"a": "ü\\n"}'
    assert short("x" * 300, 10) == "xxxxxxxxx…"


def test_json_has_names_for_enums_and_text_for_what_json_lacks() -> None:
    value = {"status": ExecutionStatus.FAILED, "numbers": (1, float("nan"), float("-inf"), 2**63)}
    assert jsonable(value) == {"status": "FAILED", "numbers": [1, "NaN", "-Infinity", 2**63]}


def test_a_table_leaves_columns_out_rather_than_cutting_the_id() -> None:
    output = Output()
    output.console = Console(width=44, force_terminal=True, color_system=None)
    row = ["01987654-3210-7000-8000-000000000001", "COMPLETED", "2026-11-21 10:00:00", "4.2 s"]
    with output.console.capture() as captured:
        output.table(["ID", "STATUS", "STARTED", "TOOK"], [row])
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 44
    assert lines[-1].strip() == row[0]

    output.console = Console(width=80, force_terminal=True, color_system=None)
    with output.console.capture() as captured:
        output.table(["ID", "STATUS", "STARTED", "TOOK"], [row])
    assert captured.get().splitlines()[-1].split()[:2] == row[:2]
