"""The configuration that is rendered: whole, valid for Envoy itself, with every public method in it."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from blockyard.dev.edge import program

from services.gateway import rendering
from services.gateway.config import EdgeSettings
from services.gateway.contract import public_methods
from tests.stack.certificates import Authority

WORD = re.compile(r"@[A-Z_]+@")
PLAIN = EdgeSettings.model_validate({"admin_socket": "admin.sock", "cors_origins": "https://app.example, *"})


def rendered(folder: Path, settings: EdgeSettings = PLAIN) -> Any:  # Any: as YAML says
    rendering.write(folder, settings)
    return yaml.safe_load((folder / rendering.CONFIGURATION).read_text())


def validate(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(program()), "--mode", "validate", "--config-path", rendering.CONFIGURATION, "--log-level", "warning"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def edge_of(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    (chain,) = configuration["static_resources"]["listeners"][0]["filter_chains"]
    manager: Mapping[str, Any] = chain["filters"][0]["typed_config"]
    return manager


def test_what_is_rendered_is_valid_and_has_no_word_left(tmp_path: Path) -> None:
    rendered(tmp_path)
    said = validate(tmp_path)
    assert said.returncode == 0, said.stderr
    assert said.stderr.strip() == ""  # Envoy warns of what it will not take any more
    for name in (rendering.CONFIGURATION, rendering.SCRIPT):
        meant = [line for line in (tmp_path / name).read_text().splitlines() if not line.lstrip().startswith("#")]
        assert not WORD.findall("\n".join(meant))


def test_with_certificates_it_is_valid_too_and_browsers_are_told_to_stay_with_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.sign("edge")
    settings = EdgeSettings.model_validate(
        {
            "tls_certificate": pair.certificate,
            "tls_key": pair.key,
            "service_ca": authority.file,
            "service_certificate": pair.certificate,
            "service_key": pair.key,
            "graph_endpoints": "graph.blockyard.svc:50051",
            "account_endpoints": "[::1]:50053, 10.0.0.1:50053",
            "collector_endpoints": "127.0.0.1:4317",
        }
    )
    configuration = rendered(tmp_path / "edge", settings)
    assert validate(tmp_path / "edge").returncode == 0
    assert "max-age=31536000" in (tmp_path / "edge" / rendering.CONFIGURATION).read_text()
    clusters = {cluster["name"]: cluster for cluster in configuration["static_resources"]["clusters"]}
    named = {
        name: clusters[name]["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"][
            "match_typed_subject_alt_names"
        ]
        for name in ("graph", "account", "collector")
    }
    assert named["graph"] == [{"san_type": "DNS", "matcher": {"exact": "graph.blockyard.svc"}}]
    assert [one["matcher"]["exact"] for one in named["account"]] == ["::1", "10.0.0.1"]
    assert named["collector"] == [{"san_type": "IP_ADDRESS", "matcher": {"exact": "127.0.0.1"}}]


def test_every_public_method_has_a_route_to_a_service_that_is_there_and_no_other_has(tmp_path: Path) -> None:
    configuration = rendered(tmp_path)
    (host,) = edge_of(configuration)["route_config"]["virtual_hosts"]
    clusters = {cluster["name"] for cluster in configuration["static_resources"]["clusters"]}
    of_grpc = {
        route["match"]["path"]: route["route"]["cluster"]
        for route in host["routes"]
        if route["match"].get("path", "").startswith("/blockyard.")
    }
    assert of_grpc == {method.path: method.domain for method in public_methods()}
    assert set(of_grpc.values()) <= clusters
    transcoder = next(one for one in edge_of(configuration)["http_filters"] if "transcoder" in one["name"])
    assert transcoder["typed_config"]["services"] == sorted({method.service for method in public_methods()})


def test_what_no_replica_has_seen_is_tried_at_others(tmp_path: Path) -> None:
    (host,) = edge_of(rendered(tmp_path))["route_config"]["virtual_hosts"]
    # Requests of REST are calls of gRPC when they leave: what leads to a service by a pattern of a path leads nowhere.
    leaving = [one for one in host["routes"] if "route" in one and "safe_regex" not in one["match"]]
    assert {"notification_web", "graph"} <= {one["route"]["cluster"] for one in leaving}
    for one in leaving:
        policy = one["route"]["retry_policy"]
        assert {"connect-failure", "refused-stream", "reset-before-request"} <= set(policy["retry_on"].split(","))
        assert [predicate["name"] for predicate in policy["retry_host_predicate"]] == [
            "envoy.retry_host_predicates.previous_hosts"
        ]


def test_no_word_is_left_and_all_files_are_there(tmp_path: Path) -> None:
    rendering.write(tmp_path, PLAIN)
    left = set(WORD.findall((tmp_path / rendering.CONFIGURATION).read_text()))
    assert left <= {"@ROUTES@", "@SERVICES@"}  # these two are named in the remark at the top
    assert (tmp_path / rendering.SCRIPT).exists()
    assert (tmp_path / rendering.DESCRIPTORS).stat().st_size > 10_000


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"PORT": "70000"}, "BLOCKYARD_EDGE_PORT: "),
        ({"GRAPH_ENDPOINTS": "graph"}, "BLOCKYARD_EDGE_GRAPH_ENDPOINTS: 'graph' is no host:port"),
        ({"CORS_ORIGINS": "app.example/"}, "BLOCKYARD_EDGE_CORS_ORIGINS: 'app.example/' is no origin"),
        ({"TLS_KEY": "/key"}, "BLOCKYARD_EDGE_TLS_CERTIFICATE and BLOCKYARD_EDGE_TLS_KEY must be set together"),
        ({"SERVICE_CERTIFICATE": "/c", "SERVICE_KEY": "/k"}, "needs BLOCKYARD_EDGE_SERVICE_CA"),
    ],
    ids=["port", "address", "origins", "key alone", "no authority"],
)
def test_settings_that_are_wrong_are_named(tmp_path: Path, variables: dict[str, str], complaint: str) -> None:
    command = [sys.executable, "-m", "services.gateway", "render", "--output", str(tmp_path / "edge")]
    environment = {f"BLOCKYARD_EDGE_{name}": value for name, value in variables.items()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "edge").exists()


def test_addresses_are_written_as_envoy_reads_them() -> None:
    settings = EdgeSettings.model_validate({"graph_endpoints": "[::1]:1,b:2"})
    endpoints = json.loads(rendering.words(settings, "/")["GRAPH_ENDPOINTS"])
    addresses = [one["endpoint"]["address"]["socket_address"] for one in endpoints]
    assert addresses == [{"address": "::1", "port_value": 1}, {"address": "b", "port_value": 2}]
