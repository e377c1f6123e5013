"""An API server of Kubernetes with Jobs and Pods, their controllers, and a kubelet that runs containers as processes.

As the real one it names each change by a version, lets changes be watched from a version on, answers 410 where that is
too old, lets nobody attach before the container runs, passes on only what is written while somebody is attached, ends a
container's input with the first who was attached (stdinOnce), and tells of Pods that may not be made by nothing but
their absence. Scheduling, images, quotas and admission are what a test says of them.
"""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from aiohttp import WSMsgType, web

from tests.cluster.containers import ContainerProcess
from tests.waiting import until

Json = Any  # objects of Kubernetes
TOKEN = "the token of the runner"
PROTOCOL = "v4.channel.k8s.io"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the server answers instead."""

    status: int
    message: str
    reason: str = ""

    def response(self) -> web.Response:
        """As a Status."""
        return _status(self.status, self.message, self.reason)


@dataclass(eq=False)
class Cluster:
    """One API server with one node. What happens to objects is in `refuse...` and `hold_pods`, for tests to set."""

    namespace: str = "sandboxes"
    calls: set[tuple[str, str]] = field(default_factory=set)
    """(verb, resource) of all that was asked for."""
    made: list[Json] = field(default_factory=list)
    """Jobs, as they were sent."""
    jobs: dict[str, Json] = field(default_factory=dict)
    pods: dict[str, Json] = field(default_factory=dict)
    containers: dict[str, ContainerProcess] = field(default_factory=dict)
    """By the names of pods."""
    refuse_jobs: Refusal | None = None
    refuse_pods: Refusal | None = None
    refuse_attach: Refusal | None = None
    refuse_watches: Refusal | None = None
    garbage: str | None = None
    """What is answered instead to everything, with a status that says that all is well."""
    count: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often (verb, resource) was asked for."""
    waiting: Json = None
    """What containers wait for instead of being started, as `state.waiting` has it."""
    oldest: int = 0
    """A watch from a version before it is refused with 410."""

    def __post_init__(self) -> None:
        self._version = 0
        self._changes: list[tuple[int, str, Json]] = []
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None
        self.port = 0

    # Starting and stopping

    async def start(self) -> None:
        """Serves, at the port that it had before."""
        application = web.Application()
        jobs, pods = f"/apis/batch/v1/namespaces/{self.namespace}/jobs", f"/api/v1/namespaces/{self.namespace}/pods"
        application.add_routes(
            [
                web.post(jobs, self._create_job),
                web.get(jobs, self._list_jobs),
                web.delete(jobs + "/{name}", self._delete_job),
                web.post(pods, self._create_pod),
                web.get(pods, self._list_pods),
                web.get(pods + "/{name}/attach", self._attach),
            ]
        )
        self._runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def go_away(self) -> None:
        """Serves no more: all connections break. The node goes on."""
        assert self._runner is not None
        for socket in list(self._sockets):
            if socket._req is not None and socket._req.transport is not None:
                socket._req.transport.abort()
        await self._runner.cleanup()

    async def stop(self) -> None:
        """Ends all of it."""
        for container in self.containers.values():
            await container.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.go_away()

    def kubeconfig(self, folder: Path) -> Path:
        """A file that leads here."""
        path = folder / "kubeconfig"
        described: Json = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path.write_text(yaml.safe_dump(described))
        return path

    # What happens to pods

    def pod_of(self, job: str) -> Json | None:
        """The Job's pod."""
        found = [pod for pod in self.pods.values() if pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job]
        return found[0] if found else None

    def end(self, pod: Json, reason: str = "", message: str = "", *, terminated: str = "Error", **status: Json) -> None:
        """Ends a pod by force: `reason` is the pod's, as the kubelet sets it, `terminated` the container's."""
        pod["forced"] = {"reason": reason, "message": message, "terminated": terminated, "status": status}
        self.containers[pod["metadata"]["name"]].kill()

    def _change(self, kind: str, one: Json) -> None:
        self._version += 1
        one["metadata"]["resourceVersion"] = str(self._version)
        if one["kind"] == "Pod":
            self._changes.append((self._version, kind, deepcopy(one)))
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def _hold(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _control(self, job: Json) -> None:
        """The Job's controller, and the kubelet for its pod."""
        name = job["metadata"]["name"]
        # It tells of it by an event, which nobody here may read.
        await until(lambda: self.refuse_pods is None, "a pod may be made", 3600)
        pod: Json = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{name}-{secrets.token_hex(3)[:5]}",
                "namespace": self.namespace,
                "labels": {**job["spec"]["template"]["metadata"]["labels"], "batch.kubernetes.io/job-name": name},
            },
            "spec": {**deepcopy(job["spec"]["template"]["spec"]), "nodeName": "node-1"},
            "status": {"phase": "Pending"},
        }
        self.pods[pod["metadata"]["name"]] = pod
        self._change("ADDED", pod)
        if self.waiting is not None:
            self._set(pod, "Pending", {"waiting": self.waiting})
        await until(lambda: self.waiting is None, "the container may start", 3600)
        self._set(pod, "Pending", {"waiting": {"reason": "ContainerCreating"}})
        container = self.containers[pod["metadata"]["name"]] = ContainerProcess(pod)
        await container.start()
        self._set(pod, "Running", {"running": {"startedAt": _now()}})
        code = await container.ended()
        self._finish(job, pod, code)
        self._hold(self._expire(job))

    def _set(self, pod: Json, phase: str, state: Json) -> None:
        status = {"name": "code", "state": state, "ready": "running" in state}
        if pod["status"] != {"phase": phase, "containerStatuses": [status]}:
            pod["status"] = {"phase": phase, "containerStatuses": [status]}
            self._change("MODIFIED", pod)

    def _finish(self, job: Json, pod: Json, code: int) -> None:
        forced = pod.pop("forced", None)
        reason = forced["terminated"] if forced else ("Completed" if code == 0 else "Error")
        pod["status"] = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "code", "state": {"terminated": {"exitCode": code, "reason": reason}}}],
        }
        if forced:
            pod["status"] |= {key: forced[key] for key in ("reason", "message") if forced[key]} | forced["status"]
        if pod["metadata"]["name"] in self.pods:
            self._change("MODIFIED", pod)
        kind = "Failed" if code else "Complete"
        job["status"] = {"conditions": [{"type": kind, "status": "True", "lastTransitionTime": _now()}]}

    async def _expire(self, job: Json) -> None:
        await asyncio.sleep(job["spec"]["ttlSecondsAfterFinished"])
        self._remove(job["metadata"]["name"])

    async def _end_at_deadline(self, job: Json) -> None:
        await asyncio.sleep(job["spec"]["activeDeadlineSeconds"])
        pod = self.pod_of(job["metadata"]["name"])
        if pod is not None and pod["metadata"]["name"] in self.containers:
            message = "Job was active longer than specified deadline"
            self.end(pod, "DeadlineExceeded", message)

    def _remove(self, name: str) -> None:
        self.jobs.pop(name, None)
        pod = self.pod_of(name)
        if pod is not None:
            del self.pods[pod["metadata"]["name"]]
            container = self.containers.get(pod["metadata"]["name"])
            if container is not None:
                container.kill()
            self._change("DELETED", pod)

    # Calls

    def _asked(self, request: web.Request, verb: str, resource: str) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or token != TOKEN:
            raise web.HTTPUnauthorized(text=_text(401, "Unauthorized"))
        self.calls.add((verb, resource))
        self.count[verb, resource] += 1
        if self.garbage is not None:
            raise web.HTTPOk(text=self.garbage)

    async def _create_job(self, request: web.Request) -> web.Response:
        self._asked(request, "create", "jobs")
        job = await request.json()
        name = job["metadata"]["name"]
        if self.refuse_jobs is not None:
            return self.refuse_jobs.response()
        if name in self.jobs:
            return _status(409, f'jobs.batch "{name}" already exists', "AlreadyExists")
        self.made.append(deepcopy(job))
        job["metadata"]["creationTimestamp"] = _now()
        self.jobs[name] = job
        self._change("ADDED", job)
        self._hold(self._control(job))
        self._hold(self._end_at_deadline(job))
        return web.json_response(job, status=201)

    async def _list_jobs(self, request: web.Request) -> web.Response:
        self._asked(request, "list", "jobs")
        return self._list(request, "JobList", self.jobs)

    async def _delete_job(self, request: web.Request) -> web.Response:
        self._asked(request, "delete", "jobs")
        name = request.match_info["name"]
        if name not in self.jobs:
            return _status(404, f'jobs.batch "{name}" not found')
        # Without it the default of this version of the API would leave the pods.
        assert (await request.json())["propagationPolicy"] == "Background"
        self._remove(name)
        return web.json_response({"kind": "Status", "status": "Success"})

    async def _create_pod(self, request: web.Request) -> web.Response:
        self._asked(request, "create", "pods")
        assert request.query["dryRun"] == "All"
        if self.refuse_pods is not None:
            return self.refuse_pods.response()
        return web.json_response(await request.json(), status=201)

    async def _list_pods(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") != "true":
            self._asked(request, "list", "pods")
            return self._list(request, "PodList", self.pods)
        self._asked(request, "watch", "pods")
        if self.refuse_watches is not None:
            return self.refuse_watches.response()
        seen = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if seen < self.oldest:
            error = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            await response.write(json.dumps({"type": "ERROR", "object": error}).encode() + b"\n")
            return response
        fits = _selected(request)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(float(request.query["timeoutSeconds"])):
                while True:
                    changed = self._changed
                    for version, kind, one in [change for change in self._changes if change[0] > seen]:
                        seen = version
                        if fits(one):
                            await response.write(json.dumps({"type": kind, "object": one}).encode() + b"\n")
                    await changed.wait()
        return response

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        self._asked(request, "get", "pods/attach")
        # From 1.35 on the server wants this as well for a connection that is upgraded.
        self._asked(request, "create", "pods/attach")
        name = request.match_info["name"]
        if self.refuse_attach is not None:
            return self.refuse_attach.response()
        pod = self.pods.get(name)
        if pod is None:
            return _status(404, f'pods "{name}" not found')
        if pod["status"]["phase"] != "Running":
            return _status(400, f"container code in pod {name} is not running")
        socket = web.WebSocketResponse(protocols=[PROTOCOL], max_msg_size=32 << 20)
        await socket.prepare(request)
        assert socket.ws_protocol == PROTOCOL
        self._sockets.add(socket)
        container = self.containers[name]
        outgoing: asyncio.Queue[bytes] = asyncio.Queue()

        def take(stream: int, data: bytes) -> None:
            outgoing.put_nowait(bytes((stream,)) + data)

        async def send() -> None:
            while True:
                await socket.send_bytes(await outgoing.get())
                outgoing.task_done()

        async def end() -> None:
            await container.over.wait()
            await outgoing.join()
            await socket.close()

        container.attach(take)
        sending, ending = asyncio.create_task(send()), asyncio.create_task(end())
        try:
            async for part in socket:
                assert part.type is WSMsgType.BINARY
                assert part.data[0] == 0
                if not container.stdin_taken:
                    await container.write(part.data[1:])
        finally:
            sending.cancel()
            ending.cancel()
            container.detach(take)
            self._sockets.discard(socket)
            if pod["spec"]["containers"][0].get("stdinOnce"):
                container.stdin_taken = True
                container.close_stdin()
        return socket

    def _list(self, request: web.Request, kind: str, objects: Mapping[str, Json]) -> web.Response:
        fits = _selected(request)
        items = [one for one in objects.values() if fits(one)]
        return web.json_response({"kind": kind, "metadata": {"resourceVersion": str(self._version)}, "items": items})


def _selected(request: web.Request) -> Callable[[Json], bool]:
    selector = request.query.get("labelSelector", "")
    wanted = dict(part.split("=", 1) for part in selector.split(",") if part).items()
    return lambda one: wanted <= one["metadata"]["labels"].items()


def _status(code: int, message: str, reason: str = "") -> web.Response:
    return web.Response(status=code, text=_text(code, message, reason), content_type="application/json")


def _text(code: int, message: str, reason: str = "") -> str:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}
    return json.dumps({**status, "reason": reason})


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
