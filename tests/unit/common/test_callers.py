"""Who calls: what is remembered, for how long, and what goes on while the account service is away."""

import asyncio
import hashlib
import time

import pytest
from blockyard.account.v1 import account_pb2

from services.common import identity
from services.common.callers import KEPT_REFUSALS, Callers, IdentitiesAway
from services.common.identity import ApiKeyInvalid, Caller, TokenExpired, TokenInvalid, TokenMissing, UserDisabled
from services.common.permissions import Permission, Role
from services.common.tokens import ServiceTokens, UserTokens
from tests import signing
from tests.unit.common.directory import Directory
from tests.unit.common.test_tokens import Clock, token
from tests.waiting import until

GET_GRAPH = "/blockyard.graph.v1.GraphService/GetGraph"
REGISTER = "/blockyard.runner.v1.CatalogueService/RegisterBlocks"
KEY = "by_abcdefgh_" + "k" * 43
BEARER_KEY = f"Bearer {KEY}"


def key_digest(key: str = KEY) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def callers(directory: Directory | None, clock: Clock | None = None) -> Callers:
    users = UserTokens(signing.JWT_SECRET, None)
    return Callers(users, ServiceTokens(signing.SECRETS), directory, clock or time.monotonic)


def bearer(user_id: str = "ada", role: str = "user") -> str:
    return f"Bearer {identity.user_token(signing.JWT_SECRET, user_id, role, 600)}"


def with_key() -> Directory:
    return Directory(keys={key_digest(): ("ada", [account_pb2.PERMISSION_READ_GRAPHS])})


async def settled(directory: Directory, asked: int) -> None:
    """Until the question that was begun in the background has been answered."""
    await until(lambda: directory.asked == asked, f"{asked} questions")
    await asyncio.sleep(0)


async def test_without_an_account_service_tokens_say_who_calls() -> None:
    assert await callers(None).caller(GET_GRAPH, bearer("ada", "viewer")) == Caller("ada", Role.VIEWER)


async def test_without_an_account_service_api_keys_are_refused_with_the_reason() -> None:
    with pytest.raises(ApiKeyInvalid, match="no account service"):
        await callers(None).caller(GET_GRAPH, BEARER_KEY)


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic YWRhOmFkYQ==", "by_x", KEY])
async def test_what_carries_no_token_is_refused(authorization: str) -> None:
    with pytest.raises((TokenMissing, TokenInvalid)):
        await callers(with_key()).caller(GET_GRAPH, authorization)


async def test_a_key_calls_as_its_user_with_its_permissions() -> None:
    caller = await callers(with_key()).caller(GET_GRAPH, BEARER_KEY)

    assert caller == Caller("ada", Role.USER, "abcdefgh", frozenset({Permission.READ_GRAPHS}))


async def test_the_role_is_what_an_administrator_has_set() -> None:
    directory = Directory(roles={"ada": account_pb2.USER_ROLE_ADMIN})

    assert (await callers(directory).caller(GET_GRAPH, bearer("ada", "viewer"))).role is Role.ADMIN


async def test_internal_methods_take_tokens_of_services_alone() -> None:
    directory = with_key()
    known = callers(directory)

    caller = await known.caller(REGISTER, f"Bearer {signing.runner_token()}")
    for wrong in (bearer("ada", "admin"), BEARER_KEY):
        with pytest.raises(TokenInvalid):
            await known.caller(REGISTER, wrong)
    with pytest.raises(TokenInvalid):
        await known.caller(GET_GRAPH, f"Bearer {signing.service_token()}")

    assert caller == Caller("service:runner", Role.RUNNER)
    assert directory.asked == 0


async def test_who_calls_often_is_asked_for_once() -> None:
    directory, clock = with_key(), Clock()
    known = callers(directory, clock)

    for authorization in (BEARER_KEY, bearer()):
        await asyncio.gather(*(known.caller(GET_GRAPH, authorization) for _ in range(50)))
        await known.caller(GET_GRAPH, authorization)

    assert directory.asked == 2


async def test_what_is_in_use_is_asked_for_again_in_the_background() -> None:
    directory, clock = with_key(), Clock()
    known = callers(directory, clock)
    await known.caller(GET_GRAPH, BEARER_KEY)
    clock.now += 2
    directory.gate = asyncio.Event()

    # Nobody opens the gate: whoever waited for the answer would wait for ever.
    assert (await known.caller(GET_GRAPH, BEARER_KEY)).user_id == "ada"
    await settled(directory, 2)
    directory.gate.set()
    clock.now += 2
    await until(lambda: not known._asking, "the answer has come")
    assert (await known.caller(GET_GRAPH, BEARER_KEY)).user_id == "ada"


async def test_a_revoked_key_is_refused_after_three_seconds_at_the_latest() -> None:
    directory, clock = with_key(), Clock()
    known = callers(directory, clock)
    await known.caller(GET_GRAPH, BEARER_KEY)
    directory.keys.clear()
    clock.now += 3

    for _ in range(3):
        with pytest.raises(ApiKeyInvalid):
            await known.caller(GET_GRAPH, BEARER_KEY)
    assert directory.asked == 2


async def test_a_disabled_user_is_refused_with_token_and_key_and_let_in_again() -> None:
    directory, clock = with_key(), Clock()
    known = callers(directory, clock)
    directory.disabled.add("ada")

    for authorization in (BEARER_KEY, bearer()):
        with pytest.raises(UserDisabled):
            await known.caller(GET_GRAPH, authorization)
    directory.disabled.clear()
    clock.now += 3
    for authorization in (BEARER_KEY, bearer()):
        assert (await known.caller(GET_GRAPH, authorization)).user_id == "ada"


async def test_while_the_account_service_is_away_a_token_goes_on_with_what_was_known_last() -> None:
    directory, clock = Directory(roles={"ada": account_pb2.USER_ROLE_VIEWER}), Clock()
    directory.disabled.add("ben")
    known = callers(directory, clock)
    adas, bens = bearer("ada"), bearer("ben")
    await known.caller(GET_GRAPH, adas)
    with pytest.raises(UserDisabled):
        await known.caller(GET_GRAPH, bens)
    directory.away = True

    for _ in range(5):
        clock.now += 50
        assert (await known.caller(GET_GRAPH, adas)).role is Role.VIEWER
        with pytest.raises(UserDisabled):
            await known.caller(GET_GRAPH, bens)


async def test_while_the_account_service_is_away_a_new_token_goes_by_what_was_known_last_of_its_user() -> None:
    directory = Directory(roles={"ada": account_pb2.USER_ROLE_VIEWER}, disabled={"bob"})
    known = callers(directory)
    assert (await known.caller(GET_GRAPH, bearer("ada", "admin"))).role is Role.VIEWER
    with pytest.raises(UserDisabled):
        await known.caller(GET_GRAPH, bearer("bob"))

    directory.away = True

    assert (await known.caller(GET_GRAPH, bearer("ada", "user"))).role is Role.VIEWER
    with pytest.raises(UserDisabled):
        await known.caller(GET_GRAPH, bearer("bob", "admin"))


async def test_while_the_account_service_is_away_an_unknown_token_says_itself_who_calls() -> None:
    directory = Directory(away=True)
    known = callers(directory, Clock())

    assert await known.caller(GET_GRAPH, bearer("new", "viewer")) == Caller("new", Role.VIEWER)


async def test_while_the_account_service_is_away_a_key_goes_on_for_as_long_as_its_answer_holds() -> None:
    directory, clock = with_key(), Clock()
    known = callers(directory, clock)
    await known.caller(GET_GRAPH, BEARER_KEY)
    directory.away = True

    clock.now += 2.9
    assert (await known.caller(GET_GRAPH, BEARER_KEY)).user_id == "ada"
    await settled(directory, 2)
    clock.now += 0.2
    with pytest.raises(IdentitiesAway):
        await known.caller(GET_GRAPH, BEARER_KEY)
    directory.away = False
    clock.now += 1
    assert (await known.caller(GET_GRAPH, BEARER_KEY)).user_id == "ada"


async def test_while_the_account_service_is_away_it_is_asked_once_a_second() -> None:
    directory, clock = Directory(away=True), Clock()
    known = callers(directory, clock)

    for number in range(20):
        await known.caller(GET_GRAPH, bearer(f"user-{number}"))
    assert directory.asked == 1
    clock.now += 1
    await known.caller(GET_GRAPH, bearer("one-more"))
    assert directory.asked == 2


async def test_a_token_that_expires_is_refused_though_it_was_known() -> None:
    known = callers(Directory())
    authorization = f"Bearer {token(exp=time.time() - 28)}"
    await known.caller(GET_GRAPH, authorization)

    async def refused() -> bool:
        try:
            await known.caller(GET_GRAPH, authorization)
        except TokenExpired:
            return True
        return False

    await until(refused, "the token has expired", seconds=5)


async def test_a_caller_who_gives_up_takes_the_question_from_nobody() -> None:
    directory = with_key()
    directory.gate = asyncio.Event()
    known = callers(directory)
    first = asyncio.create_task(known.caller(GET_GRAPH, BEARER_KEY))
    second = asyncio.create_task(known.caller(GET_GRAPH, BEARER_KEY))
    await settled(directory, 1)

    first.cancel()
    directory.gate.set()

    assert (await second).user_id == "ada"
    with pytest.raises(asyncio.CancelledError):
        await first
    await known.close()


async def test_who_tries_keys_pushes_nobody_out() -> None:
    directory, clock = with_key(), Clock()
    known = callers(directory, clock)
    await known.caller(GET_GRAPH, BEARER_KEY)
    for number in range(KEPT_REFUSALS + 10):
        with pytest.raises(ApiKeyInvalid):
            await known.caller(GET_GRAPH, f"Bearer by_{number:08}_{'x' * 43}")
    asked = directory.asked

    await known.caller(GET_GRAPH, BEARER_KEY)

    assert directory.asked == asked
    assert len(known._refused) == KEPT_REFUSALS


async def test_a_check_that_is_remembered_costs_less_than_twenty_microseconds() -> None:
    known = callers(with_key())
    spans = []
    for authorization in (BEARER_KEY, bearer()):
        await known.caller(GET_GRAPH, authorization)
        for _ in range(20):
            began = time.perf_counter()
            for _ in range(100):
                await known.caller(GET_GRAPH, authorization)
            spans.append((time.perf_counter() - began) / 100)

    print(f"a remembered check costs {min(spans) * 1e6:.2f} us")
    assert min(spans) < 20e-6
