"""What the processes of a laptop stack are told of the vault's keys: the vault where they are, the others nothing."""

from pathlib import Path

import pytest
from blockyard.dev.home import StackFolder
from blockyard.dev.nats import NatsServer
from blockyard.dev.services import SECRETS_OF_VAULT, Surroundings
from blockyard.dev.tokens import StackSecrets

OTHERS = ["graph", "execution", "account", "runner", "migrate"]


@pytest.fixture
def surroundings(tmp_path: Path) -> Surroundings:
    return Surroundings(
        folder=StackFolder(tmp_path),
        secrets=StackSecrets("u" * 32, "s" * 32, "r" * 32),
        nats=NatsServer(tmp_path / "nats", 4222, tmp_path / "log", {}),
        graph_address="127.0.0.1:1",
        overrides=dict.fromkeys(SECRETS_OF_VAULT, "overridden secret"),
    )


def test_the_vault_finds_its_keys_in_the_folder_of_the_stack(surroundings: Surroundings, tmp_path: Path) -> None:
    environment = surroundings.environment("credentials")

    assert environment["BLOCKYARD_VAULT_KEYS_URL"] == (tmp_path / "keys").as_uri()
    assert {environment[name] for name in SECRETS_OF_VAULT} == {"overridden secret"}


@pytest.mark.parametrize("module", OTHERS)
def test_no_other_process_is_told_what_is_the_vaults(
    surroundings: Surroundings, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRETS_OF_VAULT:
        monkeypatch.setenv(name, "the caller's secret")

    environment = surroundings.environment(module)

    assert not SECRETS_OF_VAULT & environment.keys()
    assert "BLOCKYARD_VAULT_KEYS_URL" not in environment
