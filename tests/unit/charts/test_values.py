"""What the chart takes as values, and what it says of those that it does not take."""

import json
import re
from typing import Any

import pytest
import yaml

from tests.charts.matrix import EXTERNAL
from tests.charts.rendering import CHART, ChartRefused, render

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
        ({"runnerPools": [{"name": "other"}]}, "runnerPools must have a pool with the name default"),
        ({"runnerDefaults": {"autoscaling": {"kind": "cron"}}}, "/runnerDefaults/autoscaling/kind"),
        ({"runnerDefaults": {"autoscaling": {"kind": "keda"}}}, "prometheusAddress must be set"),
        ({"edge": {"settings": {"cors": "*"}}}, "cors"),
        ({"edge": {"gateway": {"enabled": True}}}, "edge.gateway.parentRefs must name a Gateway"),
        ({"postgresql": {"enabled": False}}, "postgresql.external"),
        ({**EXTERNAL, "nats": {"enabled": False}}, "nats.external.url must be set"),
        ({"nats": {"enabled": False, "external": {"url": "nats://user:password@nats"}}}, "/nats/external/url"),
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


def test_every_value_stands_in_the_schema_and_is_explained() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["additionalProperties"] is False
    assert yaml.safe_load(VALUES).keys() <= schema["properties"].keys()


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
