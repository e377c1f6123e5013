"""What an owner hears on the plain subjects of its partitions: hints, claims of runners, questions of other replicas.

Nothing of it is kept: the sweep finds what hints were lost, and claims and questions are asked again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from blockyard.runner.v1.heartbeat_pb2 import ClaimRequest, ClaimResponse

from services.common.bus import INBOXES, Bus, Delivery, Subscription
from services.execution import run_checks
from services.execution.commands import hint_subject
from services.execution.driver import Driver
from services.execution.engine import Claimed
from services.execution.intake import ID_BYTES
from services.execution.live import Arrival
from services.execution.residence import Residence
from services.execution.run_checks import RunJudge

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Hearing:
    """Listens for a driver."""

    bus: Bus
    driver: Driver
    residence: Residence
    judge: RunJudge
    _subscriptions: dict[int, list[Subscription]] = field(default_factory=dict)
    """By partition, also of those that are only being opened."""

    async def open(self, partition: int) -> None:
        """Begins to listen; called again after a BusError it goes on where it stood."""
        heard = self._subscriptions.setdefault(partition, [])
        subjects = (
            (hint_subject(partition), self._on_hint),
            (f"blockyard.claim.{partition}", self._on_claim),
            (run_checks.subject(partition), self._on_check),
        )
        for subject, handler in subjects[len(heard) :]:
            heard.append(await self.bus.subscribe(subject, handler))

    def close(self, partitions: Iterable[int]) -> None:
        """Hears and answers nothing of these any more."""
        for partition in partitions:
            for subscription in self._subscriptions.pop(partition, ()):
                subscription.unsubscribe()

    def close_all(self) -> None:
        """Hears and answers nothing any more."""
        self.close(list(self._subscriptions))

    def _on_hint(self, delivery: Delivery) -> None:
        if len(delivery.data) == ID_BYTES:
            self.residence.hint(UUID(bytes=delivery.data))

    def _on_check(self, delivery: Delivery) -> None:
        self.judge.on_question(self.bus, delivery)

    def _on_claim(self, delivery: Delivery) -> None:
        if not delivery.reply.startswith(INBOXES):
            # NATS does not check who may publish there, and it would come from this service.
            log.warning("a claim wants its answer elsewhere than in an inbox", subject=delivery.subject)
            return
        request = ClaimRequest.FromString(delivery.data)
        run = request.run

        def answer(granted: bool, reason: str) -> None:
            response = ClaimResponse(granted=granted, reason=reason)
            self.bus.publish_now(delivery.reply, response.SerializeToString())

        if len(run.execution_id) != ID_BYTES:
            answer(False, "that is no id of an execution")
            return
        fact = Claimed(run.node_execution, run.attempt, run.run_id)
        self.driver.arrive(Arrival(run.execution_id, fact, answer=answer))
