"""Envoy takes what the chart's edge is given: its files are made of the variables of the rendered pod."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from blockyard.dev import edge

from services.gateway import rendering
from services.gateway.config import EDGE_PREFIX, EdgeSettings
from tests.charts.matrix import MATRIX
from tests.charts.rendering import pod_spec, render
from tests.stack.certificates import Authority

TLS = {
    "edge": {
        "tls": {"secretName": "edge-tls"},
        "settings": {"cors_origins": "https://app.example", "collector_endpoints": "collector.monitoring:4317"},
    },
    "internalTls": {"enabled": True, "existingSecret": "all-tls"},
}


@pytest.mark.parametrize("values", [{}, MATRIX["large-production"], TLS], ids=["defaults", "large-production", "tls"])
def test_envoy_takes_what_the_chart_makes(values: dict[str, Any], tmp_path: Path) -> None:
    objects = render(values)
    (spec,) = (
        pod_spec(one) for one in objects if one["kind"] == "Deployment" and one["metadata"]["name"].endswith("-edge")
    )
    (configuration,) = spec["initContainers"]
    variables = {one["name"]: one["value"] for one in configuration["env"]}
    # Files of Secrets, which Envoy reads to check them.
    authority = Authority(tmp_path / "secrets")
    pair = authority.sign("edge", ["edge.example"])
    files = {"ca.crt": authority.file, "tls.crt": pair.certificate, "tls.key": pair.key}
    settings = {name.removeprefix(EDGE_PREFIX).lower(): value for name, value in variables.items()}
    settings |= {name: files[Path(value).name] for name, value in settings.items() if value.startswith("/etc/")}
    rendering.write(tmp_path / "files", EdgeSettings.model_validate(settings))
    done = subprocess.run(
        [edge.program(), "--mode", "validate", "--config-path", tmp_path / "files" / rendering.CONFIGURATION],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "OK" in done.stdout + done.stderr
