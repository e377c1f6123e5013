"""The methods of AccountService about credits: translate, authorise, delegate, answer."""

from typing import Any
from uuid import UUID

from blockyard.account.v1 import account_pb2
from blockyard.account.v1 import account_service_pb2 as messages
from grpc.aio import ServicerContext

from services.account.bookkeeping import TopUp
from services.account.credits import Credits
from services.account.errors import UserNotFound
from services.account.repository.credits import TransferRow, UserCredits
from services.account.times import moment
from services.common.errors import InvalidArgument, Violation
from services.common.identity import current_caller
from services.common.paging import decode_page_token, encode_page_token, page_size
from services.common.permissions import Permission

LARGEST_TOP_UP = 10**15
LONGEST_NOTE = 500
LONGEST_REQUEST_ID = 100

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


class CreditsApi:
    """A part of the servicer of AccountService, which inherits from it."""

    def __init__(self, credits: Credits, token_secret: str) -> None:
        self._credits = credits
        self._token_secret = token_secret

    async def GetCredits(self, request: messages.GetCreditsRequest, context: Context) -> messages.GetCreditsResponse:
        """Gets a user's credits."""
        user = await self._whose(request.user_id)
        return messages.GetCreditsResponse(credits=self._shown(user, await self._credits.get(user)))

    async def ListCreditTransactions(
        self, request: messages.ListCreditTransactionsRequest, context: Context
    ) -> messages.ListCreditTransactionsResponse:
        """Lists a user's movements."""
        user, size = await self._whose(request.user_id), page_size(request.page_size)
        scope = f"ListCreditTransactions {user}"
        before = None
        if request.page_token:
            [last] = decode_page_token(self._token_secret, scope, request.page_token)
            before = UUID(str(last))
        rows = await self._credits.transactions(user, before, size + 1)
        answer = messages.ListCreditTransactionsResponse(transactions=map(_transaction, rows[:size]))
        if len(rows) > size:
            position = [str(rows[size - 1].transfer_id)]
            answer.next_page_token = encode_page_token(self._token_secret, scope, position)
        return answer

    async def SummarizeSpending(
        self, request: messages.SummarizeSpendingRequest, context: Context
    ) -> messages.SummarizeSpendingResponse:
        """Sums up what a user spent."""
        user = await self._whose(request.user_id)
        start = moment("start_time", request.start_time) if request.HasField("start_time") else None
        end = moment("end_time", request.end_time) if request.HasField("end_time") else None
        rows, amount = await self._credits.spending(user, start, end)
        blocks = [
            account_pb2.BlockSpending(block_id=row.block_id, charges=row.charges, amount=row.amount) for row in rows
        ]
        return messages.SummarizeSpendingResponse(blocks=blocks, amount=amount)

    async def TopUpCredits(
        self, request: messages.TopUpCreditsRequest, context: Context
    ) -> messages.TopUpCreditsResponse:
        """Gives a user credits."""
        _check_top_up(request)
        actor = current_caller().user_id
        top_up = TopUp(request.user_id, request.amount, request.note, actor, request.request_id)
        credits = await self._credits.top_up(top_up)
        return messages.TopUpCreditsResponse(credits=self._shown(request.user_id, credits))

    async def _whose(self, user_id: str) -> str:
        """Whom a request is about. To all but administrators, others are not there."""
        caller = current_caller()
        if not user_id or user_id == caller.user_id:
            return caller.user_id
        if (
            Permission.MANAGE_CREDITS not in caller.permissions
            or "\0" in user_id
            or not await self._credits.has_user(user_id)
        ):
            raise UserNotFound
        return user_id

    def _shown(self, user_id: str, credits: UserCredits) -> account_pb2.Credits:
        return account_pb2.Credits(
            user_id=user_id,
            balance=credits.balance,
            held=credits.held,
            spent=credits.spent,
            enabled=self._credits.enabled,
        )


def _transaction(row: TransferRow) -> account_pb2.CreditTransaction:
    shown = account_pb2.CreditTransaction(
        id=str(row.transfer_id),
        kind=account_pb2.CreditTransactionKind.ValueType(row.kind),
        amount=row.amount,
        balance=row.balance,
        execution_id=str(row.execution_id) if row.execution_id else "",
        graph_id=row.graph_id,
        charges=row.charges,
        note=row.note,
        actor=row.actor,
    )
    shown.time.FromDatetime(row.time)
    return shown


def _check_top_up(request: messages.TopUpCreditsRequest) -> None:
    violations = []
    if not request.user_id or "\0" in request.user_id:
        violations.append(Violation("user_id", "expected the id of a user"))
    if not request.amount or abs(request.amount) > LARGEST_TOP_UP:
        problem = f"expected a number other than 0, from -{LARGEST_TOP_UP} to {LARGEST_TOP_UP}, got {request.amount}"
        violations.append(Violation("amount", problem))
    for field, text, longest in (
        ("note", request.note, LONGEST_NOTE),
        ("request_id", request.request_id, LONGEST_REQUEST_ID),
    ):
        if len(text) > longest or any(ord(character) < 32 for character in text):
            violations.append(
                Violation(field, f"expected at most {longest} characters, none of them a control character")
            )
    if violations:
        raise InvalidArgument(violations=violations)
