"""Jobs, and what a runner and a container say to each other."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from blockyard.sandbox import (
    End,
    LanguageUnavailable,
    Limits,
    Outcome,
    Program,
    ProgramInvalid,
    SandboxError,
    SandboxFile,
    SandboxLost,
    SandboxUnavailable,
    framing,
    wire,
)
from blockyard.sandbox.cluster import states
from blockyard.sandbox.cluster.inside import modules
from blockyard.sandbox.cluster.job import described
from blockyard.sandbox.cluster.settings import ClusterSettings

EVERYTHING = {
    "namespace": "sandboxes",
    "pull_secrets": ["registry"],
    "runtime_class": "gvisor",
    "node_selector": {"a": "b"},
    "tolerations": [{"key": "code", "operator": "Exists"}],
    "priority_class": "low",
}


@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["least", "everything"])
def test_kubernetes_knows_every_field_of_a_job(settings: dict[str, Any]) -> None:
    given = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}
    job = described(ClusterSettings(image="image", **given), "sandbox-1", "p", Limits(), 800)  # type: ignore[arg-type]  # as text

    for version in ("1.30", "1.35", "1.37"):
        kubernetes_validate.validate(job, version, strict=True)


def test_job_keeps_to_the_restricted_standard_and_has_no_credentials() -> None:
    pod = described(ClusterSettings(image="image"), "sandbox-1", "p", Limits(), 800)["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 65_536
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"]["limits"].keys()
    assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"])
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & pod.keys()
    assert "env" not in container


def test_what_runs_inside_needs_a_standard_library_alone(tmp_path: Path) -> None:
    for name, text in modules().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import blockyard.sandbox.inside.container"

    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr == ""


def test_frames_come_out_as_they_went_in_however_they_are_cut() -> None:
    messages: list[dict[str, Any]] = [{"a": "\ud800 text"}, {}, {"b": ["x" * 10_000]}]
    writing, reading = framing.Mask(b"key"), framing.Mask(b"key")
    data = b"".join(framing.framed(message, writing) for message in messages)

    frames = framing.Frames()
    found = [content for at in range(0, len(data), 7) for content in frames.add(data[at : at + 7])]

    assert [framing.message_in(content, reading) for content in found] == messages
    assert b"text" not in data


@pytest.mark.parametrize(
    "content", [b"", b"no zip", framing.framed({})[4:-1] + b"\0", b"x\x9c\x8b\x06\x00\x00\xff\xff"]
)
def test_what_is_no_message_is_refused(content: bytes) -> None:
    with pytest.raises(framing.NotAFrame):
        framing.message_in(content)


def test_frame_without_end_is_refused() -> None:
    with pytest.raises(framing.NotAFrame, match="a frame of 4294967295 bytes"):
        list(framing.Frames().add(b"\xff" * 8))


OUTCOME = Outcome("", End.EXITED, "code", 3, "o", "e", "s", "", {"text": "1"}, (SandboxFile("a/b", b"\xff"),))


def test_program_and_outcome_travel_whole() -> None:
    program, limits = Program("x", setup_commands=("a",), variables={"n": 1 << 60}), Limits(seconds=1.5)

    assert wire.task_of(json.loads(json.dumps(wire.task_message(program, limits)))) == (program, limits)
    message = json.loads(json.dumps(wire.outcome_message(OUTCOME)))
    assert wire.outcome_of(message, limits, "") == OUTCOME


def test_program_that_is_too_large_is_refused_before_it_is_sent() -> None:
    program = Program("x", variables={"n": "x" * wire.MOST_BYTES})

    with pytest.raises(ProgramInvalid, match=r"the code and its variables have 33\d+ bytes; the limit is 33554432"):
        wire.task_message(program, Limits())


def pod_that_ended(why: str, message: str, **terminated: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "n", "name": "p", **({"deletionTimestamp": "now"} if terminated else {})},
        "spec": {},
        "status": {
            "phase": "Failed",
            "reason": why,
            "message": message,
            # A proxy that a mesh has added.
            "containerStatuses": [{"name": "a", "state": {}}, {"name": "code", "state": {"terminated": terminated}}],
        },
    }


def test_eviction_is_the_programs_end_where_it_used_up_what_is_its_own() -> None:
    own = pod_that_ended("Evicted", 'Container code exceeded its local ephemeral storage limit "256Mi".')
    nodes = pod_that_ended(
        "Evicted", "The node was low on resource: memory. Container code was using 1Mi, which exceeds its request of 0."
    )

    assert type(states.why_ended(own)) is SandboxError
    assert type(states.why_ended(nodes)) is SandboxLost


def test_pod_that_was_deleted_says_so_once_its_container_has_ended() -> None:
    deleted = pod_that_ended("", "", exitCode=137, reason="Error")

    assert str(states.why_ended(deleted)).endswith("pod n/p: it was deleted")


def test_container_that_could_not_be_made_in_time_is_waited_for() -> None:
    def waiting(message: str) -> dict[str, Any]:
        state = {"waiting": {"reason": "CreateContainerError", "message": message}}
        return {**pod_that_ended("", ""), "status": {"containerStatuses": [{"name": "code", "state": state}]}}

    assert states.why_not(waiting("context deadline exceeded")) is None
    assert isinstance(states.why_not(waiting("no such file")), SandboxUnavailable)


def test_error_inside_is_an_error_outside() -> None:
    with pytest.raises(LanguageUnavailable, match="no R"):
        wire.outcome_of(wire.error_message(LanguageUnavailable("no R")), Limits(), "")


WRONG: list[dict[str, Any]] = [
    {},
    {"outcome": None},
    {"outcome": {}},
    {"outcome": {**wire.outcome_message(OUTCOME)["outcome"], "end": "well"}},
    {"outcome": {**wire.outcome_message(OUTCOME)["outcome"], "files": [["a", "=="]] * 101}},
    {"outcome": {**wire.outcome_message(OUTCOME)["outcome"], "files": [1]}},
]


@pytest.mark.parametrize("message", WRONG)
def test_outcome_that_is_none_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        wire.outcome_of(message, Limits(), "")
