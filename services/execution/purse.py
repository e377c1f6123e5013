"""What this replica holds of the credits of users: tasks are sent against it without asking for each.

A hold is a lease: the account service forgets it unless it is renewed. What tasks in flight are expected to cost counts
as gone already, by what their blocks cost last, so that little is overspent when the credits of a user run out.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from blockyard.account.v1.ledger_service_pb2 import CreditDemand, CreditHold

from services.common.errors import Unavailable
from services.execution.errors import InsufficientCredits

EXPECTED = 1
"""Credits that a run of a block is expected to cost that has not run yet."""

KEPT_COSTS = 10_000
"""Blocks of which it is kept what they cost."""

IDLE_SECONDS = 5.0
"""A user of whom nothing was sent for so long is given back what is held."""

TRY_AGAIN_SECONDS = 1.0
"""How often more is asked for a user who was given less than was asked for."""

SHORT_SECONDS = 0.05
"""How often more is asked for a user who has some left, at most."""

MOST_DEMANDS = 2_000
"""Users of one question: the account service takes no more than some thousands."""

ANSWER_SECONDS = 5.0
"""Longest time that a start waits for the account service."""


@dataclass(slots=True, eq=False)
class Budget:
    """A user's. Times are monotonic seconds."""

    held: int = 0
    """As the account service said last."""
    balance: int = 0
    """As it said last, holds not taken off."""
    valid_until: float = 0.0
    renew_at: float = 0.0
    unsettled: int = 0
    """Charges that were recorded here, and are not known to be booked."""
    reserved: int = 0
    """What the tasks in flight are expected to cost."""
    spent: float = 0.0
    """Credits that were spent lately: half of it is forgotten with each answer."""
    used_at: float = 0.0
    ask_at: float = 0.0
    """When more may be asked for again."""
    answered: "list[asyncio.Future[None]]" = field(default_factory=list)
    """Starts that wait for the next answer."""

    @property
    def free(self) -> int:
        """What further tasks may cost."""
        return self.held - self.unsettled - self.reserved

    def wanted(self, least: int) -> int:
        """What should be held, to go on for a while."""
        return max(least, 2 * (self.reserved + self.unsettled + round(self.spent)))


class Purse:
    """The budgets of all users that this replica works for."""

    def __init__(self, least: int, clock: Callable[[], float]) -> None:
        """`least` credits are held for a user at the least, where there are so many."""
        self._least = least
        self._clock = clock
        self._budgets: dict[str, Budget] = {}
        self._costs: dict[str, int] = {}
        self.wanting = asyncio.Event()
        """Set when the account service should be asked now."""

    # Starts

    async def check_start(self, user_id: str) -> None:
        """Raises InsufficientCredits if the user has none, and Unavailable while that cannot be known."""
        budget = self._budget(user_id)
        now = budget.used_at = self._clock()
        if now < budget.valid_until and budget.free > 0:
            return
        if not (now < budget.valid_until and now < budget.ask_at):
            await self._ask(budget)
        if budget.balance - budget.unsettled <= 0:
            raise InsufficientCredits(metadata={"balance": str(budget.balance - budget.unsettled)})

    async def balance(self, user_id: str) -> int | None:
        """A user's balance, what was recorded here and is not booked yet taken off; None if it cannot be known now."""
        budget = self._budget(user_id)
        if self._clock() >= budget.valid_until:
            try:
                await self._ask(budget)
            except Unavailable:
                return None
        return budget.balance - budget.unsettled

    async def _ask(self, budget: Budget) -> None:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        budget.answered.append(answered)
        budget.ask_at = 0.0
        self.wanting.set()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await answered
        except TimeoutError:
            raise Unavailable("The account service is away, so it is not known what credits are left.") from None

    # Tasks

    def may_send(self, user_id: str) -> bool:
        """Whether a further task of a user may be sent now. Where that needs more, it is asked for."""
        budget = self._budget(user_id)
        now = self._clock()
        budget.used_at = now
        if now < budget.valid_until and (free := budget.free) > 0:
            if free < self._least // 2 and now >= budget.ask_at:
                self.wanting.set()
            return True
        if now >= budget.ask_at:
            self.wanting.set()
        return False

    def reserve(self, user_id: str, block_id: str) -> int:
        """A task goes out. Returns what it is expected to cost, to be released by its end."""
        expected = self._costs.get(block_id, EXPECTED)
        self._budget(user_id).reserved += expected
        return expected

    def release(self, user_id: str, expected: int) -> None:
        """The task is not out any more."""
        self._budget(user_id).reserved -= expected

    def costs(self, block_id: str, amount: int) -> None:
        """A run of a block cost so much."""
        if block_id not in self._costs and len(self._costs) >= KEPT_COSTS:
            del self._costs[next(iter(self._costs))]
        self._costs[block_id] = amount

    def owes(self, user_id: str, amount: int) -> None:
        """A charge was recorded here, which the account service does not know of yet."""
        budget = self._budget(user_id)
        budget.unsettled += amount
        budget.spent += amount

    def free(self, user_id: str) -> int:
        """Credits that further tasks of a user may cost, of those that are held."""
        return self._budget(user_id).free

    def forget(self, user_id: str, amount: int) -> None:
        """A charge is not this replica's to tell any more: it was booked, or is found in the rows again."""
        self._budget(user_id).unsettled -= amount

    # The account service

    def demands(self) -> list[CreditDemand]:
        """What to ask for now; where that is much, the rest is wanted at once after it."""
        now = self._clock()
        demands: list[CreditDemand] = []
        for user_id, budget in list(self._budgets.items()):
            if len(demands) == MOST_DEMANDS:
                self.wanting.set()
                break
            if self._is_idle(budget, now):
                if budget.held > 0 and now < budget.valid_until:
                    demands.append(CreditDemand(user_id=user_id, amount=0))
                else:
                    del self._budgets[user_id]
            elif budget.answered or (now >= budget.ask_at and self._is_short(budget, now)):
                demands.append(CreditDemand(user_id=user_id, amount=budget.wanted(self._least)))
        return demands

    def _is_idle(self, budget: Budget, now: float) -> bool:
        busy = budget.reserved or budget.unsettled or budget.answered
        return not busy and now - budget.used_at > IDLE_SECONDS

    def _is_short(self, budget: Budget, now: float) -> bool:
        return now >= budget.renew_at or budget.free < budget.wanted(self._least) // 2

    def answered(
        self, asked_at: float, valid: float, demands: Sequence[CreditDemand], holds: Sequence[CreditHold]
    ) -> list[str]:
        """What the account service said to demands, in their order. Returns the users who have nothing left."""
        broke: list[str] = []
        now = self._clock()
        for demand, hold in zip(demands, holds, strict=True):
            budget = self._budget(hold.user_id)
            budget.held, budget.balance = hold.amount, hold.balance
            budget.valid_until = asked_at + valid
            budget.spent /= 2
            budget.renew_at = asked_at + valid / 2
            # Who was given less than was asked for has no more to give at this moment.
            budget.ask_at = now + (SHORT_SECONDS if hold.amount >= demand.amount else TRY_AGAIN_SECONDS)
            for answered in budget.answered:
                if not answered.done():
                    answered.set_result(None)
            budget.answered.clear()
            if hold.balance - budget.unsettled <= 0:
                broke.append(hold.user_id)
        return broke

    def settled(self, holds: Iterable[CreditHold]) -> None:
        """What is held and left after charges were booked."""
        for hold in holds:
            budget = self._budget(hold.user_id)
            budget.held, budget.balance = hold.amount, hold.balance

    def _budget(self, user_id: str) -> Budget:
        budget = self._budgets.get(user_id)
        if budget is None:
            budget = self._budgets[user_id] = Budget(used_at=self._clock())
        return budget
