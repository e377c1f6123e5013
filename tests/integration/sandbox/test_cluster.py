"""Programs in Jobs: the official client against an API server of the tests', whose containers are real processes."""

import asyncio
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blockyard.sandbox import (
    BubblewrapSandbox,
    End,
    Language,
    LanguageUnavailable,
    Limits,
    Program,
    SandboxError,
    SandboxLost,
    SandboxUnavailable,
    unavailable_reason,
)
from blockyard.sandbox.cluster.api import CALLS
from blockyard.sandbox.cluster.sandbox import KubernetesSandbox, opened
from blockyard.sandbox.cluster.settings import ClusterSettings

from tests.cluster.server import Cluster, Refusal
from tests.integration.sandbox.attempts import MEBIBYTE, namespaces_work, processes_with
from tests.integration.sandbox.test_programs import HELLO, PROGRAMS
from tests.waiting import until

pytestmark = pytest.mark.skipif(not namespaces_work(), reason="containers here are made of namespaces")

LIMITS = Limits(seconds=30)
QUOTA = Refusal(403, 'jobs.batch "s" is forbidden: exceeded quota: small, requested: count/jobs.batch=1')
# Of quotas that are written by several at once.
CONFLICT = Refusal(
    409, 'Operation cannot be fulfilled on resourcequotas "small": the object has been modified', "Conflict"
)
Opening = Callable[..., AbstractAsyncContextManager[KubernetesSandbox]]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: asyncio.Runner) -> Iterator[Cluster]:
    cluster = Cluster()
    runner.run(cluster.start())
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(tmp_path)))
    try:
        yield cluster
    finally:
        runner.run(cluster.stop())


@pytest.fixture
def sandbox_of(cluster: Cluster) -> Opening:
    def opening(**settings: Any) -> AbstractAsyncContextManager[KubernetesSandbox]:
        return opened(ClusterSettings(image="image", namespace=cluster.namespace, runner="runner-1", **settings), 4)

    return opening


@pytest.fixture
def sandbox(sandbox_of: Opening, runner: asyncio.Runner) -> Iterator[KubernetesSandbox]:
    opening = sandbox_of()
    yield runner.run(opening.__aenter__())
    runner.run(opening.__aexit__(None, None, None))


@pytest.fixture
def marker() -> str:
    return f"marker-{uuid.uuid4().hex}"


def endless(marker: str) -> Program:
    """Ignores every signal that can be ignored."""
    return Program(f"trap '' TERM INT HUP\nexec -a {marker} sleep 1000", Language.BASH)


@asynccontextmanager
async def running(sandbox: KubernetesSandbox, marker: str) -> AsyncIterator[asyncio.Task[Any]]:
    """A program that goes on and on, once it does."""
    task = asyncio.create_task(sandbox.run(endless(marker), LIMITS))
    try:
        await until(lambda: processes_with(marker) or task.done(), "the program runs")
        assert not task.done(), await task
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, SandboxError):
            await task


@pytest.mark.parametrize("language", Language)
async def test_language_runs_where_its_interpreter_is(sandbox: KubernetesSandbox, language: Language) -> None:
    program = Program(HELLO[language], language)
    if shutil.which(PROGRAMS[language]) is None:
        with pytest.raises(LanguageUnavailable, match="is not installed where code runs"):
            await sandbox.run(program, LIMITS)
        return

    outcome = await sandbox.run(program, LIMITS)

    assert outcome.succeeded, outcome
    assert outcome.stdout == "hello\n"


FORKS = """
import os, time
for _ in range(4):
    if not os.fork():
        held = b"x" * (64 << 20)
        time.sleep(99)
time.sleep(99)
"""
HIDES = "import ctypes\nctypes.CDLL(None).prctl(4, 0, 0, 0, 0)" + FORKS
FORKS_ON = """
import os, time
started = 0
try:
    while os.fork():
        started += 1
    time.sleep(99)
except BlockingIOError:
    print(started)
"""
SHOWS = """
import sys
open("a", "wb").write(b"\\xff")
print("out")
print("err", file=sys.stderr)
x * 7
"""
SMALL = Limits(seconds=30, memory=128 * MEBIBYTE, folder_size=8 * MEBIBYTE, file_size=2 * MEBIBYTE)
SAME = {
    "result, files and output": (Program(SHOWS, variables={"x": 6}), LIMITS),
    "setup": (Program("echo $who; cat made", Language.BASH, ("echo one > made; echo said",), {"who": "A"}), LIMITS),
    "a setup command that fails": (Program("", setup_commands=("true", "echo why; exit 4")), LIMITS),
    "an error": (Program("1 / 0"), LIMITS),
    "a signal": (Program("kill -9 $$", Language.BASH), LIMITS),
    "time": (Program("sleep 1000", Language.BASH), Limits(seconds=0.3)),
    "memory of one process": (Program("try: bytearray(256 << 20)\nexcept MemoryError: print('no')"), SMALL),
    "memory of all": (Program(FORKS), SMALL),
    "memory of all, where none can be looked into": (Program(HIDES), SMALL),
    "processes": (Program(FORKS_ON), Limits(seconds=30, processes=20)),
    "output": (Program("yes", Language.BASH), Limits(seconds=30, output=1000)),
    "files": (
        Program("i=0; while :; do : > $i; i=$((i+1)); done", Language.BASH),
        Limits(seconds=60, folder_entries=200),
    ),
    "a file's size": (Program("head -c 3000000 /dev/zero > large; echo $?; stat -c %s large", Language.BASH), SMALL),
    "the folder's size": (
        Program("for i in $(seq 6); do head -c 2000000 /dev/zero > $i; done; du -s .", Language.BASH),
        SMALL,
    ),
    "processes that are left": (Program("(setsid sleep 1000 &); echo there", Language.BASH), LIMITS),
}


@pytest.mark.parametrize("name", SAME)
async def test_outcome_is_that_of_a_sandbox_on_one_machine(sandbox: KubernetesSandbox, name: str) -> None:
    program, limits = SAME[name]

    here, there = await BubblewrapSandbox().run(program, limits), await sandbox.run(program, limits)

    assert replace(there, sandbox_id="") == replace(here, sandbox_id="")


async def test_code_reaches_neither_the_network_nor_the_first_process(sandbox: KubernetesSandbox) -> None:
    code = """
import os, resource, signal, socket
def held(action, *arguments):
    try:
        return action(*arguments)
    except OSError as error:
        return type(error).__name__
print(held(socket.socket, socket.AF_INET), held(socket.socket, socket.AF_INET6))
print(held(os.listdir, "/proc/1/fd"), held(open, "/proc/1/mem"), held(os.kill, 1, signal.SIGKILL))
for signal_ in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    os.kill(1, signal_)
print(held(resource.prlimit, 1, resource.RLIMIT_NOFILE, (0, 0)), held(resource.prlimit, 1, resource.RLIMIT_CPU, (0, 0)))
print(held(os.sched_setscheduler, 1, os.SCHED_IDLE, os.sched_param(0)), held(os.setpriority, os.PRIO_PROCESS, 1, 19))
print(held(os.setpriority, os.PRIO_USER, 0, 19), resource.getrlimit(resource.RLIMIT_NOFILE)[0], os.nice(1))
print(held(open, "/etc/x", "w"), sorted(os.environ))
"""

    outcome = await sandbox.run(Program(code), LIMITS)

    assert outcome.stdout.splitlines() == [
        "OSError OSError",
        "PermissionError PermissionError None",
        "PermissionError PermissionError",
        "PermissionError PermissionError",
        "PermissionError 256 11",
        "OSError ['HOME', 'LANG', 'PATH', 'TMPDIR', 'USER']",
    ]


async def test_log_on_the_node_does_not_show_what_code_gives(
    cluster: Cluster, sandbox: KubernetesSandbox, marker: str
) -> None:
    outcome = await sandbox.run(Program(f"print({marker!r})\nopen({marker!r}, 'w').write({marker!r})"), LIMITS)

    (container,) = cluster.containers.values()
    assert marker in outcome.stdout
    assert len(container.log) > 100
    assert marker.encode() not in container.log


async def test_nothing_is_left_of_a_program(cluster: Cluster, sandbox: KubernetesSandbox) -> None:
    await sandbox.run(Program("1"), LIMITS)

    await until(lambda: not cluster.jobs and not cluster.pods, "the Job is removed")
    # The second one comes after all changes of the first one's pod.
    await sandbox.run(Program("1"), LIMITS)
    await until(lambda: not sandbox.known, "nothing is kept of it either")


async def test_cancelled_run_leaves_no_process_and_no_job(
    cluster: Cluster, sandbox: KubernetesSandbox, marker: str
) -> None:
    async with running(sandbox, marker) as task:
        task.cancel()

        await until(lambda: not processes_with(marker), "the program is gone", 5)
        await until(lambda: not cluster.jobs, "the Job is removed")


async def test_program_ends_with_its_runner_whose_job_the_next_one_removes(
    cluster: Cluster, sandbox_of: Opening, marker: str
) -> None:
    async with sandbox_of() as first, running(first, marker) as task:
        # What a crash does to its connections; it can remove nothing.
        await cluster.go_away()
        await until(lambda: not processes_with(marker), "the program is gone", 5)
        assert cluster.jobs
        await cluster.start()
        async with sandbox_of() as second:
            await until(lambda: not cluster.jobs, "the Job is removed")
            assert (await second.run(Program("1"), LIMITS)).succeeded
        with pytest.raises(SandboxLost, match="broke off"):
            await task


async def test_jobs_of_other_runners_are_left_alone_until_their_time_is_over(
    cluster: Cluster, sandbox_of: Opening, marker: str
) -> None:
    async with sandbox_of() as first, running(first, marker):
        settings = ClusterSettings(image="image", namespace=cluster.namespace, runner="runner-2")
        async with opened(settings, 4) as second:
            assert await second.sweep() == []
            (job,) = cluster.jobs.values()
            job["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
            assert await second.sweep() == [job["metadata"]["name"]]


ENDS: dict[str, tuple[dict[str, Any], type[SandboxError], str]] = {
    "eviction for the node's sake": (
        {"reason": "Evicted", "message": "The node was low on resource: memory."},
        SandboxLost,
        "low on resource",
    ),
    "eviction for its own": (
        {"reason": "Evicted", "message": "Pod ephemeral local storage usage exceeds the total limit of containers"},
        SandboxError,
        "the code was stopped: Pod ephemeral",
    ),
    "preemption": (
        {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
        SandboxLost,
        "PreemptionByScheduler",
    ),
    "deadline": ({"reason": "DeadlineExceeded", "message": "Job was active longer"}, SandboxLost, "DeadlineExceeded"),
    "a kill": ({"terminated": "Error"}, SandboxLost, "pod sandboxes/sandbox-"),
}


@pytest.mark.parametrize("name", ENDS)
async def test_pod_that_is_ended_says_why(cluster: Cluster, sandbox: KubernetesSandbox, marker: str, name: str) -> None:
    how, error, said = ENDS[name]
    async with running(sandbox, marker) as task:
        (pod,) = cluster.pods.values()
        cluster.end(pod, **how)

        with pytest.raises(SandboxError, match=said) as raised:
            await task

    assert raised.type is error


async def test_pod_that_the_kernel_ends_for_its_memory_is_the_programs_end(
    cluster: Cluster, sandbox: KubernetesSandbox, marker: str
) -> None:
    async with running(sandbox, marker) as task:
        (pod,) = cluster.pods.values()
        cluster.end(pod, terminated="OOMKilled")

        assert (await task).end is End.OUT_OF_MEMORY


async def test_pod_that_is_deleted_is_no_fault_of_the_program(
    cluster: Cluster, sandbox: KubernetesSandbox, marker: str
) -> None:
    async with running(sandbox, marker) as task:
        cluster._remove(next(iter(cluster.jobs)))

        with pytest.raises(SandboxLost, match="deleted"):
            await task


WAITING: dict[str, tuple[type[SandboxError], str]] = {
    "ImagePullBackOff": (SandboxLost, "the image of the sandbox cannot be pulled"),
    "InvalidImageName": (SandboxUnavailable, "check BLOCKYARD_SANDBOX_IMAGE"),
    "CreateContainerConfigError": (SandboxUnavailable, "check the image"),
}


@pytest.mark.parametrize("reason", WAITING)
async def test_container_that_cannot_start_says_why(cluster: Cluster, sandbox: KubernetesSandbox, reason: str) -> None:
    error, said = WAITING[reason]
    cluster.waiting = {"reason": reason, "message": "Back-off"}

    with pytest.raises(SandboxError, match=said) as raised:
        await sandbox.run(Program("1"), LIMITS)

    assert raised.type is error
    assert "Back-off" in str(raised.value)


@pytest.mark.parametrize("refusal", [QUOTA, CONFLICT])
async def test_job_that_cannot_be_made_yet_is_made_later(
    cluster: Cluster, sandbox: KubernetesSandbox, refusal: Refusal
) -> None:
    cluster.refuse_jobs = refusal
    running = asyncio.create_task(sandbox.run(Program("1"), LIMITS))
    await until(lambda: ("create", "jobs") in cluster.calls, "it was refused")
    cluster.refuse_jobs = None

    assert (await running).succeeded


async def test_pod_that_finds_no_place_is_waited_for_and_told_of(cluster: Cluster, sandbox_of: Opening) -> None:
    cluster.refuse_pods = Refusal(403, "exceeded quota: small, requested: pods=1")
    async with sandbox_of(start_seconds=2) as sandbox:
        with pytest.raises(SandboxLost, match="exceeded quota: small"):
            await sandbox.run(Program("1"), LIMITS)
    # Many wait at once where there is no room.
    assert cluster.count["create", "pods"] <= 2


async def test_server_that_lets_nothing_be_watched_is_asked_ever_more_seldom(
    cluster: Cluster, sandbox: KubernetesSandbox
) -> None:
    cluster.refuse_watches = Refusal(429, "too many requests")
    await until(lambda: cluster.count["watch", "pods"] == 2, "it was refused")
    second = time.monotonic()
    await until(lambda: cluster.count["watch", "pods"] == 4, "it was refused again")

    # 0.4 s and 0.8 s, of which a list that went well takes nothing back.
    assert time.monotonic() - second > 1


async def test_proxy_of_the_environment_is_not_for_the_api_server(
    cluster: Cluster, sandbox_of: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        # As other clients of Kubernetes read it, this is the server's address; Python's knows no networks.
        monkeypatch.setenv(name, "127.0.0.0/8")

    async with sandbox_of(start_seconds=5) as sandbox:
        assert (await sandbox.run(Program("1"), LIMITS)).succeeded


@pytest.mark.parametrize("garbage", ["<html>", "{}"])
async def test_answers_that_are_none_are_no_fault_of_the_program(
    cluster: Cluster, sandbox_of: Opening, garbage: str
) -> None:
    cluster.garbage = garbage
    async with sandbox_of(start_seconds=1) as sandbox:
        with pytest.raises(SandboxLost, match="did not run within 1 s"):
            await sandbox.run(Program("1"), LIMITS)
        cluster.garbage = None


REFUSED = {
    "rights": Refusal(403, 'jobs.batch is forbidden: User "x" cannot create resource "jobs" in API group "batch"'),
    "namespace": Refusal(404, 'namespaces "sandboxes" not found'),
    "settings": Refusal(422, 'Job.batch "s" is invalid: spec.template.spec.tolerations: Invalid value'),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_job_that_may_not_be_made_says_why(cluster: Cluster, sandbox: KubernetesSandbox, name: str) -> None:
    cluster.refuse_jobs = REFUSED[name]

    with pytest.raises(SandboxUnavailable, match=r"create a Job in the namespace sandboxes: .* To do: ") as refused:
        await sandbox.run(Program("1"), LIMITS)

    assert REFUSED[name].message in str(refused.value)


DENIED = {
    "class": (Refusal(403, 'pods "s" is forbidden: pod rejected: RuntimeClass "g" not found'), "check the settings"),
    "webhook": (Refusal(400, 'admission webhook "policy" denied the request: no'), "let the policy admit"),
    "standard": (
        Refusal(403, 'pods "s" is forbidden: violates PodSecurity "restricted:latest"'),
        "label the namespace",
    ),
}


@pytest.mark.parametrize("name", DENIED)
async def test_pod_that_may_not_be_made_says_why_though_the_job_was_made(
    cluster: Cluster, sandbox: KubernetesSandbox, name: str
) -> None:
    cluster.refuse_pods, to_do = DENIED[name]

    with pytest.raises(SandboxUnavailable, match=to_do) as refused:
        await sandbox.run(Program("1"), LIMITS)

    assert DENIED[name][0].message in str(refused.value)


async def test_pod_that_may_not_be_attached_to_says_why(cluster: Cluster, sandbox: KubernetesSandbox) -> None:
    cluster.refuse_attach = Refusal(403, 'pods "s" is forbidden: User "x" cannot create resource "pods/attach"')

    with pytest.raises(SandboxUnavailable, match=r"attach to a Pod in the namespace sandboxes: 403 .* the rights"):
        await sandbox.run(Program("1"), LIMITS)

    await until(lambda: not cluster.jobs, "the Job is removed")


@pytest.mark.parametrize("refusal", [Refusal(500, "error dialing backend: no agent"), Refusal(200, "<html>")])
async def test_attaching_that_fails_for_the_moment_is_tried_again(
    cluster: Cluster, sandbox: KubernetesSandbox, refusal: Refusal
) -> None:
    cluster.refuse_attach = refusal
    running = asyncio.create_task(sandbox.run(Program("1"), LIMITS))
    await until(lambda: ("create", "pods/attach") in cluster.calls, "it was refused")
    cluster.refuse_attach = None

    assert (await running).succeeded


async def test_api_server_that_is_away_is_waited_for(cluster: Cluster, sandbox: KubernetesSandbox) -> None:
    await cluster.go_away()
    running = asyncio.create_task(sandbox.run(Program("6 * 7"), LIMITS))
    await asyncio.wait([running], timeout=0.2)
    assert not running.done()
    await cluster.start()

    assert (await running).result == {"text": "42"}


async def test_api_server_that_stays_away_is_no_fault_of_the_program(cluster: Cluster, sandbox_of: Opening) -> None:
    async with sandbox_of(start_seconds=1) as sandbox:
        await cluster.go_away()
        with pytest.raises(SandboxLost, match="cannot be reached"):
            await sandbox.run(Program("1"), LIMITS)
        await cluster.start()


async def test_watch_that_is_too_old_is_begun_anew(cluster: Cluster, sandbox: KubernetesSandbox) -> None:
    cluster.oldest = 1_000_000

    assert (await sandbox.run(Program("1"), LIMITS)).succeeded


async def test_job_that_waits_for_a_program_takes_it_at_once(cluster: Cluster, sandbox_of: Opening) -> None:
    async with sandbox_of(warm=1) as sandbox:
        await until(lambda: sandbox.ready == 1, "a Job waits")
        (waiting,) = cluster.jobs

        outcome = await sandbox.run(Program("1"), LIMITS)

        assert outcome.sandbox_id == waiting
        await until(lambda: waiting not in cluster.jobs, "it is removed")
        await until(lambda: sandbox.ready == 1, "another one waits")


async def test_job_that_ended_while_it_waited_is_not_used(cluster: Cluster, sandbox_of: Opening) -> None:
    async with sandbox_of(warm=1) as sandbox:
        await until(lambda: sandbox.ready == 1, "a Job waits")
        (pod,) = cluster.pods.values()
        cluster.end(pod, "Evicted", "The node was low on resource: memory.")

        assert (await sandbox.run(Program("1"), LIMITS)).succeeded


async def test_what_is_asked_of_the_server_is_what_the_role_allows(
    cluster: Cluster, sandbox: KubernetesSandbox
) -> None:
    cluster.refuse_pods = Refusal(403, "exceeded quota: small")
    running = asyncio.create_task(sandbox.run(Program("1"), LIMITS))
    await until(lambda: ("create", "pods") in cluster.calls, "it asks why there is no pod")
    cluster.refuse_pods = None
    await running
    await until(lambda: not cluster.jobs, "the Job is removed")

    assert cluster.calls == {(verb, resource) for resource, verbs in CALLS.items() for verb in verbs}


@pytest.mark.parametrize(
    ("refusal", "said"),
    [(None, ""), (REFUSED["rights"], "To do: give the runner's ServiceAccount the rights")],
)
async def test_runner_tells_at_its_start_what_only_an_operator_can_mend(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, refusal: Refusal | None, said: str
) -> None:
    for name, value in {
        "": "kubernetes",
        "_IMAGE": "i",
        "_NAMESPACE": cluster.namespace,
        "_START_SECONDS": "1",
    }.items():
        monkeypatch.setenv(f"BLOCKYARD_SANDBOX{name}", value)
    cluster.refuse_jobs = refusal

    reason = await asyncio.to_thread(unavailable_reason)

    assert bool(reason) == bool(said)
    assert said in reason


async def test_cluster_that_cannot_be_asked_at_all_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOCKYARD_SANDBOX", "kubernetes")
    monkeypatch.setenv("BLOCKYARD_SANDBOX_IMAGE", "image")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    assert "mount the token of the ServiceAccount" in await asyncio.to_thread(unavailable_reason)
