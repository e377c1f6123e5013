"""What a pod's status says of the program that it is for: whether it runs, cannot, or how it ended."""

from typing import Any

from blockyard.sandbox.cluster.job import CONTAINER
from blockyard.sandbox.errors import SandboxError, SandboxLost, SandboxUnavailable

Json = Any  # objects of Kubernetes

# Set in objects that have been deleted.
GONE = "gone"
_PULL = "To do: check BLOCKYARD_SANDBOX_IMAGE and BLOCKYARD_SANDBOX_PULL_SECRETS"
_IMAGE = "To do: check the image, which needs a python3 from 3.11 on, and the settings BLOCKYARD_SANDBOX_..."
# Reasons that a container waits for, which will not change by themselves.
_NEVER = {
    "InvalidImageName": _PULL,
    "ErrImageNeverPull": _PULL,
    "ImageInspectError": _PULL,
    "CreateContainerConfigError": _IMAGE,
    "CreateContainerError": _IMAGE,
    "RunContainerError": _IMAGE,
}


def runs(pod: Json) -> bool:
    """Whether one can attach to its container."""
    return "running" in _container(pod).get("state", {})


def why_not(pod: Json) -> SandboxError | None:
    """Why its container will not run; None while it still may."""
    waiting = _container(pod).get("state", {}).get("waiting", {})
    reason, said = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _NEVER and "deadline exceeded" not in said:
        return SandboxUnavailable(f"code cannot run here: {_named(pod)}: {reason}: {said}. {_NEVER[reason]}.")
    if reason == "ImagePullBackOff":
        # The registry may be away, so it is tried again elsewhere and later.
        return SandboxLost(f"the image of the sandbox cannot be pulled: {_named(pod)}: {said}. {_PULL}")
    return why_ended(pod) if has_ended(pod) else None


def waits_for(pod: Json | None) -> str:
    """What a pod that does not run yet waits for."""
    if pod is None:
        return "the Job has no pod yet"
    for condition in pod["status"].get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    waiting = _container(pod).get("state", {}).get("waiting", {})
    said = ": ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
    return said or f"it is {pod['status'].get('phase', 'Pending')}"


def has_ended(pod: Json) -> bool:
    """Whether nothing runs in it any more, and it says how it ended."""
    if pod.get(GONE) or pod["status"].get("phase") in ("Failed", "Succeeded"):
        return True
    return "terminated" in _container(pod).get("state", {})


def out_of_memory(pod: Json) -> bool:
    """Whether the kernel ended it for what its processes held together."""
    return bool(_terminated(pod).get("reason") == "OOMKilled")


def why_ended(pod: Json | None, said: str = "") -> SandboxError:
    """Why there was no answer from a pod that has ended, or is gone. `said` is what it wrote on its standard error."""
    if pod is None:
        return SandboxLost("the sandbox's pod was deleted while the code ran")
    status, name = pod["status"], _named(pod)
    reason, message = status.get("reason", ""), status.get("message", "")
    for condition in status.get("conditions", ()):
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            reason, message = condition.get("reason", reason), condition.get("message", message)
    terminated = _terminated(pod)
    if reason == "Evicted" and "exceed" in message and "node was low" not in message:
        # What it may use was used up by the code itself: it would be so again.
        return SandboxError(f"the code was stopped: {message}")
    if reason:
        return SandboxLost(f"the sandbox was ended while the code ran: {name}: {reason}: {message}")
    if terminated.get("reason") in ("StartError", "ContainerCannotRun"):
        return SandboxUnavailable(f"code cannot run here: {name}: {terminated.get('message', '')}. {_IMAGE}.")
    if "exitCode" in terminated and terminated["exitCode"] not in (0, 137, 143):
        last = (said.strip().splitlines() or [""])[-1]
        return SandboxUnavailable(
            f"code cannot run here: {name}: the first process ended with exit code {terminated['exitCode']}: "
            f"{last[:300]}. {_IMAGE}."
        )
    if terminated.get("exitCode") == 0:
        # So it ends when nobody is there any more.
        return SandboxLost(f"the connection to the sandbox broke off while the code ran: {name}")
    deleted = pod.get(GONE) or "deletionTimestamp" in pod["metadata"]
    how = "it was deleted" if deleted else terminated.get("reason", "it is not known why")
    return SandboxLost(f"the sandbox was ended while the code ran: {name}: {how}")


def _named(pod: Json) -> str:
    node = pod["spec"].get("nodeName")
    name = f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
    return f"{name} on node {node}" if node else name


def _container(pod: Json) -> Json:
    # Others may have been added to it.
    return next((one for one in pod["status"].get("containerStatuses") or () if one["name"] == CONTAINER), {})


def _terminated(pod: Json) -> Json:
    return _container(pod).get("state", {}).get("terminated", {})
