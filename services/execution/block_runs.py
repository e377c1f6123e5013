"""Runs of one block without a graph (RunBlock). What flows where, and what becomes of a failure there:

client -> API              malformed: refused by field, before anything is asked
API -> graph service       the block. It is away: UNAVAILABLE, and the client asks again; unknown: NOT_FOUND
block -> judgement         disabled, or meant for graphs alone: refused; no runner has it: UNAVAILABLE;
                           credentials missing: what is needed is the answer, and nothing is started
inputs -> plan             they do not fit: refused by pin
plan -> row                as any start (starting.py): once it is stored, the run reaches its end whatever dies
row -> runner -> outcome   as in any execution: errors of the block, timeouts and lost runners are its outcome
outcome -> client          the call's time is over: the answer has the execution as it stands, and it goes on; the
                           answer is lost: the same request id finds the same execution
"""

from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from blockyard.graph.v1.block_pb2 import Block, BlockType

from services.common.errors import BlockyardError, Violation
from services.execution.block_plans import RunnableBlock
from services.execution.block_setup import Setup, credentials_pins, fields_of, setup_of, taken_apart
from services.execution.catalogue import Catalogue, KnownBlock
from services.execution.errors import BlockNotRunnable, BlockUnavailable, CredentialsMissing, InputsInvalid
from services.execution.planning import Limits
from services.execution.records import ExecutionRow
from services.execution.starting import Starter, StartRequest, check

GRAPHS_ALONE: Mapping[int, str] = {
    BlockType.BLOCK_TYPE_INPUT: "takes an input of a graph",
    BlockType.BLOCK_TYPE_OUTPUT: "gives a result of a graph",
    BlockType.BLOCK_TYPE_NOTE: "is a remark in a graph",
    BlockType.BLOCK_TYPE_COLLECT: "gathers the values of a fan-out",
    BlockType.BLOCK_TYPE_WEBHOOK: "is started by a webhook",
    BlockType.BLOCK_TYPE_WEBHOOK_MANUAL: "is started by a webhook",
    BlockType.BLOCK_TYPE_AGENT: "runs another graph",
    BlockType.BLOCK_TYPE_HUMAN_IN_THE_LOOP: "waits for a person",
}
"""Types of blocks that mean nothing outside of a graph, and why."""

NO_REFERENCE = (
    "names no credential: keep the secret in the vault (CreateCredential) and give its id, in `credentials` of the "
    "request or here as an object with id, provider and type"
)


@dataclass(frozen=True, slots=True)
class BlockRuns:
    """Accepts runs of single blocks on any replica."""

    catalogue: Catalogue
    starter: Starter
    limits: Limits

    async def start(self, request: StartRequest) -> ExecutionRow | Setup:
        """The execution, which is new unless the request id was used before; or what the block needs first."""
        check(request)
        try:
            started = await self._start(request)
        except (BlockyardError, grpc.aio.AioRpcError):
            # Whatever refuses a new run now did not refuse the first call, whose answer may be lost.
            earlier = await self.starter.earlier(request)
            if earlier is None:
                raise
            return earlier
        if isinstance(started, Setup):
            return await self.starter.earlier(request) or started
        return started

    async def _start(self, request: StartRequest) -> ExecutionRow | Setup:
        known = await self.catalogue.block(request.user_id, request.block_id or "")
        _check_type(known.block)
        inputs, named = taken_apart(known.block, request.inputs)
        chosen = {**named, **request.credentials}
        runnable = RunnableBlock(known.block, inputs, self.limits)
        no_references = credentials_pins(known.block).keys() & inputs.keys()
        if no_references:
            # Perhaps a secret itself: it is neither stored nor shown.
            raise InputsInvalid(violations=[Violation(f"inputs.{pin}", NO_REFERENCE) for pin in sorted(no_references)])
        try:
            references = await self.starter.credentials.settle(
                request.user_id, "", fields_of(known.block, inputs), chosen, take_first=True
            )
        except CredentialsMissing as error:
            lacking = {violation.field.removeprefix("credentials.") for violation in error.violations}
            if lacking & chosen.keys():
                raise
            return setup_of(known.block, lacking, runnable.missing(inputs))
        _check_presence(known)
        return await self.starter.accept(request, runnable, references, inputs)


def _check_type(block: Block) -> None:
    reason = ""
    if block.disabled:
        reason = f"{block.name} cannot be run: {block.unavailable_reason or 'it is disabled'}"
    elif block.unavailable_reason:
        reason = f"{block.name} cannot be run: {block.unavailable_reason}"
    elif block.type in GRAPHS_ALONE:
        reason = f"{block.name} {GRAPHS_ALONE[block.type]}: it cannot be run on its own"
    if reason:
        raise BlockNotRunnable(f"{reason}.", violations=[Violation("block_id", reason)])


def _check_presence(known: KnownBlock) -> None:
    if known.absence:
        raise BlockUnavailable(
            f"No runner can run {known.block.name} now: {known.absence}. Start a runner that has it, and try again."
        )
