"""Makes the files that Envoy is started with: `envoy.yaml`, `edge.lua` and `blockyard.binpb`.

What comes from the contract is filled in first, then what comes from settings.
"""

import json
import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from services.common.http_statuses import BY_REASON
from services.gateway import contract, local_replies, routes
from services.gateway.config import EdgeSettings, parse_list

HERE = Path(__file__).parent
CONFIGURATION = "envoy.yaml"
SCRIPT = "edge.lua"
DESCRIPTORS = "blockyard.binpb"
SHOWN = "tls-certificate"
"""What users are shown."""
PROVING = "service-certificate"
"""What services are shown."""

_WORD = re.compile(r"@([A-Z_]+)@")
_TYPE = "type.googleapis.com/envoy.extensions"


def template() -> str:
    """The configuration with all that the contract says, and words such as @GRAPH_ENDPOINTS@ for what settings say."""
    made = routes.routes("@TIMEOUT@s", "@DEADLINE@S", "@BODY_BYTES@", "@HOOK_BYTES@")
    return _filled(
        (HERE / CONFIGURATION).read_text(encoding="utf-8"),
        {
            "ROUTES": json.dumps(made),
            "SERVICES": json.dumps(routes.services()),
            "LOCAL_REPLIES": json.dumps(local_replies.mappers()),
        },
    )


def script() -> str:
    """What Envoy runs for each request of REST."""
    messages = _lua(contract.fields_of_bodies())
    statuses = _lua({reason: str(status) for reason, status in BY_REASON.items()})
    values = {"MESSAGES": messages, "STATUSES": statuses, "DETAILS": _lua(local_replies.details())}
    return _filled((HERE / SCRIPT).read_text(encoding="utf-8"), values)


def words(settings: EdgeSettings, folder: str) -> dict[str, str]:
    """What stands in the configuration for each setting, with the files of the edge in a folder."""
    plain = {name.upper(): str(value) for name, value in settings if isinstance(value, int | str)}
    endpoints = {
        name: json.dumps([_endpoint(address) for address in parse_list(value)])
        for name, value in plain.items()
        if name.endswith("_ENDPOINTS")
    }
    return {
        **plain,
        **endpoints,
        "FOLDER": folder,
        # A little later than the edge gives up, whose answer says more.
        "DEADLINE": str(settings.timeout + 1),
        "CORS_ORIGINS": json.dumps([_origin(origin) for origin in parse_list(settings.cors_origins)]),
        "STRICT_TRANSPORT_SECURITY": "max-age=31536000; includeSubDomains" if settings.tls_certificate else "",
        "DRAIN_LISTENS": json.dumps(_drain_listens(settings)),
        "LISTENER_TRANSPORT": json.dumps(_listener_transport(settings, folder)),
        **_transports(settings, folder),
        "TRACING": json.dumps(_tracing(settings)),
    }


def write(folder: Path, settings: EdgeSettings) -> None:
    """Write the files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    configuration = _filled(template(), words(settings, str(folder.absolute())))
    for name, certificate, key in _pairs(settings):
        (folder / f"{name}.yaml").write_text(json.dumps(_secret(name, certificate, key)), encoding="utf-8")
    (folder / CONFIGURATION).write_text(configuration, encoding="utf-8")
    (folder / SCRIPT).write_text(script(), encoding="utf-8")
    (folder / DESCRIPTORS).write_bytes(contract.descriptor_set().SerializeToString(deterministic=True))


def _filled(text: str, values: Mapping[str, str]) -> str:
    """The text with these words filled in; others stay. Remarks may hold words, which name and do not stand for."""
    return _WORD.sub(lambda match: values.get(match[1], match[0]), text)


def _endpoint(address: str) -> Mapping[str, Any]:
    host, _, port = address.rpartition(":")
    return {"endpoint": {"address": {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}}}


def _origin(origin: str) -> Mapping[str, Any]:
    return {"safe_regex": {"regex": ".*"}} if origin == "*" else {"exact": origin}


def _drain_listens(settings: EdgeSettings) -> Mapping[str, Any]:
    """Where nobody asked for a port, it is a socket for the edge's own user."""
    if settings.drain_port is None:
        return {"pipe": {"path": f"{settings.admin_socket}.drain", "mode": 0o600}}
    return {"socket_address": {"address": settings.host, "port_value": settings.drain_port}}


def _listener_transport(settings: EdgeSettings, folder: str) -> Mapping[str, Any]:
    if settings.tls_certificate is None:
        return _plain()
    context = {"alpn_protocols": ["h2", "http/1.1"], **_certificate(SHOWN, folder)}
    return _tls("DownstreamTlsContext", {"common_tls_context": context})


def _transports(settings: EdgeSettings, folder: str) -> dict[str, str]:
    """How each service is called, by the word for it: `GRAPH_TRANSPORT`."""
    return {
        name.upper().replace("_ENDPOINTS", "_TRANSPORT"): json.dumps(
            _transport(settings, folder, name, parse_list(value))
        )
        for name, value in settings
        if name.endswith("_endpoints")
    }


def _transport(settings: EdgeSettings, folder: str, name: str, addresses: Sequence[str]) -> Mapping[str, Any]:
    if settings.service_ca is None:
        return _plain()
    hosts = list(dict.fromkeys(address.rpartition(":")[0].strip("[]") for address in addresses))
    context: dict[str, Any] = {
        "alpn_protocols": ["http/1.1" if name == "notification_web_endpoints" else "h2"],
        "validation_context": {
            "trusted_ca": {"filename": str(settings.service_ca)},
            # The authority signs for all services: each must be the one that was called.
            "match_typed_subject_alt_names": [_named(host) for host in hosts],
        },
    }
    if settings.service_certificate is not None:
        context |= _certificate(PROVING, folder)
    return _tls("UpstreamTlsContext", {"common_tls_context": context})


def _named(host: str) -> Mapping[str, Any]:
    """What a certificate must hold to be the host's."""
    return {"san_type": "IP_ADDRESS" if _is_address(host) else "DNS", "matcher": {"exact": host}}


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _certificate(name: str, folder: str) -> Mapping[str, Any]:
    """One that Envoy reads from a file of its own, which it can be told to read again."""
    source = {"path_config_source": {"path": f"{folder}/{name}.yaml"}, "resource_api_version": "V3"}
    return {"tls_certificate_sds_secret_configs": [{"name": name, "sds_config": source}]}


def _pairs(settings: EdgeSettings) -> list[tuple[str, Path, Path]]:
    pairs = (
        (SHOWN, settings.tls_certificate, settings.tls_key),
        (PROVING, settings.service_certificate, settings.service_key),
    )
    return [(name, certificate, key) for name, certificate, key in pairs if certificate and key]


def _secret(name: str, certificate: Path, key: Path) -> Mapping[str, Any]:
    """The files of a certificate. They are read again when something is moved into their folder, as renewals are."""
    files = {
        "certificate_chain": {"filename": str(certificate)},
        "private_key": {"filename": str(key)},
        "watched_directory": {"path": str(certificate.parent)},
    }
    resource = {"@type": f"{_TYPE}.transport_sockets.tls.v3.Secret", "name": name, "tls_certificate": files}
    return {"resources": [resource]}


def _plain() -> Mapping[str, Any]:
    config = {"@type": f"{_TYPE}.transport_sockets.raw_buffer.v3.RawBuffer"}
    return {"name": "envoy.transport_sockets.raw_buffer", "typed_config": config}


def _tls(kind: str, context: Mapping[str, Any]) -> Mapping[str, Any]:
    config = {"@type": f"{_TYPE}.transport_sockets.tls.v3.{kind}", **context}
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


def _tracing(settings: EdgeSettings) -> Mapping[str, Any] | None:
    if not settings.collector_endpoints:
        return None
    config = {
        "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
        "grpc_service": {"envoy_grpc": {"cluster_name": "collector"}, "timeout": "1s"},
        "service_name": "blockyard-edge",
    }
    return {"provider": {"name": "envoy.tracers.opentelemetry", "typed_config": config}}


def _lua(value: Any) -> str:  # Any: a dictionary, or what stands in it
    if isinstance(value, Mapping):
        return "{" + ",".join(f"[{_lua(name)}]={_lua(one)}" for name, one in value.items()) + "}"
    return "true" if value is True else json.dumps(value)
