"""The calls of the Kubernetes API that sandboxes need, by its official client; what fails becomes an error here.

Objects go as they are, as JSON: the client's models of all kinds of objects would take a runner 140 MB and six seconds.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

from blockyard.sandbox.errors import SandboxLost, SandboxUnavailable

if TYPE_CHECKING:
    from kubernetes.aio.client import ApiClient, Configuration

Json = Any  # objects of Kubernetes
CALL_SECONDS = 15.0
CONNECT_SECONDS = 10.0
# A watch ends by itself after this, and is begun anew from where it was.
WATCH_SECONDS = 240
# Streams beside each other, each with a connection.
CONNECTIONS = 1_000
CALLS: Mapping[str, tuple[str, ...]] = {
    "jobs": ("create", "list", "delete"),
    "pods": ("create", "list", "watch"),
    "pods/attach": ("create", "get"),
}
"""Rights that the calls below need, by resource: the chart's Role has these and no others."""

_TO_DO = {
    401: "check the token of the runner's ServiceAccount",
    404: "make the namespace, or name another one in BLOCKYARD_SANDBOX_NAMESPACE",
}
_CHECK_SETTINGS = "check the settings BLOCKYARD_SANDBOX_... and what they name"
_PASSING = (408, 409, 429, 500, 502, 503, 504)


class ApiError(Exception):
    """The API server refused a call, or could not be asked."""

    def __init__(self, what: str, status: int, message: str, reason: str = "") -> None:
        """`status` is that of HTTP; 0 if there was no answer of a server. `reason` is a word of that server's."""
        super().__init__(message)
        self.reason = reason
        self.what = what
        self.status = status
        self.message = message

    @property
    def out_of_quota(self) -> bool:
        """Whether there is no room for it now, and will be."""
        return self.status == 403 and "exceeded quota" in self.message

    @property
    def passes(self) -> bool:
        """Whether the same call may go well later."""
        return self.status == 0 or self.status in _PASSING or self.out_of_quota

    def as_sandbox_error(self, namespace: str) -> SandboxUnavailable | SandboxLost:
        """What a program is told that could not be run for it."""
        where = f"{self.what} in the namespace {namespace}"
        if self.out_of_quota:
            return SandboxLost(f"there was no room for the code: {where}: {self.message}")
        if self.status == 0:
            return SandboxLost(f"the API server of Kubernetes cannot be reached: {where}: {self.message}")
        if self.passes:
            return SandboxLost(f"the API server of Kubernetes has trouble: {where}: {self.status} {self.message}")
        if "admission webhook" in self.message or "ValidatingAdmissionPolicy" in self.message:
            to_do = "let the policy admit the sandbox's Jobs and Pods"
        elif "PodSecurity" in self.message:
            to_do = "label the namespace pod-security.kubernetes.io/enforce: restricted, which the Jobs keep to"
        elif self.status == 403 and " cannot " in self.message:
            to_do = "give the runner's ServiceAccount the rights of the chart's Role, in this namespace"
        else:
            # A class or an account that there is not is forbidden as well.
            to_do = _TO_DO.get(self.status, _CHECK_SETTINGS)
        return SandboxUnavailable(f"code cannot run here: {where}: {self.status} {self.message}. To do: {to_do}.")


class Api:
    """The API of one namespace. Made by `connected`."""

    def __init__(self, rest: "ApiClient", streams: "ApiClient", namespace: str) -> None:
        self._rest = rest
        self._streams = streams
        self.namespace = namespace

    async def create_job(self, job: Json) -> None:
        """One that is there already is this one: names are never given twice, but an answer may have been lost."""
        # The other conflict is one of quotas, which many write at once.
        try:
            await self._call("create a Job", "POST", "/apis/batch/v1/namespaces/{namespace}/jobs", body=job)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    async def list_jobs(self, labels: Mapping[str, str]) -> list[Json]:
        """Those with these labels."""
        path = "/apis/batch/v1/namespaces/{namespace}/jobs"
        found = await self._call("list Jobs", "GET", path, {"labelSelector": _selector(labels)})
        return _listed("list Jobs", found)[0]

    async def delete_job(self, name: str) -> None:
        """With its pods. One that is gone already is no error."""
        path = f"/apis/batch/v1/namespaces/{{namespace}}/jobs/{name}"
        try:
            await self._call("delete a Job", "DELETE", path, body={"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != 404:
                raise

    async def try_pod(self, job: Json) -> None:
        """Whether the pod of this Job could be made: the server says why not, and makes none."""
        template = job["spec"]["template"]
        metadata = {**template["metadata"], "generateName": f"{job['metadata']['name']}-"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        await self._call("make a Pod", "POST", "/api/v1/namespaces/{namespace}/pods", {"dryRun": "All"}, body=pod)

    async def list_pods(self, labels: Mapping[str, str]) -> tuple[list[Json], str]:
        """Those with these labels, and the version of the list, to watch from."""
        found = await self._call(
            "list Pods", "GET", "/api/v1/namespaces/{namespace}/pods", {"labelSelector": _selector(labels)}
        )
        return _listed("list Pods", found)

    async def watch_pods(self, labels: Mapping[str, str], version: str) -> AsyncIterator[tuple[str, Json]]:
        """(kind of change, object) from that version on, until the server ends it. Raises ApiError; 410: list anew."""
        query = {
            "labelSelector": _selector(labels),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        what = "watch Pods"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=WATCH_SECONDS + 30)
        try:
            response = await self._request("GET", "/api/v1/namespaces/{namespace}/pods", query, None, timeout)
            try:
                if response.status >= 400:
                    raise _refused(what, response.status, await response.response.read())
                while line := await response.response.content.readline():
                    yield _change(what, line)
            finally:
                response.response.close()
        # ValueError: a line that has no end.
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiError(what, 0, _said(error)) from error

    @asynccontextmanager
    async def attached(self, pod: str, container: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """The container's standard streams. Raises ApiError."""
        what, path = "attach to a Pod", f"/api/v1/namespaces/{{namespace}}/pods/{pod}/attach"
        query = {"container": container, "stdin": "true", "stdout": "true", "stderr": "true"}
        try:
            async with asyncio.timeout(CALL_SECONDS):
                parameters = await self._parameters(self._streams, "GET", path, query, None)
                connecting = (await self._streams.call_api(*parameters, _preload_content=False)).response
                socket = await connecting.__aenter__()
        except aiohttp.WSServerHandshakeError as error:
            # What the server says comes with no answer to a handshake.
            said = "the account cannot create and get pods/attach" if error.status == 403 else error.message
            # One that says that all is well, and is no handshake, comes from something else.
            raise ApiError(what, error.status if error.status >= 400 else 0, said) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(what, 0, _said(error)) from error
        try:
            yield socket
        finally:
            await socket.close()

    async def _call(
        self, what: str, method: str, path: str, query: Mapping[str, str] | None = None, body: Json = None
    ) -> Json:
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS)
        try:
            response = await self._request(method, path, query or {}, body, timeout)
            content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(what, 0, _said(error)) from error
        if response.status >= 400:
            raise _refused(what, response.status, content)
        try:
            found = json.loads(content)
            # Every object has one; without it nothing was made, or deleted.
            str(found["kind"])
        except (ValueError, KeyError, TypeError) as error:
            raise ApiError(what, 0, _no_answer(content)) from error
        return found

    async def _request(self, method: str, path: str, query: Mapping[str, str], body: Json, timeout: Any) -> Any:
        parameters = await self._parameters(self._rest, method, path, query, body)
        return await self._rest.call_api(*parameters, _request_timeout=timeout)

    async def _parameters(
        self, client: "ApiClient", method: str, path: str, query: Mapping[str, str], body: Json
    ) -> tuple[Any, Any, Any, Any, Any]:
        # The token is read again when it is a minute old: that of a pod is replaced within the hour.
        method, url, headers, body, form = await client.param_serialize(
            method,
            path,
            {"namespace": self.namespace},
            list(query.items()),
            {"Accept": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
        )
        return method, url, headers, body, form


@asynccontextmanager
async def connected(namespace: str) -> AsyncIterator[Api]:
    """As the pod's ServiceAccount, or as KUBECONFIG says outside of a cluster. Raises SandboxUnavailable."""
    configuration = await _configuration()
    from kubernetes.aio.client import ApiClient
    from kubernetes.aio.stream import WsApiClient

    # The client has no types for it.
    streams_of: Any = WsApiClient
    async with ApiClient(configuration) as rest, streams_of(configuration) as streams:
        yield Api(rest, streams, namespace)


async def _configuration() -> "Configuration":
    try:
        # It takes seconds.
        config, configuration_type = await asyncio.to_thread(_import)
    except ImportError as error:
        raise SandboxUnavailable(
            f"code cannot run here: the client of Kubernetes is not installed ({error}). "
            "To do: pip install 'blockyard[sandbox]'."
        ) from error
    configuration: Configuration = configuration_type()
    configuration.connection_pool_maxsize = CONNECTIONS
    # As other clients of Kubernetes check certificates: authorities of clusters may lack what Python wants since 3.13.
    configuration.disable_strict_ssl_verification = True
    configuration.client_session_kwargs = {
        # Streams last as long as what they are of.
        "timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        # A proxy that a pod is given leads out of the cluster, and Python reads no networks in NO_PROXY.
        "trust_env": False,
    }
    try:
        if path := os.environ.get("KUBECONFIG"):
            await config.load_kube_config(config_file=path, client_configuration=configuration)
        else:
            config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException as error:
        raise SandboxUnavailable(
            f"code cannot run here: there is no way to the API server of Kubernetes ({error}). To do: mount the token "
            "of the ServiceAccount into the runner's pods, as the chart does for pools with `sandbox: true`."
        ) from error
    return configuration


def _import() -> tuple[Any, Any]:
    from kubernetes.aio import config
    from kubernetes.aio.client import Configuration

    return config, Configuration


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())


def _refused(what: str, status: int, content: bytes) -> ApiError:
    try:
        said = json.loads(content)
        message, reason = str(said["message"]), str(said.get("reason", ""))
    except (ValueError, KeyError, TypeError):
        message, reason = content.decode(errors="replace"), ""
    return ApiError(what, status, message.strip()[:1000], reason)


def _listed(what: str, found: Json) -> tuple[list[Json], str]:
    """What is in a list, and its version."""
    try:
        return list(found["items"] or ()), str(found["metadata"]["resourceVersion"])
    except (KeyError, TypeError) as error:
        raise ApiError(what, 0, _no_answer(found)) from error


def _change(what: str, line: bytes) -> tuple[str, Json]:
    """(kind, object) of a line of a watch."""
    try:
        change = json.loads(line)
        kind, one = change["type"], change["object"]
        if kind == "ERROR":
            raise ApiError(what, int(one.get("code", 0)), str(one.get("message")))
        # Whoever watches goes on from it.
        str(one["metadata"]["resourceVersion"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ApiError(what, 0, _no_answer(line)) from error
    return kind, one


def _no_answer(found: Any) -> str:
    return f"this is no answer of an API server: {found!r:.200}"


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
