"""The settings that say whose calls are taken, how many of them, and which proxies are believed."""

from typing import Any

import pytest

from services.common import config
from services.common.config import ServiceSettings
from tests import signing


def loaded(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> ServiceSettings:
    """The settings of an environment; None takes a variable away."""
    for name, value in {**signing.ENVIRONMENT, **changes}.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    return config.load(ServiceSettings)


def test_a_provider_may_take_the_place_of_the_secret_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(
        monkeypatch,
        BLOCKYARD_JWT_SECRET=None,
        BLOCKYARD_JWKS_URL="https://idp.example.org/jwks.json",
        BLOCKYARD_JWT_ISSUER="https://idp.example.org/",
        BLOCKYARD_JWT_ROLES='{"ops": "admin"}',
    )

    assert settings.secrets().users == ""
    assert settings.jwt_roles == {"ops": "admin"}


def test_rates_and_networks_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(
        monkeypatch,
        BLOCKYARD_RATE_LIMIT_START="10/minute burst 100",
        BLOCKYARD_TRUSTED_PROXIES="10.0.0.0/8, fd00::/8",
        BLOCKYARD_RATE_LIMIT_REPLICAS="3",
    )

    assert settings.rate_limit_start == "10/minute burst 100"
    assert settings.trusted_proxies == "10.0.0.0/8, fd00::/8"
    assert settings.rate_limit_read == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"BLOCKYARD_JWT_SECRET": None}, "BLOCKYARD_JWKS_URL is not either"),
        ({"BLOCKYARD_JWKS_URL": "https://idp.example.org/jwks.json"}, "BLOCKYARD_JWT_ISSUER must be set"),
        ({"BLOCKYARD_JWKS_URL": "file:///etc/keys"}, "BLOCKYARD_JWKS_URL"),
        ({"BLOCKYARD_JWT_ROLES": '{"ops": "root"}'}, "BLOCKYARD_JWT_ROLES"),
        ({"BLOCKYARD_JWT_DEFAULT_ROLE": "service"}, "BLOCKYARD_JWT_DEFAULT_ROLE"),
        ({"BLOCKYARD_RATE_LIMIT_READ": "600"}, "BLOCKYARD_RATE_LIMIT_READ: expected"),
        ({"BLOCKYARD_RATE_LIMIT_WRITE": "0/second"}, "BLOCKYARD_RATE_LIMIT_WRITE: expected"),
        ({"BLOCKYARD_RATE_LIMIT_REPLICAS": "0"}, "BLOCKYARD_RATE_LIMIT_REPLICAS"),
        ({"BLOCKYARD_TRUSTED_PROXIES": "10.0.0.0/33"}, "BLOCKYARD_TRUSTED_PROXIES"),
        ({"BLOCKYARD_AUDIT_QUEUE": "0"}, "BLOCKYARD_AUDIT_QUEUE"),
    ],
)
def test_what_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        loaded(monkeypatch, **changes)

    assert ended.value.code == 2
    assert told in capsys.readouterr().err
