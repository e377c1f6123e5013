"""Asks for the leave to run a task that must not be repeated (rule 3)."""

import asyncio

from blockyard.runner.v1.heartbeat_pb2 import ClaimRequest, ClaimResponse

from services.common.backoff import delays
from services.common.bus import Bus, BusError
from services.runner.runs import Run

CLAIM_SECONDS = 2.0


async def claim(bus: Bus, runner_id: str, run: Run) -> ClaimResponse:
    """Whether the run may begin, or why not. Asked with the same run id until it is answered: the answer stays.

    Whoever does not want the run any more cancels this.
    """
    request = ClaimRequest(runner_id=runner_id, run=run.holding()).SerializeToString()
    subject = f"blockyard.claim.{run.task.partition}"
    for pause in delays():
        try:
            delivery = await bus.request(subject, request, CLAIM_SECONDS)
        except BusError:
            await asyncio.sleep(pause)
        else:
            return ClaimResponse.FromString(delivery.data)
    raise AssertionError("delays never end")
