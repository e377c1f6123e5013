"""What the repository gives and takes: rows as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class GraphContent:
    """A version's content, serialised messages of Graph: without nodes and links, and these alone."""

    name: str
    head: bytes
    body: bytes
    credential_ids: Sequence[UUID] = ()
    """Credentials that its nodes name."""


@dataclass(frozen=True, slots=True)
class GraphRow:
    """A graph at one version. The body may not have been asked for."""

    graph_id: UUID
    user_id: str
    version: int
    active_version: int
    latest_version: int
    forked_from_id: UUID | None
    forked_from_version: int | None
    create_time: datetime
    version_time: datetime
    head: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class NewGraph:
    """A graph to be stored as version 1."""

    graph_id: UUID
    user_id: str
    content: GraphContent
    request_id: str | None = None
    request_hash: bytes | None = None
    forked_from_id: UUID | None = None
    forked_from_version: int | None = None


@dataclass(frozen=True, slots=True)
class RegisteredBlock:
    """A block as a runner registered it. The definition is the same wherever the runner can run it or not."""

    block_id: str
    schema_hash: str
    definition_hash: bytes
    definition: bytes
    in_pool: bool = True
    """Whether the runner works for the pool that the block's tasks go to."""
    not_configured: str = ""
    """Why the runner cannot run it; empty if it can."""


@dataclass(frozen=True, slots=True)
class Registration:
    """All blocks of a runner. Equal digests are equal registrations."""

    runner_id: str
    pool: str
    digest: bytes
    blocks: Sequence[RegisteredBlock]


@dataclass(frozen=True, slots=True)
class Sighting:
    """The current definition of a block, and what its runners say of it."""

    block_id: str
    schema_hash: str
    definition_hash: bytes
    present: bool
    """Whether a runner of its pool has registered it of late."""
    seen_time: datetime | None
    """When one did last."""
    not_configured: str
    """Why those that are there cannot run it; empty if one can, or if there is none."""


@dataclass(frozen=True, slots=True)
class RunnerSighting:
    """A runner that has registered a version of a block."""

    runner_id: str
    pool: str
    seen_time: datetime
    present: bool
    not_configured: str


@dataclass(frozen=True, slots=True)
class VersionSighting:
    """A version of a block, with the runners that have it, the latest first."""

    schema_hash: str
    register_time: datetime
    pool: str
    runners: Sequence[RunnerSighting]


@dataclass(frozen=True, slots=True)
class PresetContent:
    """What the owner of a preset says. `inputs` is a JSON object."""

    graph_version: int
    name: str
    description: str
    inputs: bytes
    credentials: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PresetRow:
    """A stored preset."""

    preset_id: UUID
    graph_id: UUID
    user_id: str
    content: PresetContent
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True)
class NewPreset:
    """A preset to be stored."""

    preset_id: UUID
    graph_id: UUID
    user_id: str
    content: PresetContent
    request_id: str | None
    request_hash: bytes | None
