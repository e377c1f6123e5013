"""What is wrong with a block that a runner registers, and by which hash it is known."""

from typing import Any

import pytest
from blockyard.graph.v1.block_pb2 import Block, BlockType, RetryPolicy
from google.protobuf.duration_pb2 import Duration

from services.common.structs import to_struct
from services.graph.registration import block_violations, registered, schema_hash
from tests.unit.graph.building import BLOCKS, TEXT, block


def problems(*blocks: Block, pool: str = "default") -> dict[str, str]:
    return {violation.field: violation.description for violation in block_violations(blocks, pool)}


def sample(**fields: Any) -> Block:
    return block("SampleBlock", {"text": TEXT}, {"text": TEXT}, **fields)


def test_good_blocks_are_taken() -> None:
    assert problems(*BLOCKS) == {}


def test_everything_wrong_is_told_at_once() -> None:
    bad = Block(
        id="42",
        name="not a name",
        effect=9,  # type: ignore[arg-type]  # no such value, as a runner of another release may send it
        pool="Not A Pool",
        many_pins=["item"],
        schema_hash="short",
        retry=RetryPolicy(max_attempts=-1),
        timeout=Duration(seconds=-1),
    )
    assert problems(bad, pool="a.b").keys() == {
        "pool",
        "blocks[0].id",
        "blocks[0].name",
        "blocks[0].type",
        "blocks[0].effect",
        "blocks[0].pool",
        "blocks[0].many_pins",
        "blocks[0].schema_hash",
        "blocks[0].retry.max_attempts",
        "blocks[0].timeout",
    }


@pytest.mark.parametrize("reason", ["x" * 2_001, "a\0b"])
def test_a_reason_that_cannot_be_kept_is_refused(reason: str) -> None:
    assert problems(sample(unavailable_reason="x" * 2_000)) == {}
    assert problems(sample(unavailable_reason=reason)).keys() == {"blocks[0].unavailable_reason"}


@pytest.mark.parametrize("category", ["", "Text", "TEXT ", "7UP", "X" * 51])
def test_names_of_categories_are_plain(category: str) -> None:
    assert problems(sample(categories=["OWN_ONE2"])) == {}
    assert problems(sample(categories=["TEXT", category])).keys() == {"blocks[0].categories"}


def test_that_a_runner_cannot_run_a_block_does_not_make_it_another_one() -> None:
    able, unable = registered(sample(), ""), registered(sample(unavailable_reason="no key"), "")
    assert (able.schema_hash, able.definition_hash) == (unable.schema_hash, unable.definition_hash)
    assert (able.not_configured, unable.not_configured) == ("", "no key")
    disabled = registered(sample(disabled=True, unavailable_reason="it is old"), "")
    assert disabled.not_configured == ""
    assert Block.FromString(disabled.definition).unavailable_reason == "it is old"


def test_a_runner_is_given_tasks_of_its_own_pool() -> None:
    assert registered(sample(), "").in_pool
    assert registered(sample(), "default").in_pool
    assert not registered(sample(), "gpu").in_pool


def test_an_id_is_registered_once() -> None:
    assert problems(sample(), sample()) == {"blocks[1].id": "is the id of blocks[0] already"}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "nothing"}, "is no JSON schema"),
        ({"type": "array"}, "must be the schema of an object"),
        ({"properties": {"a": {"$ref": "https://example.org/schema"}}}, "holds a reference"),
        ({"properties": {"a": {"items": {"$ref": "#/x"}}}}, "holds a reference"),
    ],
)
def test_schemas_are_schemas_of_pins_without_references(schema: dict[str, Any], problem: str) -> None:
    bad = sample()
    bad.input_schema.CopyFrom(to_struct(schema))
    found = problems(bad)
    assert list(found) == ["blocks[0].input_schema"]
    assert problem in found["blocks[0].input_schema"]


@pytest.mark.parametrize(
    ("marks", "problem"),
    [
        ({"credentials_provider": []}, "credentials_provider: expected a list of names"),
        ({"credentials_provider": {"a": "b"}}, "credentials_provider: expected a list of names"),
        ({"credentials_types": ["apikey"]}, "credentials_types: expected some of api_key, oauth2, user_password"),
        ({"credentials_discriminator": "model.name"}, "credentials_discriminator: there is no input pin 'model'"),
        (
            {"credentials_discriminator_mapping": {"a": "other"}},
            "credentials_discriminator_mapping: there is no provider 'other'",
        ),
    ],
)
def test_marks_of_a_pin_for_credentials_that_nobody_can_meet_are_refused(marks: dict[str, Any], problem: str) -> None:
    bad, good = sample(), sample()
    pin = {"credentials_provider": ["github"], "credentials_types": ["api_key"]}
    good.input_schema.CopyFrom(to_struct({"properties": {"credentials": pin, "other": True}}))
    bad.input_schema.CopyFrom(to_struct({"properties": {"credentials": {**pin, **marks}}}))
    assert problems(good) == {}
    [(place, found)] = problems(bad).items()
    assert (place, found.startswith(f"the pin 'credentials': {problem}")) == ("blocks[0].input_schema", True)


def test_data_that_looks_like_a_reference_is_none() -> None:
    good = sample()
    good.input_schema.CopyFrom(
        to_struct({"properties": {"$ref": {"default": {"$ref": "x"}}, "b": {"enum": [{"$ref": "y"}]}}})
    )
    assert problems(good) == {}


@pytest.mark.parametrize(
    ("kind", "pins"),
    [
        (BlockType.BLOCK_TYPE_INPUT, ["name", "value"]),
        (BlockType.BLOCK_TYPE_OUTPUT, ["name", "value"]),
        (BlockType.BLOCK_TYPE_COLLECT, ["item"]),
    ],
)
def test_what_the_engine_carries_out_has_the_pins_it_needs(kind: "BlockType.ValueType", pins: list[str]) -> None:
    violations = list(block_violations([sample(type=kind)], ""))
    assert [one.description.split()[-1].strip("'") for one in violations] == pins


def test_the_hash_a_runner_brings_stays() -> None:
    own = "ab" * 32
    assert registered(sample(schema_hash=own), "").schema_hash == own


def test_a_hash_is_made_where_none_is_brought_and_words_do_not_change_it() -> None:
    first = sample()
    reworded = sample(description="Other words.", categories=["TEXT"])
    reworded.input_schema.CopyFrom(
        to_struct({"type": "object", "properties": {"text": {**TEXT, "description": "new"}}, "required": ["text"]})
    )
    changed = sample()
    changed.input_schema.CopyFrom(to_struct({"type": "object", "properties": {"text": {"type": "integer"}}}))
    assert schema_hash(first) == schema_hash(reworded)
    assert schema_hash(first) != schema_hash(changed)
    assert registered(first, "").schema_hash != registered(sample(type=BlockType.BLOCK_TYPE_AI), "").schema_hash


def test_a_block_without_a_pool_gets_its_runners() -> None:
    bare = sample()
    bare.pool = ""
    assert Block.FromString(registered(bare, "gpu").definition).pool == "gpu"
    assert Block.FromString(registered(bare, "").definition).pool == "default"
    assert Block.FromString(registered(sample(), "gpu").definition).pool == "default"
