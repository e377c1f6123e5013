"""Settings from the environment."""

import pytest

from services.common import config
from services.common.config import DatabaseSettings, ServiceSettings
from tests import signing


class Settings(ServiceSettings, DatabaseSettings):
    """As a service's config.py declares them."""

    lease_seconds: float = 10.0


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for variable, secret in signing.ENVIRONMENT.items():
        monkeypatch.setenv(variable, secret)
    monkeypatch.setenv("BLOCKYARD_DATABASE_URL", "postgresql://graph@localhost/blockyard")
    return monkeypatch


def test_settings_come_from_variables_with_the_prefix(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BLOCKYARD_PORT", "0")
    environment.setenv("BLOCKYARD_LEASE_SECONDS", "2.5")
    environment.setenv("BLOCKYARD_LOG_LEVEL", "debug")

    settings = config.load(Settings)

    assert (settings.port, settings.lease_seconds, settings.log_level) == (0, 2.5, "DEBUG")


def test_an_empty_variable_counts_as_not_set(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BLOCKYARD_PORT", "")

    assert config.load(Settings).port == 50051


@pytest.mark.parametrize("number", ["0", "2", "4", "7"])
def test_streams_are_kept_by_an_odd_number_of_servers(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: str
) -> None:
    environment.setenv("BLOCKYARD_NATS_STREAM_REPLICAS", number)
    with pytest.raises(SystemExit):
        config.load(Settings)
    assert "streams are kept by 1, 3 or 5 servers" in capsys.readouterr().err


def test_everything_wrong_is_said_at_once(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environment.setenv("BLOCKYARD_PORT", "http")
    environment.setenv("BLOCKYARD_JWT_SECRET", "hunter2")
    environment.setenv("BLOCKYARD_LOG_LEVEL", "loud")
    environment.delenv("BLOCKYARD_DATABASE_URL")

    with pytest.raises(SystemExit) as exit_:
        config.load(Settings)

    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert "BLOCKYARD_DATABASE_URL is not set, and there is no default." in said
    assert "BLOCKYARD_PORT: input should be a valid integer" in said
    assert "BLOCKYARD_JWT_SECRET: value should have at least 32 items" in said
    assert "BLOCKYARD_LOG_LEVEL: input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'." in said
    assert "hunter2" not in said


def test_a_value_that_should_be_json_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("BLOCKYARD_JWT_ROLES", "admins: hunter2")

    with pytest.raises(SystemExit) as exit_:
        config.load(Settings)

    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert "BLOCKYARD_JWT_ROLES: is not JSON, such as" in said
    assert "hunter2" not in said


def test_secrets_do_not_print() -> None:
    settings = config.load(Settings)

    assert signing.JWT_SECRET not in repr(settings)
    assert "graph@localhost" not in repr(settings)


def test_a_service_is_named_after_its_folder() -> None:
    class Elsewhere(ServiceSettings):
        __module__ = "services.graph.config"

    assert Elsewhere.service_name() == "graph"
