"""What the chart takes as values, and what it says of those that it does not take."""

import json
import re
from typing import Any

import pytest
import yaml

from services.gateway import routes
from tests.charts.matrix import EXTERNAL, MATRIX
from tests.charts.rendering import CHART, ChartRefused, containers, notes, render
from tools import chart_values

Json = Any  # what stands in values
VALUES = (CHART / "values.yaml").read_text()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"graph": {"replica": 3}}, "replica"),
        ({"grahp": {}}, "grahp"),
        ({"graph": {"replicas": "three"}}, "/graph/replicas"),
        ({"nats": {"replicas": 2}}, "/nats/replicas"),
        ({"postgresql": {"storage": {"size": "large"}}}, "/postgresql/storage/size"),
        ({"images": {"services": {"digest": "abc"}}}, "/images/services/digest"),
        ({"runnerPools": []}, "/runnerPools"),
        ({"runnerPools": [{"name": "Big Ones"}]}, "/runnerPools/0/name"),
        ({"edge": {"settings": {"drain_seconds": 60}}}, "(60) must be more than edge.settings.drain_seconds (60)"),
        (
            {"runnerDefaults": {"gracePeriodSeconds": 60}},
            "runnerPools default: terminationGracePeriodSeconds (75) must be",
        ),
        ({"runnerPools": [{"name": "other"}]}, "runnerPools must have a pool with the name default"),
        (
            {"runnerDefaults": {"sandbox": True}},
            "sandbox.enabled must be true where a pool has sandbox: true, as default",
        ),
        ({"sandbox": {"enabled": True}}, "sandbox.enabled is true, and no pool runs code"),
        ({"sandbox": {"namespace": "Here"}}, "/sandbox/namespace"),
        (
            {
                "sandbox": {"enabled": True, "resources": {"limits": {"memory": "1Gi"}}},
                "runnerDefaults": {"sandbox": True},
            },
            "sandbox.resources.limits.memory cannot be set",
        ),
        ({"runnerDefaults": {"autoscaling": {"kind": "cron"}}}, "/runnerDefaults/autoscaling/kind"),
        ({"runnerDefaults": {"autoscaling": {"kind": "keda"}}}, "prometheusAddress must be set"),
        ({"edge": {"settings": {"cors": "*"}}}, "cors"),
        ({"edge": {"gateway": {"enabled": True}}}, "edge.gateway.parentRefs must name a Gateway"),
        ({"postgresql": {"enabled": False}}, "postgresql.external"),
        ({**EXTERNAL, "nats": {"enabled": False}}, "nats.external.url must be set"),
        ({"nats": {"enabled": False, "external": {"url": "nats://user:password@nats"}}}, "/nats/external/url"),
        ({"nats": {"external": {"streamReplicas": 2}}}, "/nats/external/streamReplicas"),
        ({"listenAddress": "127.0.0.1"}, "/listenAddress"),
        ({"edge": {"networks": ["10.0.0.0"]}}, "/edge/networks/0"),
        ({"defaults": {"env": {"BLOCKYARD_JWKS_URL": "https://id"}}}, "networkPolicy.identityProviderEgress must say"),
        (
            {"graph": {"extraEnv": [{"name": "BLOCKYARD_JWKS_URL"}]}},
            "graph could not fetch the keys that tokens are checked by",
        ),
        (
            {"internalTls": {"enabled": True, "existingSecret": "a", "certManager": {"enabled": True}}},
            "internalTls has certificates either of certManager or of existingSecret",
        ),
        ({"monitoring": {"serviceMonitor": {"enabled": True}}}, "networkPolicy.metricsFrom must let Prometheus in"),
        ({"runnerDefaults": {"autoscaling": {"kind": "keda-nats"}}}, "networkPolicy.metricsFrom must let KEDA in"),
        (
            {**EXTERNAL, "runnerDefaults": {"autoscaling": {"kind": "keda-nats"}}},
            "the kind keda-nats asks the chart's own NATS",
        ),
        (
            {
                "fullnameOverride": "a-name-that-is-as-long-as-names-may-be-here",
                "runnerPools": [{"name": "default"}, {"name": "a-name-that-is-as-long"}],
                "runnerDefaults": {"autoscaling": {"kind": "keda", "prometheusAddress": "http://p"}},
            },
            "is too long for KEDA",
        ),
        ({"internalTls": {"enabled": True}}, "internalTls needs certManager.enabled, existingSecret"),
        ({"internalTls": {"enabled": True, "existingSecrets": {"graph": "a"}}}, "existingSecrets.account"),
        ({"internalTls": {"existingSecrets": {"grpah": "a"}}}, "grpah"),
        ({"internalTls": {"certManager": {"duration": "90d"}}}, "/internalTls/certManager/duration"),
        ({"blobs": {"url": "/var/blobs"}}, "/blobs/url"),
        ({"graph": {"env": {"with space": "1"}}}, "with space"),
    ],
)
def test_what_does_not_fit_is_named(values: Json, said: str) -> None:
    with pytest.raises(ChartRefused, match=re.escape(said)):
        render(values)


def test_every_value_stands_in_the_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["additionalProperties"] is False
    assert yaml.safe_load(VALUES).keys() == schema["properties"].keys() - {"global"}


def test_every_value_is_explained_in_the_readme() -> None:
    found = chart_values.values()
    as_a_whole = (".resources", ".labels")
    wanted = [one for one in found if one.is_leaf and not (one.covered and any(name in one.key for name in as_a_whole))]
    assert [one.key for one in wanted if not one.text] == []
    assert chart_values.README.read_text() == chart_values.readme(), "run: ./task chart"


def test_what_env_says_wins() -> None:
    (graph,) = (
        one
        for one in render({"graph": {"env": {"BLOCKYARD_PORT": 1}}})
        if one["metadata"]["name"].endswith("graph") and one["kind"] == "Deployment"
    )
    (container,) = graph["spec"]["template"]["spec"]["containers"]
    assert [one["value"] for one in container["env"] if one["name"] == "BLOCKYARD_PORT"] == ["1"]


def test_secrets_that_would_be_lost_cannot_be_rendered_anew() -> None:
    secrets = {one["metadata"]["name"]: one for one in render({}) if one["kind"] == "Secret"}
    fixed = {name for name, one in secrets.items() if one.get("immutable")}
    assert fixed == {"b-blockyard-tokens", "b-blockyard-vault-keys"}
    assert all(one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for one in secrets.values())


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"memory": "1Gi"}, "858993459"),
        ({"memory": "512M"}, "409600000"),
        ({"memory": 1000000000}, "800000000"),
        ({}, None),
    ],
)
def test_nats_collects_garbage_before_it_is_killed(limits: Json, expected: str | None) -> None:
    # Maps are merged: null takes the memory out.
    limits = limits or {"memory": None}
    objects = render({"nats": {"resources": {"limits": limits}}})
    (container,) = (
        container
        for one, container in containers(objects)
        if one["kind"] == "StatefulSet" and container["name"] == "nats"
    )
    found = {one["name"]: one.get("value") for one in container["env"]}
    assert found.get("GOMEMLIMIT") == expected


def test_services_believe_the_edge_alone_of_the_addresses_of_clients() -> None:
    objects = render(MATRIX["identity provider"])
    believed = {
        one["metadata"]["name"]: variable["value"]
        for one, container in containers(objects)
        if one["kind"] == "Deployment"
        for variable in container.get("env", ())
        if variable["name"] == "BLOCKYARD_TRUSTED_PROXIES"
    }
    services = ("account", "credentials", "execution", "graph", "notification")
    assert believed == {f"b-blockyard-{name}": "10.244.0.0/16,fd00::/8" for name in services}


@pytest.mark.parametrize("name", ["gateway", "ingress with one of its own for gRPC"])
def test_calls_of_grpc_go_to_the_port_where_http_2_is_spoken(name: str) -> None:
    objects = render(MATRIX[name])
    (edge,) = (one for one in objects if one["kind"] == "Service" and one["metadata"]["name"].endswith("-edge"))
    spoken = {port["port"]: port["appProtocol"] for port in edge["spec"]["ports"]}
    assert spoken == {80: "http", 50051: "kubernetes.io/h2c"}
    taken: dict[str, int] = {}
    for one in objects:
        if one["kind"] == "HTTPRoute":
            for rule in one["spec"]["rules"]:
                (backend,) = rule["backendRefs"]
                assert len(rule["matches"]) <= 8
                taken |= {match["path"]["value"]: backend["port"] for match in rule["matches"]}
        elif one["kind"] == "Ingress":
            for path in one["spec"]["rules"][0]["http"]["paths"]:
                taken[path["path"]] = path["backend"]["service"]["port"]["number"]
    assert taken == {"/": 80, **{f"/{service}": 50051 for service in routes.services()}}


def test_names_that_look_like_numbers_stay_names() -> None:
    for one in render({}, "--namespace", "123", release="456"):
        assert one["metadata"]["namespace"] == "123"
        assert all(isinstance(value, str) for value in one["metadata"]["labels"].values())
        selector = one.get("spec", {}).get("podSelector", {}).get("matchLabels", {})
        assert all(isinstance(value, str) for value in selector.values())


def test_each_replica_lets_its_part_of_a_users_calls_through() -> None:
    parts = {
        one["metadata"]["name"]: variable["value"]
        for one, container in containers(render({"execution": {"replicas": 5}}))
        if one["kind"] == "Deployment"
        for variable in container.get("env", ())
        if variable["name"] == "BLOCKYARD_RATE_LIMIT_REPLICAS"
    }
    assert parts["b-blockyard-execution"] == "5"
    assert parts["b-blockyard-graph"] == "2"


def test_other_passwords_of_roles_are_a_reason_to_migrate_again() -> None:
    def jobs(values: Json) -> set[str]:
        """The names of the Job in two renderings, each of which makes passwords of its own."""
        return {one["metadata"]["name"] for _ in range(2) for one in render(values) if one["kind"] == "Job"}

    assert len(jobs({})) == 2
    assert len(jobs({"postgresql": {"passwordsSecret": "roles"}})) == 1


@pytest.fixture(scope="module")
def said() -> str:
    """What is printed at the end of an installation of which users see a certificate."""
    return notes(MATRIX["edge with tls"])


def test_commands_that_are_printed_at_the_end_name_what_is_there(said: str) -> None:
    objects = {(one["kind"].lower(), one["metadata"]["name"]): one for one in render(MATRIX["edge with tls"])}
    named = re.findall(r"(deployment|service|cronjob)/(\S+)", said) + re.findall(r"get (secret) (\S+)", said)
    assert {kind for kind, _ in named} == {"deployment", "service", "cronjob", "secret"}
    assert set(named) <= objects.keys()
    (port,) = re.findall(r"port-forward service/b-blockyard-edge 8080:(\d+) &", said)
    assert int(port) in {one["port"] for one in objects["service", "b-blockyard-edge"]["spec"]["ports"]}


def test_the_first_call_waits_for_its_way_and_does_not_look_for_its_name(said: str) -> None:
    assert re.findall(r"curl (.*) -H", said) == ["--retry 5 --retry-connrefused --insecure"]


def test_the_doctor_has_ended_when_its_log_is_asked_for(said: str) -> None:
    # Before that kubectl (seen with 1.32) says that a container waits to start, and gives up.
    made, waited, read = re.findall(r"kubectl .* (?:create job|wait job|logs job).*", said)
    assert made.endswith("create job --from=cronjob/b-blockyard-doctor doctor")
    assert "wait job/doctor --for jsonpath='{.status.conditions[0].status}'=True" in waited
    assert "logs job/doctor --all-containers --prefix" in read
