"""Containers of pods as processes of this machine, in namespaces of their own (bubblewrap).

Held to: the user, a root that cannot be written to, volumes in memory with their sizes, no rights, and being the first
process. Not held to: memory and processor time, which take cgroups.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from blockyard.sandbox import view
from blockyard.sandbox.bubblewrap import find_bwrap, open_to_all
from blockyard.sandbox.languages import find_python

Json = Any  # objects of Kubernetes
_PATH = "/usr/local/bin:/usr/bin:/bin"


class ContainerProcess:
    """One container. What it writes goes to those who are attached then, and nowhere else."""

    def __init__(self, pod: Json) -> None:
        self._pod = pod
        self._process: asyncio.subprocess.Process | None = None
        self._attached: list[Callable[[int, bytes], None]] = []
        self.stdin_taken = False
        self.over = asyncio.Event()
        """Set once it has ended and all that it wrote has been passed on."""
        self.log = bytearray()
        """All that it has written, as it would stand on the node."""

    async def start(self) -> None:
        """Starts it."""
        spec = self._pod["spec"]
        user = spec["securityContext"]["runAsUser"]
        command = self._command(spec["containers"][0], user)
        root = {"user": user, "group": user, "extra_groups": []} if os.geteuid() == 0 else {}
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            find_bwrap(), *command, stdin=pipe, stdout=pipe, stderr=pipe, env={}, cwd="/", **root
        )

    async def ended(self) -> int:
        """Its exit code, once it has ended and all that it wrote is out."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        assert process.stderr is not None
        await asyncio.gather(self._pass_on(1, process.stdout), self._pass_on(2, process.stderr))
        code = await process.wait()
        self.over.set()
        return 128 - code if code < 0 else code

    def attach(self, take: Callable[[int, bytes], None]) -> None:
        """`take` gets (stream, bytes) of all that comes from now on."""
        self._attached.append(take)

    def detach(self, take: Callable[[int, bytes], None]) -> None:
        """It gets no more."""
        self._attached.remove(take)

    async def write(self, data: bytes) -> None:
        """To its standard input."""
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            return

    def close_stdin(self) -> None:
        """Ends its standard input."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()

    def kill(self) -> None:
        """Ends it as the kernel would."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Ends it, and waits until nothing of it is open."""
        self.kill()
        if self._process is not None:
            self.close_stdin()
            await self.over.wait()

    async def _pass_on(self, stream: int, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(1 << 15):
            if stream == 1:
                self.log += data
            for take in self._attached:
                take(stream, data)

    def _command(self, container: Json, user: int) -> list[str]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        python = find_python(open_to_all if os.geteuid() == 0 else lambda path: os.access(path, os.R_OK))
        words = ["--unshare-all", "--die-with-parent", "--as-pid-1", "--uid", str(user), "--gid", str(user)]
        words += ["--cap-drop", "ALL", "--clearenv", "--proc", "/proc", "--dev", "/dev"]
        words += view.system()
        for place in python.mounts:
            words += ["--ro-bind", place, place]
        words += self._volumes(container)
        if python.mounts:
            words += ["--symlink", python.path, "/python/python3"]
        words += ["--setenv", "PATH", f"/python:{_PATH}", "--setenv", "KUBERNETES_SERVICE_HOST", "10.0.0.1"]
        words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", container["workingDir"], "--"]
        return [*words, *container["command"]]

    def _volumes(self, container: Json) -> Sequence[str]:
        volumes = {one["name"]: one["emptyDir"] for one in self._pod["spec"]["volumes"]}
        words: list[str] = []
        for mount in container["volumeMounts"]:
            volume = volumes[mount["name"]]
            assert volume["medium"] == "Memory"
            if "subPath" in mount:
                (whole,) = (
                    one["mountPath"]
                    for one in container["volumeMounts"]
                    if one["name"] == mount["name"] and "subPath" not in one
                )
                inner = f"{whole}/{mount['subPath']}"
                words += ["--dir", inner, "--symlink", inner, mount["mountPath"]]
            else:
                words += ["--size", volume["sizeLimit"], "--tmpfs", mount["mountPath"]]
        return words
