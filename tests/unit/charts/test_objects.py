"""What is true of every object of the chart, whatever the values."""

import base64
import json
import re
from collections import Counter
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from blockyard.sandbox import Limits
from blockyard.sandbox.cluster.api import CALLS
from blockyard.sandbox.cluster.job import described
from blockyard.sandbox.cluster.settings import from_environment

from services.gateway import rendering
from services.gateway.config import EdgeSettings
from tests.charts.matrix import MATRIX
from tests.charts.names import CACHED_SECONDS
from tests.charts.rendering import containers, pod_spec, render, template

Json = Any  # what stands in manifests
VERSIONS = ("1.30", "1.37")
"""The oldest and the newest version of Kubernetes that the chart is for."""
OTHERS = {
    "cert-manager.io/v1": "Certificate Issuer",
    "keda.sh/v1alpha1": "ScaledObject",
    "gateway.networking.k8s.io/v1": "HTTPRoute",
    "monitoring.coreos.com/v1": "PodMonitor PrometheusRule",
}
"""Objects that Kubernetes itself does not know."""
_RANDOM = re.compile(r'(?<="checksum/)[a-z]+": "[0-9a-f]{64}|(?<=": ")[A-Za-z0-9+/=]{44,}|(?<=-migrate-)[0-9a-f-]{14}')
"""What differs at each rendering: generated secrets, their sums, and the name of the Job that migrates."""
_VALID: set[tuple[str, str]] = set()
OF_CLUSTERS = (
    "ClusterRole",
    "ClusterRoleBinding",
    "Namespace",
    "PriorityClass",
    "RuntimeClass",
    "CustomResourceDefinition",
)


@pytest.fixture(scope="module", params=MATRIX)
def values(request: pytest.FixtureRequest) -> Json:
    return MATRIX[request.param]


@pytest.fixture(scope="module")
def objects(values: Json) -> list[Json]:
    return render(values, "--namespace", "here")


@pytest.fixture(scope="module")
def upstreams(tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    """The services as Envoy calls them."""
    folder = tmp_path_factory.mktemp("edge")
    rendering.write(folder, EdgeSettings.model_validate({}))
    configuration = yaml.safe_load((folder / rendering.CONFIGURATION).read_text())
    return [one for one in configuration["static_resources"]["clusters"] if one["name"] not in ("admin", "collector")]


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


def of_kind(objects: list[Json], kind: str) -> dict[str, Json]:
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == kind}


def variables(container: Json) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}


def workloads(objects: list[Json]) -> list[Json]:
    return [one for one in objects if pod_spec(one)]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(objects: list[Json], version: str) -> None:
    for one in objects:
        # Most objects are the same whatever the values, and each check takes a while.
        looked_at = (version, _RANDOM.sub("", json.dumps(one, sort_keys=True)))
        if looked_at in _VALID or one["kind"] in OTHERS.get(one["apiVersion"], "").split():
            continue
        kubernetes_validate.validate(one, version, strict=True)
        _VALID.add(looked_at)


def test_nothing_is_there_twice_or_outside_of_the_namespace(objects: list[Json], values: Json) -> None:
    names = Counter((one["kind"], one["metadata"]["name"]) for one in objects)
    assert [name for name, count in names.items() if count > 1] == []
    sandboxes = values.get("sandbox", {}).get("namespace") or "here"
    for one in objects:
        in_sandboxes = one["metadata"]["name"].endswith("-sandbox")
        assert one["metadata"]["namespace"] == (sandboxes if in_sandboxes else "here")
    assert not {one["kind"] for one in objects} & set(OF_CLUSTERS)
    assert all(len(name) <= 63 for _, name in names)


def test_every_container_keeps_to_the_restricted_standard(objects: list[Json]) -> None:
    for one in workloads(objects):
        spec = pod_spec(one)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is ("BLOCKYARD_SANDBOX" in variables(spec["containers"][0]))
        assert spec["enableServiceLinks"] is False
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
        assert all("hostPath" not in volume for volume in spec["volumes"])
    for _, container in containers(objects):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_every_container_says_what_it_takes(objects: list[Json]) -> None:
    for _, container in containers(objects):
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        assert "cpu" not in container["resources"]["limits"]  # it would be throttled while the node is idle


def test_probes_ports_and_mounts_exist(objects: list[Json]) -> None:
    for one, container in containers(objects):
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.get(kind, {})
            if "grpc" in probe:
                assert probe["grpc"]["port"] in ports.values()
            for way in ("httpGet", "tcpSocket"):
                if way in probe:
                    assert probe[way]["port"] in ports
        hook = container.get("lifecycle", {}).get("preStop", {})
        if "httpGet" in hook:
            assert hook["httpGet"]["port"] in ports
        template_claims = (one.get("spec") or {}).get("volumeClaimTemplates", ())
        volumes = [volume["name"] for volume in pod_spec(one)["volumes"]]
        volumes += [claim["metadata"]["name"] for claim in template_claims]
        assert len(set(volumes)) == len(volumes)
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(set(mounts)) == len(mounts)
        assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
        names = [variable["name"] for variable in container.get("env", ())]
        assert len(set(names)) == len(names)


def test_everything_that_serves_is_asked_whether_it_is_ready(objects: list[Json]) -> None:
    for one in workloads(objects):
        if one["kind"] in ("Deployment", "StatefulSet"):
            for container in pod_spec(one)["containers"]:
                assert {"startupProbe", "readinessProbe"} <= container.keys()


def test_what_starts_is_given_the_time_that_names_may_take(objects: list[Json]) -> None:
    for _, container in containers(objects):
        if probe := container.get("startupProbe"):
            # Envoy takes 70 seconds where no DNS answers; killed before that it would be started anew minutes later.
            assert probe["periodSeconds"] * probe["failureThreshold"] >= 300


def services_by_name(objects: list[Json]) -> list[Json]:
    """The Deployments whose pods are called by the addresses that a name stands for."""
    headless = [one["spec"] for one in of_kind(objects, "Service").values() if one["spec"].get("clusterIP") == "None"]
    return [
        one
        for one in of_kind(objects, "Deployment").values()
        if any(spec["selector"].items() <= template(one)["metadata"]["labels"].items() for spec in headless)
    ]


def test_a_pod_is_found_by_its_name_before_the_one_that_it_replaces_ends(
    objects: list[Json], upstreams: list[Json]
) -> None:
    looked_up = max(seconds(one["cluster_type"]["typed_config"]["dns_refresh_rate"]) for one in upstreams)
    services = services_by_name(objects)
    assert len(services) == 5
    for one in services:
        (container,) = pod_spec(one)["containers"]
        drain = float(variables(container)["BLOCKYARD_DRAIN_SECONDS"])
        assert one["spec"]["minReadySeconds"] + drain >= CACHED_SECONDS + looked_up, one["metadata"]["name"]


def test_the_edge_asks_each_pod_that_drains_before_it_ends(objects: list[Json], upstreams: list[Json]) -> None:
    checks = [check for one in upstreams for check in one.get("health_checks", ())]
    assert len(checks) == 5
    # Envoy's default of no_traffic_healthy_interval is no_traffic_interval.
    intervals = ("interval", "no_traffic_interval", "no_traffic_healthy_interval")
    asked = max(
        seconds(check[name]) + seconds(check["timeout"]) for check in checks for name in intervals if name in check
    )
    for one in services_by_name(objects):
        (container,) = pod_spec(one)["containers"]
        assert asked < float(variables(container)["BLOCKYARD_DRAIN_SECONDS"]), one["metadata"]["name"]


def test_the_log_of_helm_test_is_there_when_it_is_asked_for(objects: list[Json]) -> None:
    (pod,) = of_kind(objects, "Pod").values()
    # Helm 3 ends `helm test --logs` with an error where the pod is deleted as soon as it has ended.
    assert pod["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation"


def test_services_select_pods_that_have_their_ports(objects: list[Json]) -> None:
    for service in of_kind(objects, "Service").values():
        selector = service["spec"]["selector"].items()
        found = [one for one in workloads(objects) if selector <= template(one)["metadata"]["labels"].items()]
        assert len(found) == 1, service["metadata"]["name"]
        ports = {port["name"] for one in pod_spec(found[0])["containers"] for port in one["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_selectors_fit_their_own_pods_and_no_others(objects: list[Json]) -> None:
    sets = [one for one in workloads(objects) if one["kind"] in ("Deployment", "StatefulSet")]
    for one in sets:
        selector = one["spec"]["selector"]["matchLabels"].items()
        assert [other for other in workloads(objects) if selector <= template(other)["metadata"]["labels"].items()] == [
            one
        ]


def test_what_is_referred_to_exists(objects: list[Json], values: Json) -> None:
    """Secrets, claims, configurations and accounts are of the chart, or named in the values."""
    named = set(re.findall(r"'([^']+)'", str(values)))
    named |= {one["spec"]["secretName"] for one in of_kind(objects, "Certificate").values()}

    def check(kind: str, name: str, keys: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        if name in named:
            return
        there = of_kind(objects, kind)
        assert name in there, f"{kind} {name}"
        assert keys <= there[name].get("data", {}).keys()

    for one, container in containers(objects):
        for variable in container.get("env", ()):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                check("Secret", reference["name"], {reference["key"]})
        for source in container.get("envFrom", ()):
            check("Secret", source["secretRef"]["name"])
        spec = pod_spec(one)
        for volume in spec["volumes"]:
            if "secret" in volume:
                check(
                    "Secret",
                    volume["secret"]["secretName"],
                    {item["key"] for item in volume["secret"].get("items", ())},
                )
            if "configMap" in volume:
                check("ConfigMap", volume["configMap"]["name"])
            if "persistentVolumeClaim" in volume:
                check("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
        if "serviceAccountName" in spec:
            check("ServiceAccount", spec["serviceAccountName"])


def test_every_port_is_covered_by_a_network_policy(objects: list[Json], values: Json) -> None:
    policies = of_kind(objects, "NetworkPolicy").values()
    if not values.get("networkPolicy", {}).get("enabled", True):
        assert not policies
        return
    for one in workloads(objects):
        labels = template(one)["metadata"]["labels"].items()
        of_it = [
            policy["spec"] for policy in policies if policy["spec"]["podSelector"]["matchLabels"].items() <= labels
        ]
        assert all(policy["policyTypes"] == ["Ingress", "Egress"] for policy in of_it)
        assert any("ingress" not in policy for policy in of_it)  # nothing comes in but what the others let in
        opened = {port["port"] for policy in of_it for rule in policy.get("ingress") or () for port in rule["ports"]}
        for container in pod_spec(one)["containers"]:
            for port in container.get("ports", ()):
                if port["name"] in ("health", "drain"):  # the kubelet's alone
                    assert port["name"] not in opened
                elif port["name"] not in ("metrics", "monitor"):  # for whom values name
                    assert port["name"] in opened, f"{one['metadata']['name']}: {port['name']}"


def test_no_secret_stands_anywhere_but_in_a_secret(objects: list[Json]) -> None:
    secrets = {
        base64.b64decode(value).decode()
        for secret in of_kind(objects, "Secret").values()
        for value in secret["data"].values()
    }
    rest = str([one for one in objects if one["kind"] != "Secret"])
    assert [secret for secret in secrets if secret in rest] == []


def test_runners_hold_their_own_secret_alone(objects: list[Json]) -> None:
    for name, one in of_kind(objects, "Deployment").items():
        if "-runner-" in name:
            (container,) = pod_spec(one)["containers"]
            keys = [
                variable["valueFrom"]["secretKeyRef"]["key"]
                for variable in container["env"]
                if "secretKeyRef" in variable.get("valueFrom", {})
            ]
            assert keys == ["runner-secret"]


def test_the_doctor_has_what_each_process_has_and_no_container_more(objects: list[Json], values: Json) -> None:
    def of(container: Json) -> Json:
        names = {"env", "envFrom", "image", "securityContext"}
        return {key: value for key, value in container.items() if key in names}

    found = of_kind(objects, "CronJob")
    if not values.get("doctor", {}).get("enabled", True):
        assert not found
        return
    (doctor,) = found.values()
    assert doctor["spec"]["suspend"] is True
    spec = pod_spec(doctor)
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    processes = {
        template(one)["metadata"]["labels"]["app.kubernetes.io/component"]: pod_spec(one)
        for one in of_kind(objects, "Deployment").values()
    }
    looked_at = {container["name"]: container for container in spec["containers"]}
    assert looked_at.keys() == processes.keys() - {"edge"}
    for name, container in looked_at.items():
        (own,) = processes[name]["containers"]
        assert of(container) == of(own)
        assert container["command"] == ["blockyard", "doctor"]
        of_process = {volume["name"]: volume for volume in processes[name]["volumes"]}
        mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        assert {path: {**volume, "name": ""} for path, volume in mounted.items()} == {
            mount["mountPath"]: {**of_process[mount["name"]], "name": ""} for mount in own["volumeMounts"]
        }


def test_every_part_has_a_certificate_for_its_service_when_there_is_tls(objects: list[Json], values: Json) -> None:
    enabled = values.get("internalTls", {}).get("enabled", False)
    certificates = {one["spec"]["secretName"]: one["spec"] for one in of_kind(objects, "Certificate").values()}
    for one in workloads(objects):
        part = template(one)["metadata"]["labels"]["app.kubernetes.io/component"]
        mounted = [volume["secret"]["secretName"] for volume in pod_spec(one)["volumes"] if volume["name"] == "tls"]
        if part not in ("migrate", "postgresql", "test", "doctor"):
            assert len(mounted) == enabled, one["metadata"]["name"]
        for secret in mounted:
            if secret in certificates and one["kind"] != "Pod":
                name = one["metadata"]["name"]
                replicas = one["spec"].get("replicas", 1) if one["kind"] == "StatefulSet" else 0
                hosts = [name, *(f"{name}-{at}.{name}" for at in range(replicas))]
                suffixes = ("", ".here", ".here.svc", ".here.svc.cluster.local")
                assert set(certificates[secret]["dnsNames"]) == {host + suffix for host in hosts for suffix in suffixes}
                assert {"server auth", "client auth"} <= set(certificates[secret]["usages"])


def test_whoever_signs_certificates_is_there_or_named(objects: list[Json], values: Json) -> None:
    issuers = of_kind(objects, "Issuer")
    for one in of_kind(objects, "Certificate").values():
        issuer = one["spec"]["issuerRef"]
        assert issuer["name"] in issuers or issuer == values["internalTls"]["certManager"]["issuerRef"]
    for issuer in issuers.values():
        signed = issuer["spec"].get("ca", {}).get("secretName")
        assert signed is None or any(
            one["spec"].get("isCA") and one["spec"]["secretName"] == signed
            for one in of_kind(objects, "Certificate").values()
        )


def test_with_tls_nothing_is_called_in_plain_text(objects: list[Json], values: Json) -> None:
    if not values.get("internalTls", {}).get("enabled"):
        return
    for one, container in containers(objects):
        variables = {variable["name"]: variable.get("value") for variable in container.get("env", ())}
        if "BLOCKYARD_GRAPH_ADDRESS" in variables and one["kind"] == "Deployment":
            assert {f"BLOCKYARD_TLS_{what}" for what in ("CERTIFICATE", "KEY", "CA", "CLIENT_CA")} <= variables.keys()
        if "BLOCKYARD_NATS_URL" in variables:
            assert variables["BLOCKYARD_NATS_URL"].startswith("tls://")
            assert variables["BLOCKYARD_NATS_CA"]
        if container["name"] == "configuration":
            assert {f"BLOCKYARD_EDGE_SERVICE_{what}" for what in ("CERTIFICATE", "KEY", "CA")} <= variables.keys()
    for name, service in of_kind(objects, "Service").items():
        for port in service["spec"]["ports"]:
            if port["name"] in ("grpc", "web") and not name.endswith("-edge"):
                assert port["appProtocol"] == "https"


def test_only_runners_of_code_may_do_anything_and_no_more_than_they_call(objects: list[Json], values: Json) -> None:
    roles, bindings = of_kind(objects, "Role"), of_kind(objects, "RoleBinding")
    enabled = values.get("sandbox", {}).get("enabled", False)
    assert len(roles) == len(bindings) == enabled
    coding = [
        pod_spec(one)["serviceAccountName"]
        for one in of_kind(objects, "Deployment").values()
        if "BLOCKYARD_SANDBOX" in variables(pod_spec(one)["containers"][0])
    ]
    for role, binding in zip(roles.values(), bindings.values(), strict=True):
        groups = {"jobs": ["batch"], "pods": [""], "pods/attach": [""]}
        assert {resource: rule["apiGroups"] for rule in role["rules"] for resource in rule["resources"]} == groups
        verbs = {resource: set(rule["verbs"]) for rule in role["rules"] for resource in rule["resources"]}
        assert verbs == {resource: set(called) for resource, called in CALLS.items()}
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        subjects = [(subject["kind"], subject["name"], subject["namespace"]) for subject in binding["subjects"]]
        assert subjects == [("ServiceAccount", name, "here") for name in sorted(set(coding))]


def test_jobs_of_code_find_what_they_name_and_are_shut_off(objects: list[Json], values: Json) -> None:
    for one in of_kind(objects, "Deployment").values():
        told = variables(pod_spec(one)["containers"][0])
        if "BLOCKYARD_SANDBOX" not in told:
            continue
        settings = from_environment(told | {"HOSTNAME": "runner-1"})
        job = described(settings, "sandbox-1", "p", Limits(), 800)
        looked_at = ("job", json.dumps({**job, "spec": {**job["spec"], "template": 0}}) + settings.model_dump_json())
        if looked_at not in _VALID:
            kubernetes_validate.validate(job, "1.35", strict=True)
            _VALID.add(looked_at)
        account = of_kind(objects, "ServiceAccount")[settings.service_account]
        assert account["automountServiceAccountToken"] is False
        assert account["metadata"]["namespace"] == settings.namespace == job["metadata"]["namespace"]
        labels = job["spec"]["template"]["metadata"]["labels"].items()
        policies = [
            policy
            for policy in of_kind(objects, "NetworkPolicy").values()
            if policy["spec"]["podSelector"]["matchLabels"].items() <= labels
        ]
        if not values.get("networkPolicy", {}).get("enabled", True):
            assert not policies
            continue
        (policy,) = policies
        assert policy["metadata"]["namespace"] == settings.namespace
        assert policy["spec"].keys() == {"podSelector", "policyTypes"}
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
