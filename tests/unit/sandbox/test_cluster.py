"""Jobs, and what a runner and a container say to each other."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from blockyard.sandbox import End, LanguageUnavailable, Limits, Outcome, Program, SandboxFile, framing, wire
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
