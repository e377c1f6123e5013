"""Incoming webhooks: deliveries are posted to the edge while things break, each again and again under its id.

A sender that got no answer, or another than that its delivery was taken, posts it again; some do so though it was.
Whatever happened, each delivery has started one execution.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

import asyncpg
import httpx2
from blockyard.client import Client, NewTrigger
from blockyard.errors import CallError
from blockyard.graphs import Graph
from blockyard.records import ExecutionStatus, Results
from standardwebhooks import Webhook

TAKEN = 202
TIMES = 2
"""How often each is posted until it is taken."""
CALL_SECONDS = 5.0
PAUSE_SECONDS = 0.3


@dataclass(slots=True, eq=False)
class Deliveries:
    """So many deliveries to one trigger, numbered from 1."""

    edge_url: str
    database_url: str
    client: Client
    run_id: str
    random: Random
    count: int
    named: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Executions that answers named, by the number of the delivery."""
    answers: Counter[str] = field(default_factory=Counter)
    """Other answers than that one was taken."""
    _trigger: NewTrigger = field(init=False)

    async def create_trigger(self) -> None:
        """Makes a graph and its trigger."""
        graph = Graph("hooked")
        graph.output("payload", graph.add("GenericWebhookTriggerBlock")["payload"])
        stored = await self.client.graphs.create(graph)
        self._trigger = await self.client.triggers.create(stored.id)

    async def post(self, span: float, deadline: float) -> None:
        """Posts all, spread over `span` seconds; gives up what is not taken `deadline` seconds after that."""
        end = asyncio.get_running_loop().time() + span + deadline
        async with (
            # There is no TLS to verify, and it would read all authorities of this machine.
            httpx2.AsyncClient(base_url=self.edge_url, timeout=CALL_SECONDS, verify=False) as sender,
            asyncio.TaskGroup() as group,
        ):
            for number in range(1, self.count + 1):
                for _ in range(TIMES):
                    group.create_task(self._post(sender, number, self.random.uniform(0, span), end))

    async def _post(self, sender: httpx2.AsyncClient, number: int, pause: float, end: float) -> None:
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(pause)
            if await self._taken(sender, number):
                return
            pause = PAUSE_SECONDS

    async def _taken(self, sender: httpx2.AsyncClient, number: int) -> bool:
        body, delivery_id, now = json.dumps({"number": number}), f"{self.run_id}-{number}", datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": delivery_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self._trigger.secret.get_secret_value()).sign(delivery_id, now, body),
        }
        try:
            answer = await sender.post(self._trigger.record.path, content=body, headers=headers)
        except httpx2.HTTPError as error:
            self.answers[f"a webhook: {type(error).__name__}"] += 1
            return False
        if answer.status_code != TAKEN:
            self.answers[f"a webhook: {answer.status_code}"] += 1
            return False
        self.named[number].add(answer.json()["executionId"])
        return True

    def execution_ids(self) -> list[str]:
        """All that were named."""
        return [execution_id for execution_ids in self.named.values() for execution_id in execution_ids]

    async def started(self) -> dict[str, ExecutionStatus]:
        """Where each execution of the trigger stands."""
        connection = await asyncpg.connect(self.database_url)
        try:
            records = await connection.fetch(
                "SELECT execution_id::text, status FROM execution.executions WHERE labels ->> 'trigger' = $1",
                self._trigger.record.id,
            )
        finally:
            await connection.close()
        return {execution_id: ExecutionStatus(status) for execution_id, status in records}

    async def number_of(self, execution_id: str) -> int:
        """The number of the delivery that an execution was started for; 0 if it has no results."""
        try:
            results = await self.client.executions.results(execution_id, absent_as_none=True)
        except CallError:
            return 0
        return number_in(results)


def number_in(results: Results) -> int:
    """The number of a delivery in the results of its execution; 0 if these are none of one delivery."""
    match results.get("payload"):
        case [{"number": int(number)}]:
            return number
        case _:
            return 0


def complaints(count: int, named: Mapping[int, set[str]], started: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """By execution, what is wrong: each delivery is to have started the one execution that answers named."""
    made: defaultdict[int, set[str]] = defaultdict(set)
    for execution_id, number in started.items():
        made[number].add(execution_id)
    for number in range(1, count + 1):
        if not made[number]:
            yield "", f"delivery {number} has started nothing that gave results"
        if len(made[number]) > 1:
            yield min(made[number]), f"delivery {number} has started {len(made[number])} executions"
        if made[number] != named.get(number, set()):
            yield "", f"delivery {number} has started {sorted(made[number])}, and answers named {named.get(number)}"
    for execution_id, number in started.items():
        if not 1 <= number <= count:
            yield execution_id, f"it was started for delivery {number}, which was not posted"
