"""The services in memory that the commands talk to."""

from collections.abc import Iterator

import pytest

from tests.unit.client.memory_services import TOKEN, Script, events_of_a_run, serve


@pytest.fixture
def offices(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    """Services in memory, found by the environment."""
    script = Script(events=events_of_a_run(1))
    with serve(script) as address:
        monkeypatch.setenv("BLOCKYARD_ADDRESS", address)
        monkeypatch.setenv("BLOCKYARD_TOKEN", TOKEN)
        yield script
