"""What runners register: checked, hashed, and stored as a whole or not at all."""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from blockyard.block.json_schemas import without_words
from blockyard.block.requirements import CREDENTIAL_TYPES, CredentialsRequirement
from blockyard.graph.v1.block_pb2 import Block, BlockType, Effect

from services.common.errors import InvalidArgument, Violation
from services.common.pools import POOL
from services.common.structs import from_struct, to_struct
from services.graph.block_schemas import schema_problem
from services.graph.catalogue import Catalogue
from services.graph.errors import BlockInvalid
from services.graph.records import RegisteredBlock, Registration
from services.graph.repository.blocks import BlockRepository
from services.graph.rules.policies import retry_violations, seconds_violation

KEPT_REGISTRATIONS = 100
DEFAULT_POOL = "default"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_POOL = re.compile(POOL)
_CATEGORY = re.compile(r"[A-Z][A-Z0-9_]{0,49}")
_HASH = re.compile(r"[0-9a-f]{64}")
_RUNNER = re.compile(r"[\x21-\x7e]{1,200}")
_LONGEST_REASON = 2_000
_LONGEST_TIMEOUT_SECONDS = 7 * 24 * 3600.0
# An execution does not depend on these.
_WORDS = (
    "name",
    "description",
    "categories",
    "contributors",
    "disabled",
    "unavailable_reason",
    "availability",
    "schema_hash",
)
_NEEDED_INPUTS: Mapping[int, frozenset[str]] = {
    BlockType.BLOCK_TYPE_INPUT: frozenset({"name", "value"}),
    BlockType.BLOCK_TYPE_OUTPUT: frozenset({"name", "value"}),
    BlockType.BLOCK_TYPE_COLLECT: frozenset({"item"}),
}


@dataclass(slots=True, eq=False)
class Registrar:
    """Takes registrations. Runners repeat theirs all the time, so one that was checked is known by its digest."""

    repository: BlockRepository
    catalogue: Catalogue
    _checked: OrderedDict[bytes, list[RegisteredBlock]] = field(default_factory=OrderedDict)

    async def register(self, runner_id: str, pool: str, blocks: Sequence[Block]) -> dict[str, str]:
        """The schema hash of each block by its id."""
        if not _RUNNER.fullmatch(runner_id):
            raise InvalidArgument(violations=[Violation("runner_id", "expected 1 to 200 printable ASCII characters")])
        digest = _digest(pool, blocks)
        checked = self._checked.get(digest)
        if checked is None:
            violations = list(block_violations(blocks, pool))
            if violations:
                raise BlockInvalid(violations=violations)
            checked = self._checked[digest] = [registered(block, pool) for block in blocks]
            if len(self._checked) > KEPT_REGISTRATIONS:
                self._checked.popitem(last=False)
        if not await self.repository.seen_again(runner_id, digest):
            await self.repository.register(Registration(runner_id, pool or DEFAULT_POOL, digest, checked))
            await self.repository.forget()
        # Also for what is known: its blocks may have counted as absent until now.
        self.catalogue.expire()
        return {block.block_id: block.schema_hash for block in checked}


def registered(block: Block, pool: str) -> RegisteredBlock:
    """The block as it is stored. The SDK's runners bring their hash, which they know their blocks by; where a runner
    brings none, it is made here. That a runner cannot run it is said of the runner, and not of the block."""
    copy = Block()
    copy.CopyFrom(block)
    for field_of_ours in ("register_time", "availability"):
        copy.ClearField(field_of_ours)
    if not block.disabled:
        copy.ClearField("unavailable_reason")
    copy.pool = block.pool or pool or DEFAULT_POOL
    if copy.effect == Effect.EFFECT_UNSPECIFIED:
        copy.effect = Effect.EFFECT_ONCE
    copy.schema_hash = block.schema_hash or schema_hash(copy)
    definition = copy.SerializeToString(deterministic=True)
    return RegisteredBlock(
        block_id=block.id,
        schema_hash=copy.schema_hash,
        definition_hash=hashlib.sha256(definition).digest(),
        definition=definition,
        in_pool=copy.pool == (pool or DEFAULT_POOL),
        not_configured="" if block.disabled else block.unavailable_reason,
    )


def schema_hash(block: Block) -> str:
    """SHA-256 (hex) over all that an execution depends on; words may change without another hash."""
    facts = Block()
    facts.CopyFrom(block)
    for words in _WORDS:
        facts.ClearField(words)  # type: ignore[arg-type]  # names of fields, as the tuple above has them
    facts.input_schema.CopyFrom(to_struct(without_words(from_struct(block.input_schema))))
    facts.output_schema.CopyFrom(to_struct(without_words(from_struct(block.output_schema))))
    return hashlib.sha256(facts.SerializeToString(deterministic=True)).hexdigest()


def _digest(pool: str, blocks: Sequence[Block]) -> bytes:
    # What is kept of a registration is more than the first release kept: what it took is taken again.
    digest = hashlib.sha256(f"2 {pool}".encode())
    for block in blocks:
        data = block.SerializeToString(deterministic=True)
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


def block_violations(blocks: Sequence[Block], pool: str) -> Iterator[Violation]:
    """What is wrong with a registration's blocks."""
    if pool and not _POOL.fullmatch(pool):
        yield Violation("pool", _pool_problem(pool))
    places: dict[str, int] = {}
    for index, block in enumerate(blocks):
        path = f"blocks[{index}]"
        if not _is_uuid(block.id):
            yield Violation(f"{path}.id", f"expected a UUID in lower case, got {block.id[:100]!r}")
        elif block.id in places:
            yield Violation(f"{path}.id", f"is the id of blocks[{places[block.id]}] already")
        places.setdefault(block.id, index)
        yield from _own_violations(block, path)
        yield from _schema_violations(block, path)


def _own_violations(block: Block, path: str) -> Iterator[Violation]:
    if not _NAME.fullmatch(block.name):
        yield Violation(f"{path}.name", f"expected the name of a class, got {block.name[:100]!r}")
    if block.type not in BlockType.values() or block.type == BlockType.BLOCK_TYPE_UNSPECIFIED:
        yield Violation(f"{path}.type", "expected one of the types of blocks")
    if block.effect not in Effect.values():
        yield Violation(f"{path}.effect", "expected one of the effects")
    if block.pool and not _POOL.fullmatch(block.pool):
        yield Violation(f"{path}.pool", _pool_problem(block.pool))
    if len(block.unavailable_reason) > _LONGEST_REASON or "\0" in block.unavailable_reason:
        yield Violation(f"{path}.unavailable_reason", f"expected at most {_LONGEST_REASON} characters, without NUL")
    for category in block.categories:
        if not _CATEGORY.fullmatch(category):
            yield Violation(f"{path}.categories", f"expected names of A-Z 0-9 _, got {category[:100]!r}")
    if block.schema_hash and not _HASH.fullmatch(block.schema_hash):
        yield Violation(f"{path}.schema_hash", "expected a SHA-256 in hexadecimal digits, or nothing")
    if block.HasField("retry"):
        yield from retry_violations(block.retry, f"{path}.retry")
    if block.HasField("timeout"):
        yield from seconds_violation(block.timeout, f"{path}.timeout", 0.001, _LONGEST_TIMEOUT_SECONDS)


def _schema_violations(block: Block, path: str) -> Iterator[Violation]:
    pins = {}
    for side, struct in (("input_schema", block.input_schema), ("output_schema", block.output_schema)):
        schema = from_struct(struct)
        pins[side] = schema.get("properties") or {}
        problem = schema_problem(schema)
        if problem:
            yield Violation(f"{path}.{side}", problem)
            pins[side] = {}
    for pin in block.many_pins:
        if pin not in pins["output_schema"]:
            yield Violation(f"{path}.many_pins", f"the output schema has no pin {pin[:100]!r}")
    for pin, schema in pins["input_schema"].items():
        if problem := credentials_problem(schema, pins["input_schema"]):
            yield Violation(f"{path}.input_schema", f"the pin {pin[:100]!r}: {problem}")
    for pin in sorted(_NEEDED_INPUTS.get(block.type, frozenset()) - set(pins["input_schema"])):
        yield Violation(f"{path}.input_schema", f"a block of type {BlockType.Name(block.type)} needs the pin {pin!r}")


def credentials_problem(schema: Any, pins: Mapping[str, Any]) -> str:  # Any: a JSON schema, which may be a boolean
    """Why the marks of a pin for credentials cannot be read; empty if they can, or if it is another pin."""
    wanted = CredentialsRequirement.of_schema(schema)
    if wanted is None:
        return ""
    if not wanted.providers:
        return "credentials_provider: expected a list of names"
    for one in wanted.types:
        if one not in CREDENTIAL_TYPES:
            return f"credentials_types: expected some of {', '.join(CREDENTIAL_TYPES)}, got {one[:100]!r}"
    base = wanted.discriminator.partition(".")[0]
    if base and base not in pins:
        return f"credentials_discriminator: there is no input pin {base[:100]!r}"
    for provider in wanted.discriminator_mapping.values():
        if provider not in wanted.providers:
            return f"credentials_discriminator_mapping: there is no provider {provider[:100]!r}"
    return ""


def _pool_problem(pool: str) -> str:
    return f"expected 1 to 63 characters of a-z 0-9 - that do not begin with -, got {pool[:100]!r}"


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
