"""`blockyard events follow`: what all executions do, line by line."""

import json

import grpc
from blockyard.cli.application import application
from click.testing import CliRunner, Result

from tests.unit.client.memory_notifications import Told, told
from tests.unit.client.memory_services import EXECUTION_ID, Script, events_of_a_run, status

RUN = events_of_a_run(1)
ENDED = status(grpc.StatusCode.OUT_OF_RANGE, "The cursor is too old.")


def follow(*arguments: str) -> Result:
    return CliRunner().invoke(application, ["events", "follow", *arguments])


def test_events_of_all_executions_come_with_their_cursor(offices: Script) -> None:
    offices.notifications.connections = [Told([told("one", RUN[:2], "c1"), told("two", RUN[:1], "c2")], ENDED)]

    done = follow("--json", "--graph", "g", "--kind", "node_queued", "--kind", "EXECUTION_STARTED", "--after", "c0")

    assert (done.exit_code, done.stderr) == (1, "Error: The cursor is too old.\n")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["execution_id"], line["sequence"], line["cursor"]) for line in lines] == [
        ("one", 1, "c0"),
        ("one", 2, "c1"),
        ("two", 1, "c2"),
    ]
    (request,) = offices.notifications.requests
    assert (request.cursor, list(request.filter.graph_ids)) == ("c0", ["g"])
    assert list(request.filter.kinds) == [7, 1]


def test_a_line_says_which_execution_it_is_of(offices: Script) -> None:
    offices.notifications.connections = [Told([told("one", RUN[:1])], ENDED)]

    done = follow("--execution", "one", "--execution", "two")

    assert done.stdout.startswith("one       1")
    assert "execution_started" in done.stdout


def test_one_execution_alone_is_followed_to_its_end(offices: Script) -> None:
    done = follow("--execution", EXECUTION_ID, "--after", "2", "--json")

    assert done.exit_code == 0, done.output
    assert [json.loads(line)["cursor"] for line in done.stdout.splitlines()] == [3, 4]


def test_a_kind_that_there_is_not_is_said_with_those_that_there_are(offices: Script) -> None:
    done = follow("--kind", "node_ended")

    assert done.exit_code == 2
    assert "node_completed" in done.stderr
