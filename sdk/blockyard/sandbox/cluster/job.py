"""The Job that one program runs in."""

from typing import Any

from blockyard.sandbox import view
from blockyard.sandbox.cluster.inside import BOOT
from blockyard.sandbox.cluster.settings import ClusterSettings
from blockyard.sandbox.program import MEBIBYTE, Limits

Json = Any  # what stands in manifests
CONTAINER = "code"
# After its end, for who wants to know how it ended.
KEPT_SECONDS = 60
# The programs inside, the code, and its variables.
GIVEN_BYTES = 64 * MEBIBYTE
# The first process: above all for the answer, which it packs.
OWN_BYTES = 96 * MEBIBYTE
# What a container writes is written to its log too, which counts as this.
LOG_BYTES = 256 * MEBIBYTE
RELEASE, POOL, RUNNER, PROCESS, JOB = (f"blockyard/{name}" for name in ("sandbox", "pool", "runner", "process", "job"))


def described(settings: ClusterSettings, name: str, process: str, limits: Limits, deadline_seconds: int) -> Json:
    """The Job. `process` tells this process from an earlier one of the same pod; the deadline is the whole Job's."""
    labels = {
        RELEASE: settings.release,
        POOL: settings.pool,
        RUNNER: settings.runner,
        PROCESS: process,
        JOB: name,
        "app.kubernetes.io/component": "sandbox",
        "app.kubernetes.io/part-of": "blockyard",
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": settings.namespace, "labels": labels},
        "spec": {
            # Nobody else would speak with a second pod.
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": deadline_seconds,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(settings, limits),
            },
        },
    }


def _pod(settings: ClusterSettings, limits: Limits) -> Json:
    # The kernel counts processes by user, on a whole node.
    user = view.any_user()
    pod: Json = {
        "restartPolicy": "Never",
        "serviceAccountName": settings.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # Nothing in it wants to be asked to end.
        "terminationGracePeriodSeconds": 1,
        "hostname": "sandbox",
        # There is no network to look names up in.
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["127.0.0.1"]},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(settings, limits)],
        "volumes": [
            _in_memory("blockyard", GIVEN_BYTES),
            _in_memory("work", limits.folder_size),
            _in_memory("result", limits.file_size + MEBIBYTE),
        ],
    }
    optional = {
        "imagePullSecrets": [{"name": name} for name in settings.pull_secrets],
        "runtimeClassName": settings.runtime_class,
        "nodeSelector": settings.node_selector,
        "tolerations": settings.tolerations,
        "priorityClassName": settings.priority_class,
    }
    return pod | {name: value for name, value in optional.items() if value}


def _container(settings: ClusterSettings, limits: Limits) -> Json:
    # What is in volumes in memory counts as memory.
    memory = limits.memory + limits.folder_size + limits.file_size + GIVEN_BYTES + OWN_BYTES
    return {
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "command": ["python3", "-I", "-S", "-B", "-X", "utf8", "-c", BOOT],
        "workingDir": view.WORK,
        "stdin": True,
        # The input ends with the connection of who is attached to it, and never comes back.
        "stdinOnce": True,
        "resources": {
            "requests": {"cpu": settings.cpu_request, "memory": settings.memory_request, "ephemeral-storage": "0"},
            "limits": {
                "cpu": settings.cpu_limit,
                "memory": str(memory),
                "ephemeral-storage": str(LOG_BYTES),
            },
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "blockyard", "mountPath": "/blockyard"},
            {"name": "work", "mountPath": view.WORK},
            # In the working folder, so that one limit holds for both.
            {"name": "work", "mountPath": "/tmp", "subPath": view.TEMPORARY},
            {"name": "result", "mountPath": view.RESULT},
        ],
    }


def _in_memory(name: str, size: int) -> Json:
    return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": str(size)}}
