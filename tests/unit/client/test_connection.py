"""Finding Blockyard: arguments, then the environment, then the stack on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import blockyard
import pytest
from blockyard import sync
from blockyard.client import Client
from blockyard.connection import Connection, find_connection, find_nats_url
from blockyard.errors import NotConfigured


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ADDRESS", "GRAPH_ADDRESS", "EXECUTION_ADDRESS", "CREDENTIALS_ADDRESS", "ACCOUNT_ADDRESS", "TOKEN"):
        monkeypatch.delenv("BLOCKYARD_NOTIFICATION_ADDRESS", raising=False)
        monkeypatch.delenv(f"BLOCKYARD_{name}", raising=False)
    monkeypatch.setenv("BLOCKYARD_HOME", str(tmp_path))


def write_state(home: Path, pid: int, **more: str) -> None:
    folder = home / "dev"
    folder.mkdir()
    (folder / "token").write_text("stack-token\n")
    addresses = {"graph": "127.0.0.1:1", "execution": "127.0.0.1:2", "runner-1": "127.0.0.1:3"} | more
    state = {"format": 1, "pid": pid, "addresses": addresses, "token_path": str(folder / "token")}
    (folder / "state.json").write_text(json.dumps(state))


def test_arguments_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKYARD_ADDRESS", "elsewhere:1")
    monkeypatch.setenv("BLOCKYARD_TOKEN", "another")
    assert find_connection("here:1", "mine") == Connection(
        "here:1", "here:1", "mine", "here:1", "here:1", notification_address="here:1"
    )


def test_services_can_have_addresses_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKYARD_GRAPH_ADDRESS", "graph:1")
    monkeypatch.setenv("BLOCKYARD_EXECUTION_ADDRESS", "execution:1")
    monkeypatch.setenv("BLOCKYARD_TOKEN", "mine")
    assert find_connection() == Connection("graph:1", "execution:1", "mine")
    monkeypatch.setenv("BLOCKYARD_CREDENTIALS_ADDRESS", "vault:1")
    monkeypatch.setenv("BLOCKYARD_ACCOUNT_ADDRESS", "account:1")
    assert find_connection() == Connection("graph:1", "execution:1", "mine", "vault:1", "account:1")


def test_the_stack_on_this_machine_is_found(tmp_path: Path) -> None:
    write_state(tmp_path, os.getpid())
    assert find_connection() == Connection("127.0.0.1:1", "127.0.0.1:2", "stack-token")


@pytest.mark.parametrize("kind", [Path, str])
def test_the_stack_of_another_home_is_found(tmp_path: Path, kind: Callable[[Path], Path | str]) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_state(other, os.getpid())
    assert find_connection(home=kind(other)) == Connection("127.0.0.1:1", "127.0.0.1:2", "stack-token")
    for connect in (blockyard.connect, sync.connect):
        connect(home=kind(other))  # raises NotConfigured when it finds nothing
    with pytest.raises(NotConfigured):
        blockyard.connect()


def test_the_stacks_vault_and_account_service_are_found(tmp_path: Path) -> None:
    write_state(tmp_path, os.getpid(), credentials="127.0.0.1:4", account="127.0.0.1:5", notification="127.0.0.1:6")
    found = find_connection()
    assert (found.credentials_address, found.account_address) == ("127.0.0.1:4", "127.0.0.1:5")
    assert found.notification_address == "127.0.0.1:6"


def test_another_token_can_be_used_with_the_stack(tmp_path: Path) -> None:
    write_state(tmp_path, os.getpid())
    assert find_connection(token="viewer").token == "viewer"


def test_the_stacks_token_is_not_sent_elsewhere(tmp_path: Path) -> None:
    write_state(tmp_path, os.getpid())
    with pytest.raises(NotConfigured, match="no token for example:443"):
        find_connection("example:443")


@pytest.mark.parametrize("name", ["CREDENTIALS", "ACCOUNT", "NOTIFICATION"])
def test_the_stacks_token_is_not_sent_to_another_vault_or_account_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_state(tmp_path, os.getpid())
    monkeypatch.setenv("BLOCKYARD_GRAPH_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("BLOCKYARD_EXECUTION_ADDRESS", "127.0.0.1:2")
    assert find_connection().token == "stack-token"
    monkeypatch.setenv(f"BLOCKYARD_{name}_ADDRESS", "evil.example:443")
    with pytest.raises(NotConfigured, match="no token"):
        find_connection()


async def test_a_service_whose_address_is_not_known_is_said_when_it_is_called() -> None:
    async with Client(Connection("a:1", "a:1", "mine")) as client:
        with pytest.raises(NotConfigured, match="BLOCKYARD_CREDENTIALS_ADDRESS"):
            _ = client.credentials
        with pytest.raises(NotConfigured, match="BLOCKYARD_ACCOUNT_ADDRESS"):
            _ = client.users
        with pytest.raises(NotConfigured, match="BLOCKYARD_NOTIFICATION_ADDRESS"):
            client.events()


def test_a_stack_that_was_killed_is_none(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_state(tmp_path, ended.pid)
    with pytest.raises(NotConfigured, match="blockyard dev"):
        find_connection()


def test_without_anything_it_says_what_to_do() -> None:
    with pytest.raises(NotConfigured, match="start one with `blockyard dev`, or set BLOCKYARD_ADDRESS"):
        find_connection()


def test_a_broken_state_is_said(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "state.json").write_text("{")
    with pytest.raises(NotConfigured, match="cannot be used"):
        find_connection()


def test_where_programs_subscribe_on_nats_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BLOCKYARD_NATS_URL", raising=False)
    with pytest.raises(NotConfigured, match="set BLOCKYARD_NATS_URL"):
        find_nats_url()
    write_state(tmp_path, os.getpid())
    state = json.loads((tmp_path / "dev" / "state.json").read_text())
    (tmp_path / "dev" / "state.json").write_text(json.dumps({**state, "subscriber_url": "nats://stack:1"}))
    assert find_nats_url() == "nats://stack:1"
    monkeypatch.setenv("BLOCKYARD_NATS_URL", "nats://mine:1")
    assert find_nats_url() == "nats://mine:1"


def test_the_token_is_not_shown() -> None:
    assert "secret" not in repr(Connection("a:1", "a:1", "secret"))
