"""What an operator sets."""

import re
from pathlib import Path

import pytest
from blockyard.sandbox import SandboxUnavailable
from blockyard.sandbox.cluster.settings import PREFIX, ClusterSettings, from_environment
from blockyard.sandbox.config import at_once_from_environment, way_from_environment

OPERATING = (Path(__file__).parents[3] / "docs" / "operating.md").read_text()


@pytest.mark.parametrize(("environment", "expected"), [({}, 4), ({"BLOCKYARD_SANDBOXES": " "}, 4)])
def test_four_sandboxes_at_once_unless_an_operator_says_otherwise(environment: dict[str, str], expected: int) -> None:
    assert at_once_from_environment(environment) == expected
    assert at_once_from_environment({"BLOCKYARD_SANDBOXES": "16"}) == 16


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "\u0663"])
def test_what_is_no_number_of_sandboxes_is_said(text: str) -> None:
    with pytest.raises(SandboxUnavailable) as refused:
        at_once_from_environment({"BLOCKYARD_SANDBOXES": text})

    assert str(refused.value) == f"BLOCKYARD_SANDBOXES: expected a whole number from 1 on, got {text!r}"


def test_way_that_there_is_not_is_said() -> None:
    assert way_from_environment({}) == "bubblewrap"
    with pytest.raises(SandboxUnavailable, match="BLOCKYARD_SANDBOX: expected bubblewrap or kubernetes, got 'docker'"):
        way_from_environment({"BLOCKYARD_SANDBOX": "docker"})


def test_settings_of_a_cluster_are_read_and_what_cannot_be_meant_is_said() -> None:
    given = {"IMAGE": "i", "WARM": "2", "NODE_SELECTOR": '{"a": "b"}', "TOLERATIONS": '[{"key": "c"}]'}
    settings = from_environment({PREFIX + name: text for name, text in given.items()} | {"HOSTNAME": "runner-1"})

    assert (settings.image, settings.warm, settings.node_selector) == ("i", 2, {"a": "b"})
    assert (settings.tolerations, settings.runner, settings.pool) == ([{"key": "c"}], "runner-1", "default")
    with pytest.raises(SandboxUnavailable, match=r"BLOCKYARD_SANDBOX_IMAGE: .*BLOCKYARD_SANDBOX_WARM: "):
        from_environment({PREFIX + "WARM": "-1"})


def test_settings_of_a_cluster_are_documented() -> None:
    documented = set(re.findall(rf"^\| `{PREFIX}(\w+)`", OPERATING, re.MULTILINE))

    assert documented == {name.upper() for name in ClusterSettings.model_fields}
