"""Credentials of a preset under those of a call."""

from blockyard.graph.v1.graph_pb2 import CredentialsField, CredentialsPin

from services.execution.credentials import with_preset

FIELDS = [
    CredentialsField(
        name="github",
        pins=[CredentialsPin(node_id="a", pin="credentials"), CredentialsPin(node_id="b", pin="credentials")],
    )
]
PRESET = {"github": "one", "a.credentials": "two"}


def test_what_a_call_does_not_name_is_the_presets() -> None:
    assert with_preset(PRESET, {}, FIELDS) == PRESET
    assert with_preset(PRESET, {"b.credentials": "three"}, FIELDS) == {**PRESET, "b.credentials": "three"}
    assert with_preset({}, {"github": "three"}, FIELDS) == {"github": "three"}


def test_a_field_that_a_call_names_means_all_its_pins() -> None:
    assert with_preset(PRESET, {"github": "three"}, FIELDS) == {"github": "three"}
