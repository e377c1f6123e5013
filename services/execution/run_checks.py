"""Whether runs are alive, and which credentials are theirs: what the vault asks before it gives a secret (rule 27).

vault -> any replica     TaskService.CheckRuns; the replica judges the runs of its own partitions
replica -> owner         a request on the subject of the partition, for others. No answer: unknown, and asked again
owner -> verdict         by the state in memory. An execution that is not there is loaded, and is unknown until then

A run is alive while its node execution wants it, its task is out, and has not been sent again since the run was seen.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from blockyard.credentials.v1.credential_pb2 import CredentialUse
from blockyard.execution.v1.start_template_pb2 import StartTemplate
from blockyard.runner.v1 import task_service_pb2 as messages
from blockyard.runner.v1.heartbeat_pb2 import Holding
from blockyard.runner.v1.task_service_pb2_grpc import TaskServiceServicer
from grpc.aio import ServicerContext

from services.common.bus import Bus, BusError, Delivery
from services.common.errors import InvalidArgument, Violation
from services.execution.credentials import Reference
from services.execution.dispatch import Dispatcher
from services.execution.driver import Driver
from services.execution.heartbeats import wants_run
from services.execution.intake import ID_BYTES
from services.execution.repository.executions import ExecutionRepository
from services.execution.repository.templates import TemplateRepository

MOST_RUNS = 1_000
"""In one question."""

MOST_USES = 100
"""Places that an answer lists."""

ASK_SECONDS = 2.0
"""Longest time that another owner's answer is waited for."""

Context = ServicerContext[Any, Any]
"""gRPC's own; its parameters are the method's messages, which mypy-protobuf checks."""


def subject(partition: int) -> str:
    """Core subject on which the owner of a partition judges runs of it for other replicas."""
    return f"blockyard.check.{partition}"


@dataclass(slots=True, eq=False)
class RunJudge:
    """Judges runs of executions that are driven here."""

    driver: Driver
    dispatcher: Dispatcher
    look_up: Callable[[UUID], None]
    """Brings an execution into memory if it has not ended."""

    def verdict(self, run: Holding) -> messages.RunVerdict:
        """What is known of a run."""
        if len(run.execution_id) != ID_BYTES:
            return _dead("that is no id of an execution")
        live = self.driver.live.get(run.execution_id)
        if live is None:
            self.look_up(UUID(bytes=run.execution_id))
            return _unknown("its execution is not in memory; if it has not ended it will be")
        if not wants_run(live, run):
            if self.driver.is_uncommitted(run.execution_id):
                return _unknown("its end is on the way to the database")
            return _dead("its node execution does not want it any more")
        sent = self.dispatcher.in_flight.get((live.key, run.node_execution))
        if sent is None or sent.attempt != run.attempt or run.run_id in sent.void_runs:
            return _dead("its task was sent again")
        sent.runs.add(run.run_id)
        execution = live.machine.state.live[run.node_execution]
        node_id = live.machine.topology.plan.nodes[execution.node].id
        references = msgspec.json.decode(live.credentials.get(node_id, b"{}"), type=dict[str, Reference])
        return messages.RunVerdict(
            alive=True,
            user_id=live.user_id,
            graph_id=live.graph_id,
            node_id=node_id,
            credential_ids={pin: reference["id"] for pin, reference in references.items()},
        )

    def on_question(self, bus: Bus, delivery: Delivery) -> None:
        """Answers another replica."""
        request = messages.CheckRunsRequest.FromString(delivery.data)
        response = messages.CheckRunsResponse(verdicts=map(self.verdict, request.runs))
        bus.publish_now(delivery.reply, response.SerializeToString())


class TaskApi(TaskServiceServicer):
    """TaskService: what other services may know of tasks."""

    def __init__(
        self,
        bus: Bus,
        executions: ExecutionRepository,
        templates: TemplateRepository,
        judge: Callable[[int], RunJudge | None],
    ) -> None:
        """`judge` judges runs of a partition, if it is held here."""
        self._bus = bus
        self._executions = executions
        self._templates = templates
        self._judge = judge

    async def CheckRuns(self, request: messages.CheckRunsRequest, context: Context) -> messages.CheckRunsResponse:
        """Judges runs."""
        if len(request.runs) > MOST_RUNS:
            raise InvalidArgument(violations=[Violation("runs", f"{len(request.runs):,}, at most {MOST_RUNS:,}")])
        verdicts: dict[int, messages.RunVerdict] = {}
        elsewhere: dict[int, list[int]] = {}
        for place, run in enumerate(request.runs):
            judge = self._judge(run.partition)
            if judge is not None:
                verdicts[place] = judge.verdict(run)
            else:
                elsewhere.setdefault(run.partition, []).append(place)
        asked = (self._ask(partition, [request.runs[at] for at in places]) for partition, places in elsewhere.items())
        for places, answers in zip(elsewhere.values(), await asyncio.gather(*asked), strict=True):
            verdicts.update(zip(places, answers, strict=True))
        await self._bury(request.runs, verdicts)
        return messages.CheckRunsResponse(verdicts=[verdicts[place] for place in range(len(request.runs))])

    async def FindCredentialUses(
        self, request: messages.FindCredentialUsesRequest, context: Context
    ) -> messages.FindCredentialUsesResponse:
        """Where executions that have not ended were started with a credential, and what will start some with it."""
        found = await self._executions.with_credential(request.user_id, request.credential_id, MOST_USES)
        uses: list[CredentialUse] = []
        for execution_id, version, key in found:
            graph_id, _, place = key.partition("/")
            node_id, _, pin = place.rpartition(".")
            uses.append(
                CredentialUse(
                    graph_id=graph_id, graph_version=version, node_id=node_id, pin=pin, execution_id=str(execution_id)
                )
            )
        for kept in await self._templates.holding(request.user_id, request.credential_id, MOST_USES):
            start = StartTemplate.FromString(kept.template)
            # What is found may stand in an input.
            if kept.is_secret or request.credential_id in start.credentials.values():
                uses.append(
                    CredentialUse(
                        graph_id=start.graph_id,
                        graph_version=start.graph_version,
                        trigger_id=kept.trigger_id,
                        schedule_id=kept.schedule_id,
                    )
                )
        return messages.FindCredentialUsesResponse(uses=uses[:MOST_USES])

    async def _ask(self, partition: int, runs: Sequence[Holding]) -> Sequence[messages.RunVerdict]:
        question = messages.CheckRunsRequest(runs=runs).SerializeToString()
        try:
            delivery = await self._bus.request(subject(partition), question, ASK_SECONDS)
        except BusError:
            return [_unknown("nobody drives its execution at this moment")] * len(runs)
        answer = messages.CheckRunsResponse.FromString(delivery.data)
        return answer.verdicts if len(answer.verdicts) == len(runs) else [_unknown("its owner did not say")] * len(runs)

    async def _bury(self, runs: Sequence[Holding], verdicts: Mapping[int, messages.RunVerdict]) -> None:
        """Runs of executions that have ended, or that never were, are known to be dead: rows say so."""
        unknown = {
            place: UUID(bytes=runs[place].execution_id)
            for place, verdict in verdicts.items()
            if verdict.unknown and len(runs[place].execution_id) == ID_BYTES
        }
        if not unknown:
            return
        alive = await self._executions.unended_among(list(unknown.values()))
        for place, execution_id in unknown.items():
            if execution_id not in alive:
                verdicts[place].CopyFrom(_dead("its execution has ended"))


def _dead(reason: str) -> messages.RunVerdict:
    return messages.RunVerdict(reason=reason)


def _unknown(reason: str) -> messages.RunVerdict:
    return messages.RunVerdict(reason=reason, unknown=True)
