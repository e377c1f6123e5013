"""The token of the first administrator."""

import time

import jwt
import pytest

from services.account.sign_token import main
from services.common.identity import ALGORITHM, ISSUER, USER_AUDIENCE

SECRET = "s" * 48


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKYARD_JWT_SECRET", SECRET)


def test_a_token_is_for_the_user_in_the_role_for_so_long(capsys: pytest.CaptureFixture[str]) -> None:
    main(["ada", "--role", "admin", "--hours", "12"])
    token = capsys.readouterr().out.strip()
    claims = jwt.decode(token, SECRET, [ALGORITHM], audience=USER_AUDIENCE, issuer=ISSUER)
    assert (claims["sub"], claims["role"]) == ("ada", "admin")
    assert 11.9 < (claims["exp"] - time.time()) / 3600 <= 12


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "user"),
        (["ada", "--role", "root"], "--role"),
        (["ada", "--hours", "0"], "--hours: expected more than 0"),
        (["ada", "--hours", "nan"], "--hours: expected more than 0"),
        (["service:graph"], "is no user id"),
        (["a b"], "is no user id"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr()
    assert ended.value.code == 2
    assert said in told.err
    assert told.out == ""


def test_without_a_secret_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("BLOCKYARD_JWT_SECRET")
    with pytest.raises(SystemExit):
        main(["ada"])
    assert "BLOCKYARD_JWT_SECRET is not set" in capsys.readouterr().err
