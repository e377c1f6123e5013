"""The sets of values that the chart is looked at with, from what each is for to the values themselves."""

from collections.abc import Mapping
from typing import Any

import yaml

from tests.charts.rendering import ROOT

Json = Any  # what stands in values
EXAMPLES = ROOT / "k8s" / "values"
EXTERNAL = {
    "postgresql": {"enabled": False, "external": {"host": "db.example.org", "migrationSecret": "migration"}},
    "nats": {"enabled": False, "external": {"url": "tls://nats.example.org:4222", "caSecret": "nats-ca"}},
}


def _example(name: str) -> Mapping[str, Json]:
    values: Mapping[str, Json] = yaml.load((EXAMPLES / f"{name}.yaml").read_text(), yaml.CSafeLoader)
    return values


def _pool(**autoscaling: Json) -> Mapping[str, Json]:
    return {"runnerPools": [{"name": "default", "autoscaling": autoscaling}]}


EXAMPLE_NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))
MATRIX: dict[str, Mapping[str, Json]] = {
    "defaults": {},
    **{name: _example(name) for name in EXAMPLE_NAMES},
    "external": EXTERNAL,
    "without a doctor": {"doctor": {"enabled": False}},
    "external without certificates": {
        **EXTERNAL,
        "nats": {"enabled": False, "external": {"url": "nats://nats:4222"}, "passwordsSecret": "nats-passwords"},
    },
    "everything by secrets of the operator": {
        "secrets": {"existingSecret": "tokens", "vault": {"existingSecret": "keys"}},
        "postgresql": {"passwordsSecret": "roles"},
        "nats": {"passwordsSecret": "users"},
        "imagePullSecrets": ["registry"],
    },
    "transit engine": {"secrets": {"vault": {"url": "https://vault:8200/transit/b", "tokenSecret": "vault-token"}}},
    "mirror": {
        "imageRegistry": "registry.example.org/mirror/",
        "images": {"services": {"digest": f"sha256:{'0' * 64}"}, "nats": {"tag": "2.16.0"}},
    },
    "certificates of cert-manager": {"internalTls": {"enabled": True, "certManager": {"enabled": True}}},
    "certificates of an issuer of the cluster": {
        "internalTls": {
            "enabled": True,
            "certManager": {"enabled": True, "issuerRef": {"name": "ours", "kind": "ClusterIssuer"}},
        },
        "nats": {"replicas": 3},
        "runnerPools": [{"name": "default"}, {"name": "gpu"}],
        "edge": {"tls": {"secretName": "edge-tls"}},
    },
    "certificates of the operator": {
        "internalTls": {
            "enabled": True,
            "existingSecret": "all-tls",
            "existingSecrets": {"runner": "runner-tls", "runner-gpu": "gpu-tls", "nats": "nats-tls"},
        },
        "runnerPools": [{"name": "default"}, {"name": "gpu"}],
    },
    "edge with tls": {"edge": {"tls": {"secretName": "edge-tls"}, "service": {"type": "LoadBalancer"}}},
    "node port": {"edge": {"service": {"type": "NodePort", "nodePort": 30080, "externalTrafficPolicy": "Local"}}},
    "ingress for any host": {"edge": {"ingress": {"enabled": True}}},
    "ingress with one of its own for gRPC": {
        "edge": {
            "ingress": {
                "enabled": True,
                "className": "nginx",
                "annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "off"},
                "grpcAnnotations": {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"},
                "hosts": ["blockyard.example.org"],
                "tls": [{"hosts": ["blockyard.example.org"], "secretName": "shown"}],
            }
        }
    },
    "nothing but IPv6": {"listenAddress": "::", "nats": {"replicas": 3}},
    "identity provider": {
        "defaults": {"env": {"BLOCKYARD_JWKS_URL": "https://id.example.org/keys", "BLOCKYARD_JWT_ISSUER": "id"}},
        "edge": {"networks": ["10.244.0.0/16", "fd00::/8"]},
        "networkPolicy": {"identityProviderEgress": [{"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]}]},
    },
    "gateway": {"edge": {"gateway": {"enabled": True, "parentRefs": [{"name": "public"}]}}},
    "cluster of nats with subscribers": {"nats": {"replicas": 3, "subscribers": ["anna", "b.c"]}},
    "hpa": _pool(kind="hpa", maxReplicas=3),
    "keda": _pool(kind="keda", minReplicas=0, prometheusAddress="http://prometheus:9090"),
    "keda with nats": {
        **_pool(kind="keda-nats"),
        "networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "keda"}}}]},
    },
    "pools": {"runnerPools": [{"name": "default"}, {"name": "gpu", "image": {"repository": "me/gpu", "tag": "1"}}]},
    "object store": {"blobs": {"url": "s3://bucket/prefix", "envSecret": "bucket"}},
    "claim of the operator": {"blobs": {"volume": {"existingClaim": "files"}}},
    "no network policies": {"networkPolicy": {"enabled": False}},
    "narrow network policies": {
        **EXTERNAL,
        "networkPolicy": {
            "edgeFrom": [{"namespaceSelector": {}}],
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
            "dnsTo": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
            "runnerEgress": [],
            "serviceEgress": [],
            "backendEgress": [{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [{"port": 5432}]}],
        },
    },
    "everything that pods take": {
        "defaults": {
            "env": {"BLOCKYARD_LOG_LEVEL": "DEBUG", "BLOCKYARD_DRAIN_SECONDS": 7},
            "extraEnv": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            "extraVolumes": [{"name": "extra", "configMap": {"name": "extra", "optional": True}}],
            "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
            "podLabels": {"team": "a"},
            "podAnnotations": {"note": "b"},
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "high",
            "serviceAccount": {"annotations": {"role": "c"}},
        },
        "graph": {"serviceAccount": {"name": "mine"}},
    },
    "one of each": {"defaults": {"replicas": 1}},
    "monitoring": {
        "monitoring": {
            "serviceMonitor": {"enabled": True},
            "prometheusRule": {"enabled": True},
            "dashboards": {"enabled": True},
        },
        "networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
    },
    "what a service within the cluster has no use for": {
        "edge": {
            "service": {
                "nodePort": 30080,
                "externalTrafficPolicy": "Local",
                "loadBalancerSourceRanges": ["10.0.0.0/8"],
            }
        }
    },
    "large numbers": {"execution": {"env": {"BLOCKYARD_TASKS_STREAM_BYTES": 1073741824}}},
    "tracing": {"monitoring": {"otlpEndpoint": "collector.monitoring:4317"}},
    "code": {"sandbox": {"enabled": True}, "runnerDefaults": {"sandbox": True}},
    "code in a namespace of its own": {
        "imagePullSecrets": ["registry"],
        "sandbox": {
            "enabled": True,
            "namespace": "sandboxes",
            "image": {"repository": "me/languages", "tag": "1"},
            "imagePullSecrets": ["sandbox-registry"],
            "runtimeClassName": "gvisor",
            "warm": 2,
            "nodeSelector": {"workload": "code"},
            "tolerations": [{"key": "workload", "value": "code", "effect": "NoSchedule"}],
            "priorityClassName": "low",
            "apiServer": {"cidrs": ["10.96.0.1/32", "192.168.1.10/32"], "ports": [443]},
        },
        "runnerPools": [{"name": "default"}, {"name": "code", "sandbox": True, "serviceAccount": {"name": "coder"}}],
    },
    "a long name": {"fullnameOverride": "a-name-that-is-as-long-as-names-may-be-and-longer-still"},
}
