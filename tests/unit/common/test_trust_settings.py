"""Settings about secrets, certificates and NATS: what does not go together is refused in a sentence."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from services.common import config
from services.common.config import ProcessSettings, ServiceSettings
from services.common.derived_secrets import DerivingKeys
from services.common.nats_access import NatsAccess
from services.common.tls import TlsFiles
from services.runner.config import RunnerSettings
from tests import signing


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for variable, secret in signing.ENVIRONMENT.items():
        monkeypatch.setenv(variable, secret)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SERVICE_SECRET": "short"}, "BLOCKYARD_SERVICE_SECRET: value should have at least 32 items"),
        ({"RUNNER_SECRET": "short"}, "BLOCKYARD_RUNNER_SECRET: value should have at least 32 items"),
        ({"RUNNER_SECRET": signing.SERVICE_SECRET}, "BLOCKYARD_RUNNER_SECRET must differ"),
        ({"SERVICE_SECRET": signing.JWT_SECRET}, "BLOCKYARD_RUNNER_SECRET must differ"),
        ({"TLS_CERTIFICATE": "/c"}, "BLOCKYARD_TLS_CERTIFICATE and BLOCKYARD_TLS_KEY must be set together"),
        ({"TLS_KEY": "/k"}, "BLOCKYARD_TLS_CERTIFICATE and BLOCKYARD_TLS_KEY must be set together"),
        ({"TLS_CLIENT_CA": "/ca"}, "BLOCKYARD_TLS_CLIENT_CA needs BLOCKYARD_TLS_CERTIFICATE"),
        ({"NATS_KEY": "/k"}, "BLOCKYARD_NATS_CERTIFICATE and BLOCKYARD_NATS_KEY must be set together"),
        ({"NATS_USER": "execution"}, "BLOCKYARD_NATS_USER and BLOCKYARD_NATS_PASSWORD_FILE must be set together"),
        ({"NATS_PASSWORD_FILE": "/p"}, "BLOCKYARD_NATS_USER and BLOCKYARD_NATS_PASSWORD_FILE must be set together"),
        ({"NATS_CA": "/ca"}, "BLOCKYARD_NATS_URL must begin with tls://"),
        ({"NATS_CA": "/ca", "NATS_URL": "tls://a:1,nats://b:1"}, "BLOCKYARD_NATS_URL must begin with tls://"),
    ],
)
def test_what_does_not_go_together_is_refused(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        environment.setenv(f"BLOCKYARD_{name}", value)

    with pytest.raises(SystemExit):
        config.load(ServiceSettings)

    told = capsys.readouterr().err
    assert said in told
    assert signing.SERVICE_SECRET not in told


@pytest.mark.parametrize("missing", ["BLOCKYARD_SERVICE_SECRET", "BLOCKYARD_RUNNER_SECRET"])
def test_a_service_does_not_start_without_a_secret(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    environment.delenv(missing)

    with pytest.raises(SystemExit):
        config.load(ServiceSettings)

    assert f"{missing} is not set, and there is no default." in capsys.readouterr().err


def test_a_runner_needs_its_own_secret_alone(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("BLOCKYARD_JWT_SECRET")
    environment.delenv("BLOCKYARD_SERVICE_SECRET")

    settings = config.load(RunnerSettings)

    assert settings.runner_secret.get_secret_value() == signing.RUNNER_SECRET
    assert not {"jwt_secret", "service_secret"} & RunnerSettings.model_fields.keys()


def test_a_password_in_the_url_of_nats_does_not_print(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BLOCKYARD_NATS_URL", "nats://execution:hunter2@127.0.0.1:4222")

    assert "hunter2" not in repr(config.load(ProcessSettings))


def test_files_are_given_to_whom_they_concern(environment: pytest.MonkeyPatch) -> None:
    variables = {
        "TLS_CERTIFICATE": "/c",
        "TLS_KEY": "/k",
        "TLS_CA": "/ca",
        "TLS_CLIENT_CA": "/clients",
        "NATS_URL": "tls://127.0.0.1:4222",
        "NATS_CERTIFICATE": "/nc",
        "NATS_KEY": "/nk",
        "NATS_CA": "/nca",
        "NATS_USER": "execution",
        "NATS_PASSWORD_FILE": "/password",
    }
    for name, value in variables.items():
        environment.setenv(f"BLOCKYARD_{name}", value)

    settings = config.load(ServiceSettings)

    assert settings.tls() == TlsFiles(Path("/c"), Path("/k"), Path("/ca"), Path("/clients"))
    files = TlsFiles(Path("/nc"), Path("/nk"), Path("/nca"))
    assert settings.nats_access() == NatsAccess("execution", Path("/password"), files)


class Derived(ServiceSettings):
    """A service that makes secrets for others."""

    trigger_keys: DerivingKeys = SecretStr("")


def test_keys_that_secrets_are_made_from_are_long_each(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("BLOCKYARD_TRIGGER_KEYS", f"{'k' * 32}, hunter2")

    with pytest.raises(SystemExit):
        config.load(Derived)

    told = capsys.readouterr().err
    assert "BLOCKYARD_TRIGGER_KEYS: each key needs at least 32 characters" in told
    assert "hunter2" not in told
