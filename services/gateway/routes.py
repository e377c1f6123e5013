"""The routes of the edge: where each method and each path goes. What stands in none of them does not exist outside.

A call of REST meets two routes: at first that of its path, which tells edge.lua what the path takes; then, when the
transcoder has made a call of gRPC of it, that of its method, which leads to the service.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from services.gateway.contract import PublicMethod, public_methods
from services.gateway.paths import by_shape, pattern

WEB = "notification_web"
HOOKS = "/blockyard.execution.v1.TriggerService/ReceiveWebhook"
"""Answered with 202: what was received is durable, and its execution goes on."""
NOBODY_SAW = "connect-failure,refused-stream,reset-before-request"
"""Failures of calls that have reached no service."""

Json = Mapping[str, Any]  # as Envoy reads it


def routes(timeout: str, deadline: str, body_bytes: str, hook_bytes: str) -> list[Json]:
    """All routes in the order in which they are tried. The arguments may be words to fill in."""
    methods = public_methods()
    return [
        *(_method(method, timeout, deadline) for method in methods),
        *_web(),
        *_paths(methods, body_bytes, hook_bytes),
        {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
    ]


def services() -> list[str]:
    """The services that REST is made of."""
    return sorted({method.service for method in public_methods()})


def _method(method: PublicMethod, timeout: str, deadline: str) -> Json:
    # What is under way may be silent for as long as it likes; pings tell both ends whether the other is there.
    route: dict[str, Any] = {"cluster": method.domain, "timeout": "0s", "idle_timeout": "0s"}
    route["retry_policy"] = _retries(method)
    made: dict[str, Any] = {"match": {"path": method.path, "headers": [_grpc()]}, "route": route}
    if not method.streams:
        # A deadline of the caller counts; who sets none gets ours, of which the service is told too.
        route["max_stream_duration"] = {"max_stream_duration": timeout, "grpc_timeout_header_max": "0s"}
        header = {"key": "grpc-timeout", "value": deadline}
        made["request_headers_to_add"] = [{"header": header, "append_action": "ADD_IF_ABSENT"}]
    told = {"success": "202"} if method.path == HOOKS else {"streams": True} if method.streams else {}
    return made | {"metadata": _told(told)} if told else made


def _grpc() -> Json:
    return {"name": "content-type", "string_match": {"prefix": "application/grpc"}}


def _retries(method: PublicMethod) -> Json:
    """What changes something is sent again only where it is certain that nobody has seen it."""
    return _elsewhere(f"{NOBODY_SAW},unavailable" if method.only_reads and not method.streams else NOBODY_SAW)


def _elsewhere(retry_on: str) -> Json:
    """Two more attempts, at replicas that have not been tried."""
    return {
        "retry_on": retry_on,
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": 3,
    }


def _web() -> list[Json]:
    """What the notification service serves over HTTP. Streams have no end that the edge would set.

    Nobody is asked here whether it serves, so replicas that have ended are tried for as long as a name stands for them.
    """
    pages = [{"path": page} for page in ("/health", "/openapi.json", "/unsubscribe")]
    called = {"cluster": WEB, "retry_policy": _elsewhere(NOBODY_SAW)}
    stream = called | {"timeout": "0s", "idle_timeout": "0s"}
    page = called | {"timeout": "15s"}
    return [
        {"match": {"path": "/ws"}, "route": stream | {"upgrade_configs": [{"upgrade_type": "websocket"}]}},
        {"match": {"path": "/api/events"}, "route": stream},
        *({"match": match, "route": page} for match in (*pages, {"path_separated_prefix": "/docs"})),
    ]


def _paths(methods: Iterable[PublicMethod], body_bytes: str, hook_bytes: str) -> list[Json]:
    return [_path(template, verbs, body_bytes, hook_bytes) for template, verbs in by_shape(methods).items()]


def _path(template: str, verbs: Mapping[str, PublicMethod], body_bytes: str, hook_bytes: str) -> Json:
    """Whatever comes through here as it is, no service knows: the transcoder leaves only calls of gRPC behind.

    Until then a body comes, and who sends nothing of it is given up: sooner while the edge has little room.
    """
    domains = {method.domain for method in verbs.values()}
    hooks = any(method.path == HOOKS for method in verbs.values())
    bodies = {
        binding.verb: binding.body
        for method in verbs.values()
        for binding in method.bindings
        if binding.verb in verbs and pattern(binding.path) == pattern(template)
    }
    return {
        "match": {"safe_regex": {"regex": pattern(template)}},
        "route": {"cluster": min(domains), "idle_timeout": "60s"},
        "request_body_buffer_limit": hook_bytes if hooks else body_bytes,
        "metadata": _told({"verbs": bodies}),
    }


def _told(what: Json) -> Json:
    return {"filter_metadata": {"envoy.filters.http.lua": what}}
