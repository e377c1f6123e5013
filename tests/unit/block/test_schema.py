"""Schemas: what is described, what is validated, and what is asked for."""

from enum import StrEnum
from typing import Any, Literal, Self

import pytest
from blockyard.block import BlockDefinitionError, BlockSchema, CredentialsReference, CredentialsRequirement, SchemaField
from blockyard.block.json_schemas import leftovers, plain_schema, without_words
from pydantic import BaseModel, field_validator, model_validator

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


class Circle(BaseModel):
    kind: Literal["circle"]
    radius: float


class Square(BaseModel):
    kind: Literal["square"]
    side: float


class ManyKindsInput(PaintInput, TextInput):
    shape: Circle | Square | None = SchemaField(default=None, discriminator="kind")
    even: int = SchemaField(default=0)

    @field_validator("even")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"{value} is odd")
        return value


class BothInput(BlockSchema):
    low: int = SchemaField()
    high: int = SchemaField()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


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


def test_what_a_plain_schema_lacks_is_told_with_its_place() -> None:
    schema = {
        "$defs": {},
        "properties": {"$ref": {"allOf": [{"type": "string"}]}, "list": {"items": {"$ref": "#/$defs/A"}}},
        "default": {"$ref": "data"},
        "anyOf": [{"type": "string"}, {"type": "null"}],
    }

    assert list(leftovers(schema)) == [
        ("", "has $defs; references must be resolved"),
        ("['properties']['$ref']", "has allOf with a single schema, which must be folded"),
        ("['properties']['list']['items']", "has $ref; references must be resolved"),
    ]
    assert list(leftovers(ManyKindsInput.jsonschema())) == []


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


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("times", None, None),
        ("text", None, "text: is required"),
        ("colour", "green", "colour: expected 'red' or 'blue', got 'green'"),
        ("point", {"x": "far"}, "point.x: expected a valid number, unable to parse string as a number, got 'far'"),
        ("shape", {"kind": "circle", "radius": 1}, None),
        ("shape", {"radius": 1}, "shape: Unable to extract tag using discriminator 'kind', got {'radius': 1}"),
        ("even", 4, None),
        ("even", 3, "even: 3 is odd, got 3"),
    ],
)
def test_one_field_alone_is_judged_as_all_of_them_are(name: str, value: Any, complaint: str | None) -> None:
    rest = {"point": {"x": 1}, "default": "", "text": "a"}
    together = ManyKindsInput.validate_data({**rest, name: value})

    assert ManyKindsInput.validate_field(name, value) == complaint
    assert together == ([] if complaint is None else [complaint])


def test_one_field_alone_is_not_judged_by_rules_of_the_whole() -> None:
    assert BothInput.validate_field("low", 9) is None
    assert BothInput.validate_field("low", "x") == (
        "low: expected a valid integer, unable to parse string as an integer, got 'x'"
    )
    assert BothInput.validate_data({"low": 9, "high": 1}) != []


class JudgedInput(ManyKindsInput):
    """As `ManyKindsInput`, with a rule of the whole beside them."""

    @model_validator(mode="after")
    def _never_fits(self) -> Self:
        raise ValueError("the whole never fits")


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("even", 4, None),
        ("even", 3, "even: 3 is odd, got 3"),
        ("shape", {"radius": 1}, "shape: Unable to extract tag using discriminator 'kind', got {'radius': 1}"),
    ],
)
def test_beside_rules_of_the_whole_a_field_is_still_judged_by_its_own_validators(
    name: str, value: Any, complaint: str | None
) -> None:
    assert JudgedInput.validate_field(name, value) == complaint


class OldInput(BlockSchema):
    """Takes what an older release called otherwise."""

    text: str = SchemaField(max_length=3)

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, data: dict[str, Any]) -> dict[str, Any]:
        return {"text": data["old_text"]}


def test_a_rule_that_needs_the_whole_before_its_fields_is_not_asked_about_one() -> None:
    assert OldInput.validate_field("text", "abc") is None
    assert OldInput.validate_field("text", "abcd") == "text: String should have at most 3 characters, got 'abcd'"


def test_what_an_author_says_of_a_pin_is_in_the_schema() -> None:
    pin = PaintInput.jsonschema()["properties"]["default"]
    secret = SecretInput.jsonschema()["properties"]["password"]

    assert pin["description"] == "A pin with a keyword's name."
    assert pin["placeholder"] == "x"
    assert (pin["hidden"], pin["advanced"], pin["depends_on"]) == (True, False, ["colour"])
    assert PaintInput.jsonschema()["properties"]["colour"]["advanced"] is True
    assert secret["secret"] is True
    assert {"hidden", "depends_on", "placeholder", "secret", "many"}.isdisjoint(
        PaintInput.jsonschema()["properties"]["colour"]
    )
    assert TextInput.jsonschema()["properties"]["text"]["minLength"] == 1
    assert TextOutput.jsonschema()["properties"]["part"]["many"] is True


def test_the_schema_is_made_once() -> None:
    assert PaintInput.jsonschema() is PaintInput.jsonschema()


def test_long_values_are_cut_in_messages() -> None:
    complaint = TextInput.validate_field("times", "x" * 1000)

    assert complaint is not None
    assert len(complaint) < 250


def test_secret_values_are_not_shown() -> None:
    assert SecretInput.validate_field("password", "hidden") == "password: does not fit"
    assert "hidden" not in str(SecretInput.validate_data({"password": "hidden"}))


class AliasedInput(BlockSchema):
    key: str = SchemaField(secret=True, max_length=3, validation_alias="api-key")
    text: str = SchemaField(default="")


def test_a_model_that_is_shown_does_not_show_its_secrets() -> None:
    given = AliasedInput(key="abc", text="plain")

    assert "abc" not in f"{given} {given!r}"
    assert "text='plain'" in repr(given)
    assert given.key == "abc"


def test_errors_name_the_pin_and_hide_the_secret_whatever_the_value_was_called() -> None:
    for name in ("key", "api-key"):
        assert AliasedInput.validate_data({name: "hidden"}) == ["key: String should have at most 3 characters"]
    assert AliasedInput.validate_data({}) == ["key: is required"]


def test_credentials_fields_tell_what_they_ask_for() -> None:
    assert SecretInput.get_credentials_fields() == {
        "credentials": CredentialsRequirement(providers=("mail",), types=("api_key", "oauth2"), scopes=("read", "send"))
    }


def test_credentials_field_must_be_called_so() -> None:
    with pytest.raises(BlockDefinitionError, match=r"WrongInput\.key: is a credentials field: name it key_credentials"):

        class WrongInput(BlockSchema):
            key: CredentialsReference = SchemaField()


def test_only_credentials_fields_may_be_called_so() -> None:
    with pytest.raises(BlockDefinitionError, match="mail_credentials: its name is for fields of type"):

        class WrongInput(BlockSchema):
            mail_credentials: str = SchemaField()
