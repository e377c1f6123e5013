"""LedgerService: how the execution service holds credits and sends charges. For service tokens only."""

import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import structlog
from blockyard.account.v1 import ledger_service_pb2 as messages
from blockyard.account.v1.ledger_service_pb2_grpc import LedgerServiceServicer
from grpc.aio import ServicerContext

from services.account.bookkeeping import Charge
from services.account.ledger import Hold, Ledger
from services.account.ledger_metrics import CHARGES
from services.common.errors import InvalidArgument, Violation

MOST_CHARGES = 10_000
"""Node executions of a call."""
MOST_DEMANDS = 10_000
LARGEST_AMOUNT = 10**12
"""Credits of one outcome: far above any cost, and hundreds of calls full of it fit into a balance."""
LONGEST_NAME = 200

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""

log = structlog.stdlib.get_logger(__name__)


class LedgerApi(LedgerServiceServicer):
    """Whoever calls is a service, and says for which users."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def HoldCredits(self, request: messages.HoldCreditsRequest, context: Context) -> messages.HoldCreditsResponse:
        """Holds credits for a replica."""
        _check_holder(request.holder)
        _check_size("demands", len(request.demands), MOST_DEMANDS)
        held = await self._ledger.hold(request.holder, _demands(request.demands))
        answer = messages.HoldCreditsResponse(holds=_holds(held))
        answer.valid.FromNanoseconds(round(self._ledger.rules.seconds * 1e9))
        return answer

    async def SettleCharges(
        self, request: messages.SettleChargesRequest, context: Context
    ) -> messages.SettleChargesResponse:
        """Books charges."""
        _check_holder(request.holder)
        count = sum([1 + len(charge.further_node_executions) for charge in request.charges])
        _check_size("charges", count, MOST_CHARGES)
        held = await self._ledger.settle(request.holder, list(_charges(request.charges)))
        return messages.SettleChargesResponse(holds=_holds(held))


def _holds(held: Iterable[Hold]) -> list[messages.CreditHold]:
    return [messages.CreditHold(user_id=one.user_id, amount=one.amount, balance=one.balance) for one in held]


def _check_holder(holder: str) -> None:
    if not _is_name(holder):
        raise InvalidArgument(violations=[Violation("holder", f"expected 1 to {LONGEST_NAME} characters without NUL")])


def _check_size(field: str, size: int, most: int) -> None:
    if size > most:
        raise InvalidArgument(violations=[Violation(field, f"{size} of them, at most {most} are taken at once")])


def _demands(demands: Iterable[messages.CreditDemand]) -> dict[str, int]:
    wanted: dict[str, int] = {}
    violations: list[Violation] = []
    for index, demand in enumerate(demands):
        if not _is_name(demand.user_id):
            problem = f"expected 1 to {LONGEST_NAME} characters without NUL"
            violations.append(Violation(f"demands[{index}].user_id", problem))
        elif demand.user_id in wanted:
            violations.append(Violation(f"demands[{index}].user_id", "this user was named before"))
        elif demand.amount < 0:
            violations.append(Violation(f"demands[{index}].amount", f"must not be negative, got {demand.amount}"))
        wanted[demand.user_id] = demand.amount
    if violations:
        raise InvalidArgument(violations=violations)
    return wanted


def _charges(charges: Iterable[messages.Charge]) -> Iterable[Charge]:
    """What can be booked. One that cannot is left out: sent again it would be no better, and others wait behind it."""
    now = int(time.time())
    for charge in charges:
        if problem := _problem(charge):
            CHARGES.labels("malformed").inc(1 + len(charge.further_node_executions))
            log.error("a malformed charge is not booked", problem=problem, charge=str(charge)[:1000])
            continue
        yield Charge(
            UUID(bytes=charge.execution_id),
            (charge.node_execution, *charge.further_node_executions),
            charge.user_id,
            charge.graph_id,
            charge.block_id,
            charge.amount,
            # A replica's clock may be ahead, and what was recorded is charged all the same.
            min(charge.time.seconds, now),
        )


def _problem(charge: messages.Charge) -> str:
    if len(charge.execution_id) != 16:
        return "execution_id: expected 16 bytes"
    if charge.node_execution < 0 or min(charge.further_node_executions, default=0) < 0:
        return "node_execution and further_node_executions: must not be negative"
    if not 0 < charge.amount <= LARGEST_AMOUNT:
        return f"amount: expected 1 to {LARGEST_AMOUNT}"
    if not _is_name(charge.user_id):
        return f"user_id: expected 1 to {LONGEST_NAME} characters without NUL"
    if not _is_name(charge.block_id):
        return f"block_id: expected 1 to {LONGEST_NAME} characters without NUL"
    if charge.graph_id and not _is_name(charge.graph_id):
        return f"graph_id: expected at most {LONGEST_NAME} characters without NUL"
    if charge.time.seconds <= 0:
        return "time: expected one after 1970"
    return ""


def _is_name(text: str) -> bool:
    return 0 < len(text) <= LONGEST_NAME and "\0" not in text
