"""Accepts starts: checks the inputs, fixes what the execution runs on, stores the row. Then it is durable."""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias
from uuid import UUID

import grpc
import msgspec
from blockyard.execution.v1.execution_service_pb2 import CreditsPolicy
from blockyard.values import encode

from services.common import telemetry
from services.common.errors import BlockyardError, InvalidArgument, Violation
from services.common.ids import new_id
from services.execution.accepting import Acceptance, RequestIdTaken, TooManyUnended
from services.execution.block_plans import RunnableBlock
from services.execution.catalogue import Catalogue, Found, Preset
from services.execution.credentials import (
    Credentials,
    References,
    decode_references,
    encode_references,
    with_preset,
)
from services.execution.engine import RULES, Topology
from services.execution.errors import InputsInvalid, RequestIdReused, TooManyExecutions
from services.execution.loading import Loader
from services.execution.planning import GraphPart, Runnable
from services.execution.purse import Purse
from services.execution.records import ExecutionRow, NewExecution, Parent
from services.execution.repository.executions import ExecutionRepository
from services.execution.secret_inputs import secrets_of
from services.execution.translation import depth

MOST_LABELS = 32
LONGEST_LABEL = 100
LONGEST_REQUEST_ID = 100
PRIORITIES = range(-100, 101)
MOST_CREDENTIALS = 1_000
SECRET_KEPT = (
    "is secret, and would be kept here: let the graph take it from a credential (CreateCredential) and name that one"
)


Startable: TypeAlias = Runnable | RunnableBlock | GraphPart


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A start as it was asked for: of a graph, or (where `block_id` is not None) of one block by its id or name."""

    user_id: str
    inputs: dict[str, Any]
    request_id: str
    graph_id: str = ""
    graph_version: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    priority: int = 0
    block_id: str | None = None
    credentials: dict[str, str] = field(default_factory=dict)
    """Ids of credentials, by the name of a field or by "<node id>.<pin>"; of a block by pin."""
    credits_policy: int = 0
    """A CreditsPolicy."""
    preset_id: str = ""
    """Whose inputs and credentials count where the request gives none of that name; the graph may then be left out."""
    execution_id: UUID | None = None
    """Of the execution, if it is a new one: so a caller knows whether it is. None to have one drawn."""


@dataclass(frozen=True, slots=True)
class StartLimits:
    """Bounds of a start."""

    input_bytes: int
    input_depth: int
    partitions: int


@dataclass(slots=True, eq=False)
class Starter:
    """Accepts starts on any replica."""

    catalogue: Catalogue
    executions: ExecutionRepository
    acceptance: Acceptance
    loader: Loader
    limits: StartLimits
    credentials: Credentials
    purse: Purse | None
    """None where credits are not counted."""
    own_partitions: Callable[[], list[int]]
    """Partitions held here: an execution that is driven where it was accepted starts a hop sooner."""
    _stored_plans: set[bytes] = field(default_factory=set)

    async def start(self, request: StartRequest) -> ExecutionRow:
        """The execution of a graph, which is new unless the request id was used before."""
        check(request)
        try:
            found = await self._found(request)
            references = await self._references(request, found)
            if not request.preset_id:
                return await self.accept(request, found.runnable, references)
            with _telling_of(found.preset, request):
                return await self.accept(request, found.runnable, references, _merged(found.preset, request))
        except (BlockyardError, grpc.aio.AioRpcError):
            # Whatever refuses a new execution now did not refuse the first call, whose answer may be lost.
            earlier = await self.earlier(request)
            if earlier is None:
                raise
            return earlier

    async def check_start(self, request: StartRequest, later: frozenset[str] = frozenset()) -> str:
        """The id of the graph that would be started. Raises what `start` would refuse now; for what is kept to be
        started later, again and again.

        The inputs `later` come with each start: here it only counts that the graph has them. Secret inputs are refused
        as well: they would be kept, and shown, for as long.
        """
        check(request)
        found = await self._found(request)
        kept = sorted(secrets_of(found.runnable.plan).inputs & request.inputs.keys())
        if kept:
            raise InputsInvalid(violations=[Violation(f"inputs.{name}", SECRET_KEPT) for name in kept])
        _check_names(found.runnable, later)
        with _telling_of(found.preset, request):
            self._inputs(found.runnable, _merged(found.preset, request), later)
        await self._references(request, found)
        return found.runnable.graph_id

    async def _found(self, request: StartRequest) -> Found:
        return await self.catalogue.to_start(
            request.user_id, request.graph_id, request.graph_version, request.preset_id
        )

    async def _references(self, request: StartRequest, found: Found) -> References:
        runnable = found.runnable
        given = with_preset(found.preset.credentials, request.credentials, runnable.credentials_fields)
        return await self.credentials.settle(request.user_id, runnable.graph_id, runnable.credentials_fields, given)

    async def accept(
        self,
        request: StartRequest,
        runnable: Runnable | RunnableBlock,
        references: References,
        inputs: dict[str, Any] | None = None,
    ) -> ExecutionRow:
        """A new execution of what is to be started, which is durable. Raises RequestIdReused if the id is taken.

        `inputs` are those of the request where they are not to be taken as they are.
        """
        taken = self._inputs(runnable, request.inputs if inputs is None else inputs)
        if self.purse is not None:
            await self.purse.check_start(request.user_id)
        new = self._new(request, runnable, taken)
        if new.request_hash is not None and inputs is not None:
            new = replace(new, request_hash=_request_hash(request, encode(request.inputs)))
        return await self._store(replace(new, credentials=encode_references(references)), runnable)

    async def start_child(
        self,
        request: StartRequest,
        runnable: Runnable | GraphPart,
        inputs: bytes,
        parent: Parent,
        depth: int,
        credentials: str | None,
    ) -> UUID:
        """The execution that a node execution is the run of, which is durable; started at most once for a parent.

        `inputs` is a JSON object whose values came over links, references to the blob store among them: they are taken
        as they are, and the blocks that they come to fit and check them. Those that the graph has not are left out.
        `credentials` are those of the execution above, as its row has them.
        """
        given = msgspec.json.decode(inputs, type=dict[str, msgspec.Raw])
        missing = [name for name in runnable.required if bytes(given.get(name, b"null")) == b"null"]
        if missing:
            raise InputsInvalid(violations=[Violation(f"inputs.{name}", "this input is required") for name in missing])
        taken = msgspec.json.encode({name: value for name, value in given.items() if name in runnable.names})
        if len(taken) > self.limits.input_bytes:
            message = f"{len(taken)} bytes of inputs, at most {self.limits.input_bytes} are taken"
            raise InputsInvalid(violations=[Violation("inputs", message)])
        if isinstance(runnable, Runnable) and runnable.credentials_fields:
            inherited = decode_references(credentials)
            own = await self.credentials.settle(
                request.user_id, runnable.graph_id, runnable.credentials_fields, {}, inherited
            )
            credentials = encode_references({**inherited, **own})
        new = replace(self._new(request, runnable, taken), parent=parent, depth=depth, credentials=credentials)
        try:
            return (await self._store(new, runnable)).execution_id
        except RequestIdReused:
            earlier = await self.executions.by_request(request.user_id, request.request_id)
            if earlier is None or earlier.parent != parent:
                raise
            return earlier.execution_id

    async def _store(self, new: NewExecution, runnable: Startable) -> ExecutionRow:
        known = runnable.plan_hash in self._stored_plans
        try:
            row = await self.acceptance.accept(new, None if known else runnable.plan_bytes)
        except TooManyUnended:
            most = self.acceptance.most_unended
            raise TooManyExecutions(
                f"You have {most} unfinished executions, which is the limit: wait for some to end, or stop some."
            ) from None
        except RequestIdTaken:
            # By the same request, as earlier() finds out, or by another one.
            raise RequestIdReused from None
        self._stored_plans.add(runnable.plan_hash)
        if self.loader.knows(runnable.plan_hash) is None:
            self.loader.remember(runnable.plan_hash, Topology(runnable.plan))
        return row

    async def earlier(self, request: StartRequest) -> ExecutionRow | None:
        """The execution that a request id has started; None if there is none."""
        if not request.request_id:
            return None
        earlier = await self.executions.by_request(request.user_id, request.request_id)
        if earlier is None:
            return None
        try:
            inputs = encode(request.inputs)
        except ValueError:
            raise RequestIdReused from None
        if earlier.request_hash != _request_hash(request, inputs):
            raise RequestIdReused
        return earlier

    def _inputs(
        self, runnable: Runnable | RunnableBlock, inputs: dict[str, Any], later: frozenset[str] = frozenset()
    ) -> bytes:
        if depth(inputs) > self.limits.input_depth:
            raise InputsInvalid(
                violations=[Violation("inputs", f"nested deeper than {self.limits.input_depth} levels")]
            )
        missing = {f"inputs.{name}" for name in later - inputs.keys()}
        problems = [problem for problem in runnable.problems(inputs) if problem.field not in missing]
        if problems:
            raise InputsInvalid(violations=[Violation(problem.field, problem.description) for problem in problems])
        parts: dict[str, Any] = {}
        violations: list[Violation] = []
        for name, value in inputs.items():
            try:
                encode(value)
                parts[name] = value
            except ValueError as error:
                violations.append(Violation(f"inputs.{name}", str(error)))
        if violations:
            raise InputsInvalid(violations=violations)
        data = encode(parts)
        if len(data) > self.limits.input_bytes:
            message = f"{len(data)} bytes of inputs, at most {self.limits.input_bytes} are taken"
            raise InputsInvalid(violations=[Violation("inputs", message)])
        return data

    def _new(self, request: StartRequest, runnable: Startable, inputs: bytes) -> NewExecution:
        execution_id = request.execution_id or new_id()
        own = self.own_partitions()
        partition = random.choice(own) if own else execution_id.int % self.limits.partitions
        return NewExecution(
            execution_id=execution_id,
            user_id=request.user_id,
            graph_id=runnable.graph_id,
            graph_version=runnable.graph_version,
            partition=partition,
            plan_hash=runnable.plan_hash,
            rules=RULES,
            inputs=inputs,
            labels={**request.labels, **runnable.labels},
            priority=request.priority,
            traceparent=telemetry.inject(),
            request_id=request.request_id or None,
            request_hash=_request_hash(request, inputs) if request.request_id else None,
            credits_policy=request.credits_policy,
        )


def _check_names(runnable: Runnable, names: Iterable[str]) -> None:
    unknown = sorted(name for name in names if name not in runnable.names)
    if unknown:
        known = ", ".join(runnable.names) or "none"
        problems = [
            Violation(f"inputs.{name}", f"the graph has no input {name!r}; it has: {known}") for name in unknown
        ]
        raise InputsInvalid(violations=problems)


def _merged(preset: Preset, request: StartRequest) -> dict[str, Any]:
    return {**preset.inputs, **request.inputs}


@contextmanager
def _telling_of(preset: Preset, request: StartRequest) -> Iterator[None]:
    """Refused inputs that the preset gave are told as such: the graph may have changed since it was stored."""
    paths = [f"inputs.{name}" for name in preset.inputs.keys() - request.inputs.keys()]
    try:
        yield
    except InputsInvalid as error:
        error.violations = tuple(
            replace(one, description=f"{one.description} (the preset gives it)")
            if any(_is_within(one.field, path) for path in paths)
            else one
            for one in error.violations
        )
        raise


def _is_within(field: str, path: str) -> bool:
    """Whether a field is what stands at a path, or a part of that."""
    return field == path or field.startswith((f"{path}.", f"{path}["))


def _request_hash(request: StartRequest, inputs: bytes) -> bytes:
    """What makes two requests the same; a start of the active version stays the same when another one becomes it."""
    parts = [request.graph_id, str(request.graph_version), repr(sorted(request.labels.items())), str(request.priority)]
    if request.block_id is not None:
        parts.append(f"block {request.block_id}")
    if request.credentials:
        parts.append(f"credentials {sorted(request.credentials.items())!r}")
    if request.credits_policy == CreditsPolicy.CREDITS_POLICY_FAIL:
        parts.append("fails without credits")
    if request.preset_id:
        parts.append(f"preset {request.preset_id}")
    return hashlib.sha256("\0".join(parts).encode() + b"\0" + inputs).digest()


def check(request: StartRequest) -> None:
    """Raises InvalidArgument with all that is malformed."""
    violations: list[Violation] = []
    path, subject = ("graph_id", request.graph_id) if request.block_id is None else ("block_id", request.block_id)
    if not subject and not request.preset_id:
        violations.append(Violation(path, "is required"))
    if request.graph_version < 0:
        violations.append(Violation("graph_version", f"must not be negative, got {request.graph_version}"))
    if len(request.request_id) > LONGEST_REQUEST_ID:
        violations.append(Violation("request_id", f"longer than {LONGEST_REQUEST_ID} characters"))
    if len(request.labels) > MOST_LABELS:
        violations.append(Violation("labels", f"more than {MOST_LABELS} labels"))
    for name, value in request.labels.items():
        if not name or len(name) > LONGEST_LABEL or len(value) > LONGEST_LABEL:
            violations.append(Violation(f"labels.{name[:LONGEST_LABEL]}", "1 to 100 characters"))
    if len(request.credentials) > MOST_CREDENTIALS:
        violations.append(Violation("credentials", f"more than {MOST_CREDENTIALS:,}"))
    if request.credits_policy not in CreditsPolicy.values():
        violations.append(Violation("credits_policy", f"is none that there is: {request.credits_policy}"))
    if request.priority not in PRIORITIES:
        violations.append(Violation("priority", f"must lie between -100 and 100, got {request.priority}"))
    if violations:
        raise InvalidArgument(violations=violations)
