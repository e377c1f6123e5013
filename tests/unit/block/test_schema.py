"""Schemas: what is described, what is validated, and what is asked for."""

from enum import StrEnum
from typing import Any

import pytest
from blockyard.block import BlockDefinitionError, BlockSchema, CredentialsReference, CredentialsRequirement, SchemaField
from blockyard.block.json_schemas import plain_schema, without_words
from pydantic import BaseModel

from tests.unit.block.sample_blocks import SecretInput, TextInput, TextOutput


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Point(BaseModel):
    x: float
    inner: "Point | None" = None


class PaintInput(BlockSchema):
    colour: Colour = SchemaField(description="Colour to use.", default=Colour.RED)
    point: Point = SchemaField(title="Where")
    default: str = SchemaField(
        description="A pin with a keyword's name.", placeholder="x", hidden=True, depends_on=["colour"], advanced=False
    )


def test_references_are_resolved_and_single_choices_folded() -> None:
    schema = PaintInput.jsonschema()

    assert "$defs" not in schema
    assert "$ref" not in str(schema)
    assert schema["properties"]["colour"]["enum"] == ["red", "blue"]
    assert schema["properties"]["colour"]["description"] == "Colour to use."
    assert schema["properties"]["point"]["title"] == "Where"
    assert schema["properties"]["point"]["properties"]["x"]["type"] == "number"


def test_schema_that_contains_itself_ends() -> None:
    inner = PaintInput.jsonschema()["properties"]["point"]["properties"]["inner"]

    assert inner["anyOf"] == [{"type": "object"}, {"type": "null"}]


@pytest.mark.parametrize("choice", ["allOf", "anyOf", "oneOf"])
def test_what_stands_beside_a_folded_choice_wins(choice: str) -> None:
    schema = {choice: [{"type": "string", "title": "Inner"}], "title": "Outer"}

    assert plain_schema(schema) == {"type": "string", "title": "Outer"}


def test_choice_of_several_stays() -> None:
    schema = {"anyOf": [{"type": "string"}, {"type": "null"}]}

    assert plain_schema(schema) == schema


def test_words_are_left_out_but_not_pins_called_like_them() -> None:
    schema = {"title": "T", "properties": {"title": {"type": "string", "description": "D", "default": {"title": 1}}}}

    assert without_words(schema) == {"properties": {"title": {"type": "string", "default": {"title": 1}}}}


def test_schema_is_made_once() -> None:
    assert PaintInput.jsonschema() is PaintInput.jsonschema()


def test_form_options_stand_in_the_schema() -> None:
    properties = PaintInput.jsonschema()["properties"]

    assert properties["default"]["placeholder"] == "x"
    assert properties["default"]["hidden"] is True
    assert properties["default"]["depends_on"] == ["colour"]
    assert properties["default"]["advanced"] is False
    assert properties["colour"]["advanced"] is True


def test_limits_stand_in_the_schema() -> None:
    properties = TextInput.jsonschema()["properties"]

    assert properties["text"]["minLength"] == 1
    assert properties["times"]["minimum"] == 0


def test_fields_required_fields_and_many_pins() -> None:
    assert TextInput.get_fields() == {"text", "times", "note"}
    assert TextInput.get_required_fields() == {"text"}
    assert TextOutput.many_pins() == {"part"}


def test_validate_data_names_all_that_is_wrong() -> None:
    assert TextInput.validate_data({"text": "a"}) == []
    assert TextInput.validate_data({"times": -1, "text": None}) == [
        "text: is required",
        "times: expected greater than or equal to 0, got -1",
    ]


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("times", 2, None),
        ("note", None, None),
        ("times", -1, "times: expected greater than or equal to 0, got -1"),
        ("text", "", "text: String should have at least 1 character, got ''"),
        ("unknown", 1, "unknown: there is no such field; there are text, times, note"),
    ],
)
def test_validate_field_looks_at_one_field_alone(name: str, value: Any, complaint: str | None) -> None:
    assert TextInput.validate_field(name, value) == complaint


def test_long_values_are_cut_in_messages() -> None:
    complaint = TextInput.validate_field("times", "x" * 1000)

    assert complaint is not None
    assert len(complaint) < 250


def test_secret_values_are_not_shown() -> None:
    assert SecretInput.validate_field("password", "hidden") == "password: does not fit"
    assert "hidden" not in str(SecretInput.validate_data({"password": "hidden"}))


def test_credentials_fields_tell_what_they_ask_for() -> None:
    assert SecretInput.get_credentials_fields() == {
        "credentials": CredentialsRequirement(providers=("mail",), types=("api_key",), scopes=("read", "send"))
    }


def test_credentials_field_must_be_called_so() -> None:
    with pytest.raises(BlockDefinitionError, match=r"WrongInput\.key: is a credentials field: name it key_credentials"):

        class WrongInput(BlockSchema):
            key: CredentialsReference = SchemaField()


def test_only_credentials_fields_may_be_called_so() -> None:
    with pytest.raises(BlockDefinitionError, match="mail_credentials: its name is for fields of type"):

        class WrongInput(BlockSchema):
            mail_credentials: str = SchemaField()
