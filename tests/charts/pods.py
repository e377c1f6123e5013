"""Pods of a rendered chart as processes of this machine: the same commands, variables, files, user and signals.

No container engine runs here, so images are what is installed (`program`). Each container has a root of its own
(bubblewrap), in which nothing can be written but its volumes, and a user by number. What Kubernetes gives each pod by a
network of its own is an address on the loopback: where a pod listens everywhere, it listens there. Services are names
(names.py); those with an address of their own have a proxy.

What is not stood in for: scheduling, limits, network policies, and who may pull which image.
"""

import asyncio
import base64
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
from blockyard.dev import edge, nats
from blockyard.dev.health import HealthProbe
from blockyard.dev.process import ChildProcess
from blockyard.sandbox.bubblewrap import find_bwrap

from tests.charts.names import Names
from tests.waiting import until

Json = Any  # what stands in manifests
EVERYWHERE = "0.0.0.0"
ROOT = Path(__file__).parents[2]
BINARIES = Path(sys.executable).parent
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ssl", "/etc/passwd", "/etc/group")
_VARIABLE = re.compile(r"\$\((\w+)\)")


def program(image: str, command: Sequence[str]) -> list[str]:
    """What a container runs: its command, or its arguments to what its image begins with."""
    for name, entry in (("envoy", edge.program()), ("nats", nats.program())):
        if image.rpartition("/")[2].startswith(f"{name}:"):
            return [str(entry), *command]
    return list(command)


@dataclass(eq=False)
class Pod:
    """A pod of a Deployment or StatefulSet, or one of its own."""

    name: str
    address: str
    labels: Mapping[str, str]
    spec: Json
    owner: Json
    """The object that it is a pod of; itself if there is none."""
    listed: bool = True
    """Whether Services lead to it."""
    containers: dict[str, ChildProcess] = field(default_factory=dict)

    def inner(self, container: str) -> psutil.Process:
        """The process that the kubelet would send signals to: the first one within the container."""
        (monitor,) = psutil.Process(self.containers[container].pid).children()
        return monitor.children()[0] if monitor.name() == "bwrap" else monitor

    async def end(self) -> list[str]:
        """Ends it as the kubelet does, each container after its hook; returns those that had to be killed."""
        grace = self.spec.get("terminationGracePeriodSeconds", 30)
        ends = await asyncio.gather(*(self._end(container, grace) for container in self.spec["containers"]))
        return [name for name in ends if name]

    async def _end(self, container: Json, grace: float) -> str:
        name: str = container["name"]
        process = self.containers[name]
        try:
            async with asyncio.timeout(grace):
                await self._before_end(container.get("lifecycle", {}).get("preStop", {}))
                self.inner(name).terminate()
                await process.ended(grace)
        except TimeoutError:
            pass
        if not process.alive():
            return ""
        await process.kill()
        return name

    async def _before_end(self, hook: Json) -> None:
        if "sleep" in hook:
            await asyncio.sleep(hook["sleep"]["seconds"])
        elif "httpGet" in hook:
            ports = {port["name"]: port["containerPort"] for one in self.spec["containers"] for port in one["ports"]}
            async with httpx2.AsyncClient(timeout=None) as client:
                url = f"http://{self.address}:{ports[hook['httpGet']['port']]}{hook['httpGet']['path']}"
                (await client.get(url)).raise_for_status()

    async def ready(self) -> bool:
        """Whether all readiness probes hold; what has none is ready while it runs."""
        return all([await self._holds(one, "readinessProbe") for one in self.spec["containers"]])

    async def _holds(self, container: Json, kind: str) -> bool:
        probe = container.get(kind)
        if not self.containers[container["name"]].alive():
            return False
        if probe is None:
            return True
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        if "grpc" in probe:
            health = HealthProbe(f"{self.address}:{probe['grpc']['port']}")
            try:
                return await health.serving()
            finally:
                await health.close()
        port = ports[probe["httpGet"]["port"]]
        async with httpx2.AsyncClient() as client:
            try:
                url = f"http://{self.address}:{port}{probe['httpGet']['path']}"
                return bool((await client.get(url, timeout=2)).status_code < 400)
            except httpx2.HTTPError:
                return False


class Cluster:
    """The objects of a chart, and the pods that run of them."""

    def __init__(
        self,
        folder: Path,
        network: str,
        objects: Sequence[Json],
        database_url: str,
        names_cached_seconds: float = 0,
    ) -> None:
        """`network` are the first two numbers of addresses, such as "127.7"; `database_url` is a superuser's."""
        self.folder = folder
        self.database_url = database_url
        self.objects = {(one["kind"], one["metadata"]["name"]): one for one in objects}
        self.hooks = [one for one in objects if "helm.sh/hook" in one["metadata"].get("annotations", {})]
        """Pods that are started by hand."""
        self.pods: dict[str, Pod] = {}
        self._network = network
        self._names = Names(names_cached_seconds)
        self._resources = AsyncExitStack()
        self._proxies: dict[str, list[asyncio.Server]] = {}
        self._given = 0
        self._addresses: dict[str, str] = {}
        """Of Services, by name."""

    def of_kind(self, kind: str) -> list[Json]:
        """All objects of a kind."""
        return [one for (found, _), one in self.objects.items() if found == kind]

    async def start(self) -> None:
        """Makes a pod for each replica of all that has pods, and returns when all are ready."""
        for kind in ("Job", "StatefulSet", "Deployment"):
            for one in self.of_kind(kind):
                for _ in range(one["spec"].get("replicas", 1)):
                    self.plan(one)
        await self._resources.enter_async_context(self._names.served(f"{self._network}.0.53"))
        self._lead_to_names()
        self._name_services()
        await self._start_proxies()
        for pod in self.pods.values():
            await self.run(pod)
        for pod in self.pods.values():
            if not pod.name.startswith(self._jobs()):
                await until(pod.ready, f"pod {pod.name} is ready", 120)

    def _jobs(self) -> tuple[str, ...]:
        return tuple(one["metadata"]["name"] for one in self.of_kind("Job"))

    def plan(self, owner: Json) -> Pod:
        """A pod of this owner, which does not run yet."""
        self._given += 1
        template = owner["spec"].get("template") or owner
        of = owner["metadata"]["name"]
        count = sum(1 for pod in self.pods.values() if pod.owner is owner)
        labels = template["metadata"].get("labels", {})
        pod = Pod(f"{of}-{count}", f"{self._network}.1.{self._given}", labels, template["spec"], owner)
        self.pods[pod.name] = pod
        return pod

    async def replace(self, pod: Pod, *, hurry: bool = False) -> list[str]:
        """Replaces a pod as its controller does in a rolling update; returns the containers that had to be killed.

        That of a Deployment ends when its successor has been ready for as long as its owner asks, or at once in a
        hurry; that of a StatefulSet ends first, and comes back by its name, with its volumes.
        """
        if pod.owner["kind"] == "Deployment":
            successor = self.plan(pod.owner)
            successor.listed = False
            await self._join(successor)
            if not hurry:
                await asyncio.sleep(pod.owner["spec"].get("minReadySeconds", 0))
            return await self._leave(pod)
        killed = await self._leave(pod)
        await self._join(pod)
        return killed

    async def _join(self, pod: Pod) -> None:
        await self.run(pod)
        await until(pod.ready, f"pod {pod.name} is ready", 120)
        pod.listed = True
        self._name_services()

    async def _leave(self, pod: Pod) -> list[str]:
        pod.listed = False
        self._name_services()
        return await pod.end()

    async def run(self, pod: Pod) -> None:
        """Runs its init containers to their ends, and begins its containers."""
        for container in pod.spec.get("initContainers", ()):
            process = self._process(pod, container)
            process.start()
            assert await process.ended(60)
            assert process.exit_code == 0, process.log_file.read_text()
        for container in pod.spec["containers"]:
            pod.containers[container["name"]] = self._process(pod, container)
            pod.containers[container["name"]].start()

    async def stop(self) -> None:
        """Ends all of it."""
        for servers in self._proxies.values():
            for server in servers:
                server.close()
        for pod in self.pods.values():
            for process in pod.containers.values():
                await process.kill()
        await self._resources.aclose()

    def log(self, pod: Pod) -> str:
        """What its containers have said."""
        return "".join(process.log_file.read_text() for process in pod.containers.values())

    def selected(self, service: Json) -> list[Pod]:
        """The pods that a Service leads to."""
        selector = service["spec"]["selector"].items()
        return [pod for pod in self.pods.values() if pod.listed and selector <= pod.labels.items()]

    def address_of(self, service: str) -> str:
        """host:port of the first port of a Service that has an address of its own."""
        return f"{self._addresses[service]}:{self.objects['Service', service]['spec']['ports'][0]['port']}"

    def _lead_to_names(self) -> None:
        (self.folder / "resolv.conf").write_text(self._names.configuration())

    def _name_services(self) -> None:
        """Says to all pods, also to those that run, what the names of Services and of their pods stand for."""
        addresses: dict[str, list[str]] = {}
        for at, service in enumerate(self.of_kind("Service"), 1):
            name = service["metadata"]["name"]
            if service["spec"].get("clusterIP") == "None":
                pods = self.selected(service)
                addresses[name] = [pod.address for pod in pods]
                addresses |= {f"{pod.name}.{name}": [pod.address] for pod in pods}
            else:
                self._addresses[name] = f"{self._network}.2.{at}"
                addresses[name] = [self._addresses[name]]
        self._names.are(addresses)
        lines = ["127.0.0.1 localhost", *(f"{one} {name}" for name, found in addresses.items() for one in found)]
        names = "\n".join(lines).encode() + b"\n"
        # The file itself is what they have, and nobody may find it empty.
        file = os.open(self.folder / "hosts", os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(file, names, 0)
            os.truncate(file, len(names))
        finally:
            os.close(file)

    async def _start_proxies(self) -> None:
        for name, address in self._addresses.items():
            service = self.objects["Service", name]
            if self.selected(service):
                self._proxies[name] = [await self._proxy(address, port, service) for port in service["spec"]["ports"]]

    async def _proxy(self, address: str, port: Json, service: Json) -> asyncio.Server:
        """What kube-proxy does for an address that stands for several pods."""
        ports = {
            one["name"]: one["containerPort"]
            for pod in self.selected(service)
            for c in pod.spec["containers"]
            for one in c["ports"]
        }
        turn = iter(range(sys.maxsize))

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while data := await reader.read(1 << 16):
                    writer.write(data)
                    await writer.drain()
            except ConnectionError:
                pass
            finally:
                writer.close()

        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            pods = self.selected(service)
            pod = pods[next(turn) % len(pods)]
            there = await asyncio.open_connection(pod.address, ports[port["targetPort"]])
            await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

        return await asyncio.start_server(connect, address, port["port"])

    def _process(self, pod: Pod, container: Json) -> ChildProcess:
        command = program(container["image"], [*container.get("command", ()), *container.get("args", ())])
        environment = self._environment(pod, container)
        user = (pod.spec["securityContext"])["runAsUser"]
        arguments = [
            *("--unshare-user", "--uid", str(user), "--gid", str(user), "--die-with-parent", "--unshare-pid"),
            *("--cap-drop", "ALL", "--clearenv", "--dev", "/dev", "--proc", "/proc", "--chdir", "/tmp"),
            *("--ro-bind", str(self.folder / "hosts"), "/etc/hosts"),
            *("--ro-bind", str(self.folder / "resolv.conf"), "/etc/resolv.conf"),
        ]
        for place in SYSTEM:
            if os.path.islink(place):
                arguments += ["--symlink", os.readlink(place), place]
            elif os.path.exists(place):
                arguments += ["--ro-bind", place, place]
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", ())}
        for mount in container.get("volumeMounts", ()):
            source = self._volume(pod, volumes.get(mount["name"], mount))
            kind = "--ro-bind" if mount.get("readOnly") else "--bind"
            arguments += [kind, str(source), mount["mountPath"]]
        # After volumes: what is installed may lie below /tmp.
        for place in (str(ROOT), str(BINARIES.parent), sys.base_prefix):
            arguments += ["--ro-bind", place, place]
        for name, value in environment.items():
            arguments += ["--setenv", name, value]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        arguments += ["--remount-ro", "/"]
        return ChildProcess(
            f"{pod.name}/{container['name']}",
            [find_bwrap(), *arguments, "--", *command],
            self.folder / "logs" / f"{pod.name}-{container['name']}.log",
        )

    def _environment(self, pod: Pod, container: Json) -> dict[str, str]:
        made = {"PATH": f"{BINARIES}:/usr/bin:/bin", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        for source in container.get("envFrom", ()):
            made |= self.secret(source["secretRef"]["name"])
        for variable in container.get("env", ()):
            value = variable.get("value")
            if value is None:
                source = variable["valueFrom"]
                if "secretKeyRef" in source:
                    value = self.secret(source["secretKeyRef"]["name"])[source["secretKeyRef"]["key"]]
                else:
                    value = {"metadata.name": pod.name, "status.podIP": pod.address}[source["fieldRef"]["fieldPath"]]
            value = _VARIABLE.sub(lambda match: made.get(match[1], match[0]), value)
            made[variable["name"]] = value.replace(EVERYWHERE, pod.address)
        return made

    def secret(self, name: str) -> dict[str, str]:
        """The values of a Secret, by key."""
        return {key: base64.b64decode(value).decode() for key, value in self.objects["Secret", name]["data"].items()}

    def _volume(self, pod: Pod, volume: Json) -> Path:
        """The folder of a volume of a pod."""
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            assert ("PersistentVolumeClaim", claim) in self.objects
            return self._folder("claims", claim)
        folder = self._folder("volumes", pod.name, volume["name"])
        content: dict[str, str] = {}
        if "secret" in volume:
            found = self.secret(volume["secret"]["secretName"])
            items = volume["secret"].get("items")
            content = {item["path"]: found[item["key"]] for item in items} if items else found
        elif "configMap" in volume:
            content = self.objects["ConfigMap", volume["configMap"]["name"]]["data"]
        for name, text in content.items():
            (folder / name).write_text(text.replace(EVERYWHERE, pod.address))
        return folder

    def _folder(self, *names: str) -> Path:
        folder = self.folder.joinpath(*names)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
