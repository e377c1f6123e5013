"""Credits as users, administrators and the execution service meet them: over gRPC, with roles and refusals."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from blockyard.account.v1 import account_pb2, account_service_pb2, ledger_service_pb2
from blockyard.dev.postgres import PostgresServer

from services.common.ids import new_id
from tests import signing
from tests.integration.account.service import Service, account_service

SERVICE_SETTINGS: dict[str, Any] = {"credits_enabled": True, "hold_seconds": 7.5}
NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def service(runner: asyncio.Runner, postgres: PostgresServer) -> Iterator[Service]:
    stack = AsyncExitStack()
    try:
        yield runner.run(stack.enter_async_context(account_service(postgres, **SERVICE_SETTINGS)))
    finally:
        runner.run(stack.aclose())


async def new_user(service: Service, credits: int = 0) -> str:
    """Somebody who is known, with so many credits."""
    user = f"user-{new_id()}"
    await service.user(user).call("GetUser", account_service_pb2.GetUserRequest())
    if credits:
        await top_up(service, user, credits)
    return user


async def top_up(service: Service, user: str, amount: int, **fields: Any) -> account_pb2.Credits:
    """As the administrator root does."""
    request = account_service_pb2.TopUpCreditsRequest(user_id=user, amount=amount, **fields)
    answer: account_service_pb2.TopUpCreditsResponse = await service.admin().call("TopUpCredits", request)
    return answer.credits


async def credits_of(service: Service, user: str) -> account_pb2.Credits:
    """As the user sees them."""
    answer = await service.user(user).call("GetCredits", account_service_pb2.GetCreditsRequest())
    credits: account_pb2.Credits = answer.credits
    return credits


async def transactions(service: Service, user: str, size: int = 1000) -> list[account_pb2.CreditTransaction]:
    """All pages, as the user sees them."""
    found: list[account_pb2.CreditTransaction] = []
    token = ""
    while True:
        request = account_service_pb2.ListCreditTransactionsRequest(page_size=size, page_token=token)
        answer = await service.user(user).call("ListCreditTransactions", request)
        assert len(answer.transactions) <= size
        found += answer.transactions
        if not (token := answer.next_page_token):
            return found


def charge(user: str, amount: int, node_execution: int = 1, **fields: Any) -> ledger_service_pb2.Charge:
    """A charge that can be booked."""
    time = fields.pop("time", NOON)
    values = {"execution_id": new_id().bytes, "graph_id": "graph", "block_id": "block", **fields}
    made = ledger_service_pb2.Charge(user_id=user, amount=amount, node_execution=node_execution, **values)
    made.time.FromDatetime(time)
    return made


async def settle(
    service: Service, *charges: ledger_service_pb2.Charge, holder: str = "replica"
) -> ledger_service_pb2.SettleChargesResponse:
    """As a replica of the execution service does."""
    request = ledger_service_pb2.SettleChargesRequest(holder=holder, charges=charges)
    answer: ledger_service_pb2.SettleChargesResponse = await service.service().call("SettleCharges", request)
    return answer


async def test_a_top_up_shows_in_the_credits_in_the_movements_and_in_the_audit_log(service: Service) -> None:
    user = await new_user(service)
    credits = await top_up(service, user, 100, note="welcome")
    assert credits == await credits_of(service, user)
    assert (credits.user_id, credits.balance, credits.held, credits.spent, credits.enabled) == (user, 100, 0, 0, True)
    [movement] = await transactions(service, user)
    assert (movement.kind, movement.amount, movement.balance, movement.note, movement.actor) == (
        account_pb2.CREDIT_TRANSACTION_KIND_TOP_UP,
        100,
        100,
        "welcome",
        "root",
    )
    request = account_service_pb2.ListAuditEntriesRequest(resource=f"users/{user}")
    entries = (await service.admin().call("ListAuditEntries", request)).entries
    [entry] = [one for one in entries if one.action.endswith("/TopUpCredits")]
    assert (entry.actor, entry.outcome, entry.details["amount"]) == ("root", "OK", "100")


async def test_a_repeated_top_up_gives_once_even_when_both_come_at_once(service: Service) -> None:
    user, request_id = await new_user(service), str(new_id())
    answers = await asyncio.gather(*(top_up(service, user, 50, request_id=request_id) for _ in range(5)))
    assert [credits.balance for credits in answers] == [50] * 5
    assert len(await transactions(service, user)) == 1


async def test_a_request_id_that_was_used_for_something_else_is_refused(service: Service) -> None:
    user, somebody, request_id = await new_user(service), await new_user(service), str(new_id())
    await top_up(service, user, 50, request_id=request_id)
    for other, amount in ((user, 51), (somebody, 50)):
        request = account_service_pb2.TopUpCreditsRequest(user_id=other, amount=amount, request_id=request_id)
        refusal = await service.admin().refused("TopUpCredits", request)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    # The ids of another administrator are their own.
    request = account_service_pb2.TopUpCreditsRequest(user_id=user, amount=1, request_id=request_id)
    assert (await service.admin("other-root").call("TopUpCredits", request)).credits.balance == 51
    assert (await credits_of(service, somebody)).balance == 0


async def test_credits_that_are_taken_away_are_an_adjustment(service: Service) -> None:
    user = await new_user(service, credits=10)
    assert (await top_up(service, user, -15)).balance == -5
    newest = (await transactions(service, user))[0]
    assert (newest.kind, newest.amount) == (account_pb2.CREDIT_TRANSACTION_KIND_ADJUSTMENT, -15)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": 10**15 + 1}, "amount"),
        ({"amount": -(2**63)}, "amount"),
        ({"amount": 1, "user_id": ""}, "user_id"),
        ({"amount": 1, "user_id": "a\0b"}, "user_id"),
        ({"amount": 1, "note": "x" * 501}, "note"),
        ({"amount": 1, "note": "a\0b"}, "note"),
        ({"amount": 1, "request_id": "x" * 101}, "request_id"),
        ({"amount": 1, "request_id": "a\nb"}, "request_id"),
    ],
)
async def test_a_top_up_that_is_malformed_names_the_field(service: Service, fields: dict[str, Any], field: str) -> None:
    user = await new_user(service)
    request = account_service_pb2.TopUpCreditsRequest(**{"user_id": user, **fields})
    refusal = await service.admin().refused("TopUpCredits", request)
    assert (refusal.code, list(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    assert (await credits_of(service, user)).balance == 0


async def test_a_top_up_of_somebody_who_is_not_there_is_refused(service: Service) -> None:
    request = account_service_pb2.TopUpCreditsRequest(user_id="nobody-of-that-name", amount=5)
    refusal = await service.admin().refused("TopUpCredits", request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")


async def test_a_balance_stays_in_the_range_of_whole_numbers(service: Service) -> None:
    user = await new_user(service)
    for _ in range(10):
        request = account_service_pb2.TopUpCreditsRequest(user_id=user, amount=10**15)
        await service.admin().call("TopUpCredits", request)
    refusal = await service.admin().refused("TopUpCredits", request)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert (await credits_of(service, user)).balance == 10**16


async def test_users_see_their_own_credits_and_nobody_elses(service: Service) -> None:
    user, somebody = await new_user(service, credits=10), await new_user(service)
    asked: list[tuple[str, Any]] = [
        ("GetCredits", account_service_pb2.GetCreditsRequest(user_id=user)),
        ("ListCreditTransactions", account_service_pb2.ListCreditTransactionsRequest(user_id=user)),
        ("SummarizeSpending", account_service_pb2.SummarizeSpendingRequest(user_id=user)),
    ]
    for method, request in asked:
        await service.user(user).call(method, request)
        await service.user(user, "viewer").call(method, request)
        await service.admin().call(method, request)
        refusal = await service.user(somebody).refused(method, request)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")
    refusal = await service.user(user).refused(
        "TopUpCredits", account_service_pb2.TopUpCreditsRequest(user_id=user, amount=1)
    )
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED


async def test_an_administrators_key_that_may_not_manage_credits_sees_no_others(service: Service) -> None:
    user = await new_user(service, credits=10)
    key = (await service.admin().make_key("READ_ACCOUNT")).key
    request = account_service_pb2.GetCreditsRequest(user_id=user)
    assert (await service.holder_of(key).refused("GetCredits", request)).reason == "USER_NOT_FOUND"
    key = (await service.admin().make_key("READ_ACCOUNT", "MANAGE_CREDITS")).key
    assert (await service.holder_of(key).call("GetCredits", request)).credits.balance == 10


@pytest.mark.parametrize("user", ["nobody-of-that-name", "a\0b"])
async def test_an_administrator_who_asks_for_somebody_who_is_not_there_is_told_so(service: Service, user: str) -> None:
    refusal = await service.admin().refused("GetCredits", account_service_pb2.GetCreditsRequest(user_id=user))
    assert refusal.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)


async def test_movements_come_newest_first_in_pages_that_leave_none_out(service: Service) -> None:
    user = await new_user(service)
    for amount in range(1, 8):
        await top_up(service, user, amount)
    everything = await transactions(service, user)
    assert [one.amount for one in everything] == [7, 6, 5, 4, 3, 2, 1]
    assert await transactions(service, user, size=3) == everything


async def test_a_page_token_is_good_for_its_own_user_alone(service: Service) -> None:
    user, somebody = await new_user(service, credits=1), await new_user(service, credits=1)
    await top_up(service, user, 1)
    request = account_service_pb2.ListCreditTransactionsRequest(page_size=1)
    token = (await service.user(user).call("ListCreditTransactions", request)).next_page_token
    for bad in (token, "nonsense"):
        request = account_service_pb2.ListCreditTransactionsRequest(page_token=bad)
        refusal = await service.user(somebody).refused("ListCreditTransactions", request)
        assert refusal.reason == "PAGE_TOKEN_INVALID"


async def test_charges_show_with_their_execution_and_graph(service: Service) -> None:
    user, execution = await new_user(service, credits=100), new_id()
    answer = await settle(service, *(charge(user, 10, number, execution_id=execution.bytes) for number in (1, 2)))
    assert [(hold.user_id, hold.amount, hold.balance) for hold in answer.holds] == [(user, 0, 80)]
    newest = (await transactions(service, user))[0]
    assert (newest.kind, newest.amount, newest.balance, newest.charges) == (
        account_pb2.CREDIT_TRANSACTION_KIND_CHARGE,
        -20,
        80,
        2,
    )
    assert (newest.execution_id, newest.graph_id) == (str(execution), "graph")


async def test_spending_is_summed_up_by_block_and_hour(service: Service) -> None:
    user = await new_user(service, credits=1000)
    await settle(
        service,
        charge(user, 1, time=NOON - timedelta(seconds=1), block_id="cheap"),
        charge(user, 10, time=NOON, block_id="cheap"),
        charge(user, 100, time=NOON + timedelta(minutes=59), block_id="dear"),
        charge(user, 100, time=NOON + timedelta(minutes=60), block_id="dear"),
    )

    async def spent(start: datetime | None, end: datetime | None) -> tuple[list[tuple[str, int, int]], int]:
        request = account_service_pb2.SummarizeSpendingRequest()
        if start:
            request.start_time.FromDatetime(start)
        if end:
            request.end_time.FromDatetime(end)
        answer = await service.user(user).call("SummarizeSpending", request)
        return [(one.block_id, one.charges, one.amount) for one in answer.blocks], answer.amount

    assert await spent(None, None) == ([("dear", 2, 200), ("cheap", 2, 11)], 211)
    hour = timedelta(hours=1)
    assert await spent(NOON, NOON + hour) == ([("dear", 1, 100), ("cheap", 1, 10)], 110)
    # Hours are counted whole.
    assert await spent(NOON + hour / 2, NOON + hour + hour / 2) == ([("dear", 2, 200), ("cheap", 1, 10)], 210)
    assert await spent(None, NOON) == ([("cheap", 1, 1)], 1)
    assert await spent(NOON + 3 * hour, None) == ([], 0)


async def test_a_time_that_is_none_is_refused(service: Service) -> None:
    request = account_service_pb2.SummarizeSpendingRequest()
    request.start_time.seconds = 10**17
    refusal = await service.user("anna").refused("SummarizeSpending", request)
    assert (refusal.code, list(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, ["start_time"])


async def test_a_hold_is_answered_with_how_long_it_lasts(service: Service) -> None:
    user = await new_user(service, credits=10)
    demands = [ledger_service_pb2.CreditDemand(user_id=user, amount=4)]
    request = ledger_service_pb2.HoldCreditsRequest(holder="replica", demands=demands)
    answer = await service.service().call("HoldCredits", request)
    assert answer.valid.ToTimedelta() == timedelta(seconds=7.5)
    assert [(hold.user_id, hold.amount, hold.balance) for hold in answer.holds] == [(user, 4, 10)]
    assert (await credits_of(service, user)).held == 4


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("HoldCredits", {"holder": ""}, "holder"),
        ("HoldCredits", {"holder": "r" * 201}, "holder"),
        ("HoldCredits", {"holder": "r", "demands": [{"user_id": "", "amount": 1}]}, "demands[0].user_id"),
        ("HoldCredits", {"holder": "r", "demands": [{"user_id": "a\0"}]}, "demands[0].user_id"),
        ("HoldCredits", {"holder": "r", "demands": [{"user_id": "a", "amount": -1}]}, "demands[0].amount"),
        ("HoldCredits", {"holder": "r", "demands": [{"user_id": "a"}, {"user_id": "a"}]}, "demands[1].user_id"),
        ("HoldCredits", {"holder": "r", "demands": [{}] * 10_001}, "demands"),
        ("SettleCharges", {"holder": "a\0"}, "holder"),
        ("SettleCharges", {"holder": "r", "charges": [{}] * 10_001}, "charges"),
        ("SettleCharges", {"holder": "r", "charges": [{"further_node_executions": range(10_000)}]}, "charges"),
    ],
)
async def test_a_call_to_the_ledger_that_is_malformed_names_the_field(
    service: Service, method: str, request_: dict[str, Any], field: str
) -> None:
    request = getattr(ledger_service_pb2, f"{method}Request")(**request_)
    refusal = await service.service().refused(method, request)
    assert (refusal.code, list(refusal.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


@pytest.mark.parametrize(
    "wrong",
    [
        {"execution_id": b"short"},
        {"execution_id": b""},
        {"node_execution": -1},
        {"further_node_executions": [3, -1]},
        {"amount": 0},
        {"amount": -5},
        {"amount": 2**62},
        {"user_id": ""},
        {"block_id": ""},
        {"block_id": "b" * 201},
        {"graph_id": "g\0"},
        {"time": datetime(1970, 1, 1, tzinfo=UTC)},
    ],
)
async def test_a_charge_that_is_malformed_is_left_out_and_the_rest_is_booked(
    service: Service, wrong: dict[str, Any]
) -> None:
    user = await new_user(service, credits=100)
    bad = charge(**{"user": wrong.pop("user_id", user), "amount": 7, "node_execution": 1, **wrong})
    answer = await settle(service, bad, charge(user, 5))
    assert [(hold.user_id, hold.balance) for hold in answer.holds] == [(user, 95)]


async def test_what_a_replica_whose_clock_is_ahead_recorded_is_charged_and_spent_now(service: Service) -> None:
    user = await new_user(service, credits=100)

    answer = await settle(service, charge(user, 7, time=datetime(9000, 1, 1, tzinfo=UTC)))

    assert [(hold.user_id, hold.balance) for hold in answer.holds] == [(user, 93)]
    until_now = account_service_pb2.SummarizeSpendingRequest()
    until_now.end_time.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    assert (await service.user(user).call("SummarizeSpending", until_now)).amount == 7


async def test_the_ledger_is_for_services_alone(service: Service) -> None:
    for caller in (service.admin(), service.holder_of(signing.runner_token()), service.holder_of(None)):
        for method in ("HoldCredits", "SettleCharges"):
            request = getattr(ledger_service_pb2, f"{method}Request")(holder="replica")
            refusal = await caller.refused(method, request)
            assert refusal.code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
