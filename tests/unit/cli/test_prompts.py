"""What commands ask on a terminal."""

import os
import signal
import subprocess
import sys

import pytest
from blockyard.credentials.v1 import credential_pb2
from blockyard.graph.v1 import graph_pb2

from tests.unit.client.memory_accounts import CREDENTIAL_ID
from tests.unit.client.memory_services import Script

START = "from blockyard.cli import main; main()"


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (("credentials", "add", "github", "--title", "work"), b"API key"),
        (("credentials", "update", CREDENTIAL_ID, "--secret"), b"API key"),
        (("graphs", "delete", "g1"), b"Delete graph"),
    ],
    ids=["add", "update", "delete"],
)
def test_a_question_ends_at_the_first_interrupt(offices: Script, arguments: tuple[str, ...], question: bytes) -> None:
    offices.graphs["g1"] = graph_pb2.Graph(id="g1", name="old")
    offices.office.credentials[CREDENTIAL_ID] = credential_pb2.Credential(
        id=CREDENTIAL_ID, provider="github", type=credential_pb2.CREDENTIAL_TYPE_API_KEY
    )
    leader, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", START, *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    try:
        shown = b""
        while question not in shown:
            shown += os.read(leader, 1024)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
        os.close(leader)
    assert not {"CreateCredential", "UpdateCredential", "DeleteGraph"} & set(offices.calls)
