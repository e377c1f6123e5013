"""What a laptop stack keeps in its folder: the state by which it is found, its secret, and the developer's token."""

import os
import stat
from pathlib import Path

import jwt
import pytest
from blockyard.dev import Stack, tokens
from blockyard.dev.home import StackFolder, StackState, read_starting, read_state


@pytest.fixture
def folder(tmp_path: Path) -> StackFolder:
    place = StackFolder.of(tmp_path)
    place.path.mkdir()
    return place


def state(folder: StackFolder, pid: int) -> StackState:
    return StackState(
        pid=pid,
        folder=str(folder.path),
        addresses={"graph": "127.0.0.1:1", "execution": "127.0.0.1:2", "execution-1": "127.0.0.1:2"},
        postgres_url="postgresql://blockyard@127.0.0.1:3/blockyard",
        nats_url="nats://127.0.0.1:4",
        token_path=str(folder.token),
        processes={"graph": 10},
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_home_of_a_stack_is_a_path_or_its_text(tmp_path: Path) -> None:
    assert Stack(str(tmp_path)).folder == Stack(tmp_path).folder == StackFolder(tmp_path / "dev")


def test_a_state_is_read_as_it_was_written(folder: StackFolder, tmp_path: Path) -> None:
    state(folder, os.getpid()).write(folder.state)

    assert read_state(tmp_path) == state(folder, os.getpid())


def test_the_state_of_a_stack_that_died_is_none(folder: StackFolder, tmp_path: Path) -> None:
    state(folder, 2**22 + 1).write(folder.state)  # beyond the largest process id

    assert read_state(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 999}', '{"format": 1}', "null"])
def test_a_state_that_is_no_state_is_none(folder: StackFolder, tmp_path: Path, content: str) -> None:
    folder.state.write_text(content)

    assert read_state(tmp_path) is None


def test_secret_token_and_state_are_for_their_owner_alone(folder: StackFolder) -> None:
    tokens.write_developer_token(folder, tokens.ensure_secrets(folder).users)
    state(folder, os.getpid()).write(folder.state)

    tokens.ensure_passwords(folder, "nats", ["runner.default"])
    kept = [folder.secret, folder.service_secret, folder.runner_secret, folder.token, folder.state]

    assert {mode(path) for path in [*kept, folder.passwords / "nats" / "runner.default"]} == {0o600}
    assert mode(folder.passwords / "nats") == 0o700


def test_secrets_and_passwords_stay_the_same_and_differ_from_each_other(folder: StackFolder) -> None:
    made = tokens.ensure_secrets(folder)
    passwords = tokens.ensure_passwords(folder, "nats", ["execution", "account"])

    assert tokens.ensure_secrets(folder) == made
    assert tokens.ensure_passwords(folder, "nats", ["account", "execution"]) == passwords
    every = [made.users, made.services, made.runners, *passwords.values()]
    assert len(set(every)) == len(every)
    assert min(map(len, every)) >= 32


def test_the_developers_token_is_one_of_a_user(folder: StackFolder) -> None:
    secret = tokens.ensure_secrets(folder).users
    token = tokens.write_developer_token(folder, secret)

    claims = jwt.decode(token, secret, algorithms=["HS256"], audience="blockyard", issuer="blockyard")

    assert folder.token.read_text().strip() == token
    assert (claims["sub"], claims["role"]) == ("developer", "admin")


def test_a_negative_life_makes_an_expired_token(folder: StackFolder) -> None:
    secret = tokens.ensure_secrets(folder).users

    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(tokens.user_token(secret, "ann", life_seconds=-60), secret, ["HS256"], audience="blockyard")


def test_a_stack_that_is_being_started_is_no_stack_that_runs(tmp_path: Path) -> None:
    folder = StackFolder.of(tmp_path)
    folder.path.mkdir()
    state(folder, os.getpid()).write(folder.starting)
    assert read_state(tmp_path) is None
    assert read_starting(tmp_path) == state(folder, os.getpid())
