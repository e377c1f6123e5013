"""What an operator has set for sandboxes in a cluster, from the environment of the process."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Json, StringConstraints, ValidationError

from blockyard.sandbox.errors import SandboxUnavailable

PREFIX = "BLOCKYARD_SANDBOX_"
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]


class ClusterSettings(BaseModel):
    """Each field is a variable, BLOCKYARD_SANDBOX_ and its name. Times in seconds; mappings and lists as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field(min_length=1, description="Image that programs run in: a Python from 3.11 on, and languages")
    namespace: str = Field(default="", description="Where the Jobs are made; the runner's own namespace if empty")
    service_account: str = Field(default="default", description="Their ServiceAccount, which needs no rights")
    pull_policy: str = Field(
        default="IfNotPresent", pattern="^(Always|IfNotPresent|Never)$", description="When it is pulled"
    )
    pull_secrets: Json[list[str]] = Field(default=[], description="Secrets to pull the image with")
    runtime_class: str = Field(default="", description="RuntimeClass, such as that of gVisor")
    node_selector: Json[dict[str, str]] = Field(default={}, description="Labels of nodes that programs may run on")
    tolerations: Json[list[dict[str, Any]]] = Field(
        default=[], description="Taints of nodes that they may run on all the same"
    )
    priority_class: str = Field(default="", description="PriorityClass of the pods")
    cpu_request: str = Field(default="100m", description="Processor time that a program is sure of")
    cpu_limit: str = Field(default="1", description="Processor time that a program may take")
    memory_request: str = Field(
        default="128Mi", description="Memory that a program is sure of; its limit follows from what it may use"
    )
    warm: int = Field(
        default=0, ge=0, le=100, description="Jobs of each runner that wait for a program, already running"
    )
    warm_seconds: int = Field(default=600, ge=10, le=86_400, description="Age at which a Job that waits is replaced")
    start_seconds: int = Field(
        default=120, ge=1, le=3600, description="Longest wait for a Job to run, its image to be pulled"
    )
    release: LabelValue = Field(default="blockyard", description="Label of the Jobs: whose they are")
    pool: LabelValue = Field(default="default", description="Label of the Jobs: the runner's pool")
    runner: LabelValue = Field(default="", description="Label of the Jobs: the runner's pod")


def from_environment(environment: Mapping[str, str] = os.environ) -> ClusterSettings:
    """Raises SandboxUnavailable if a variable cannot be what was meant, or one is missing."""
    variables = {name: environment.get(PREFIX + name.upper(), "").strip() for name in ClusterSettings.model_fields}
    given = {name: text for name, text in variables.items() if text}
    given.setdefault("runner", environment.get("HOSTNAME", "")[-63:].strip("-."))
    given.setdefault("pool", environment.get("BLOCKYARD_POOL", "default"))
    if "namespace" not in given:
        given["namespace"] = _own_namespace()
    try:
        return ClusterSettings.model_validate_strings(given)
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors(include_url=False)
        )
        raise SandboxUnavailable(f"code cannot run here: {problems}") from None


def _own_namespace() -> str:
    try:
        return _OWN_NAMESPACE.read_text().strip()
    except OSError:
        return "default"
