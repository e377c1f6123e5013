"""What the demo prints of its result."""

from datetime import UTC, datetime, timedelta

from blockyard.cli.demo import Point, show_results
from blockyard.cli.output import Output
from blockyard.client import Execution, ExecutionStatus
from rich.console import Console

from tests.e2e import airports_in_python as plain


def execution() -> Execution:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    return Execution(
        id="0190",
        graph_id="graph",
        graph_version=1,
        status=ExecutionStatus.COMPLETED,
        status_message="",
        inputs={},
        labels={},
        priority=0,
        created=began,
        started=began,
        ended=began + timedelta(seconds=4),
        node_executions=20_267,
        last_event_sequence=81_058,
    )


def test_the_demo_prints_a_row_a_state_and_the_five_nearest() -> None:
    point = Point(39.7392, -104.9903, 2500.0)
    found = plain.airports(point.latitude, point.longitude, point.radius_km)
    output = Output()
    output.console = Console(width=60, force_terminal=True, color_system=None)

    with output.console.capture() as captured:
        results = {"states": [plain.states(found)], "nearest": [plain.nearest(found)]}
        show_results(output, execution(), results, point)

    text = captured.get()
    assert "Airports within 2,500 km of 39.7392, -104.9903" in text
    assert all(f"\n{state['key']} " in text for state in plain.states(found))
    assert "Jeffco (BJC), DENVER" in text
    assert "completed  2,789 airports, 20,267 node executions in 4.0 s, 5,067 a second" in text
    assert max(map(len, text.splitlines()[2:-1])) <= 60


def test_a_point_without_airports_is_no_error() -> None:
    output = Output()
    output.console = Console(width=60, force_terminal=True, color_system=None)
    with output.console.capture() as captured:
        show_results(output, execution(), {"states": [[]], "nearest": [[]]}, Point(0, 0, 1))
    assert captured.get().count("None.") == 2
