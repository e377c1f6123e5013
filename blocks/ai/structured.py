"""Blocks that ask a model for data of a given shape, and ask again until it has it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from blockyard.block import (
    ApiKeyCredentials,
    BlockInputError,
    BlockOutput,
    BlockSchema,
    Context,
    CredentialsReference,
    SchemaField,
)
from jsonschema import Draft202012Validator, SchemaError
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from blocks.ai.calls import AIBlockBase, compressed, credentials_field, model_field, ollama_host_field
from blocks.ai.errors import AnswerRejected
from blocks.ai.json_answers import NotJSON, read_json
from blocks.ai.messages import Answer, Question, check_messages, dialogue, user
from blocks.ai.prompts import fill
from blocks.ai.providers import access

# A pattern can take for ever on a text that nearly matches, and nobody can end it in the event loop's process.
_UNCHECKED_KEYWORDS = ("pattern", "patternProperties")
_MAX_PLACE_CHARACTERS = 200


class AIStructuredResponseGeneratorBlock(AIBlockBase):
    class Input(BlockSchema):
        prompt: str = SchemaField(description="What to ask; {{ name }} is filled in from prompt_values.")
        expected_format: dict[str, str] = SchemaField(description="Keys of the answer, and what each is to hold.")
        list_result: bool = SchemaField(description="Ask for a list of such objects.", default=False)
        model: str = model_field()
        force_json_output: bool = SchemaField(description="Have the server allow nothing but JSON.", default=False)
        credentials: CredentialsReference | None = credentials_field()
        sys_prompt: str = SchemaField(description="How the model is to behave.", default="")
        conversation_history: list[Any] | None = SchemaField(
            description="Messages that come before the prompt.", default_factory=list
        )
        retry: int = SchemaField(description="Times to ask until the answer has the shape.", default=3)
        prompt_values: dict[str, str] = SchemaField(description="Values for the prompts.", default_factory=dict)
        max_tokens: int | None = SchemaField(description="Longest answer, in tokens.", default=None)
        compress_prompt_to_fit: bool = SchemaField(
            description="Leave out old messages where the model could not read them all.", default=True
        )
        ollama_host: str = ollama_host_field()

    class Output(BlockSchema):
        response: dict[str, Any] | list[dict[str, Any]] = SchemaField(description="The object, or the list of them.")
        prompt: list[Any] = SchemaField(description="The messages that were sent.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="ed55ac19-356e-4243-a6cb-bc599e9b716f",
            description="Asks a model for an object with given keys, or a list of such objects.",
            input_schema=self.Input,
            output_schema=self.Output,
            test_input=[
                {"prompt": "Name a river.", "expected_format": {"name": "its name", "km": "its length"}},
                {"prompt": "Name two seas.", "expected_format": {"name": "its name"}, "list_result": True},
            ],
            test_output=[
                ("response", {"name": "Rhine", "km": 1233}),
                ("prompt", list),
                ("response", [{"name": "North Sea"}, {"name": "Baltic Sea"}]),
                ("prompt", list),
            ],
            answers={
                "river": 'Here it is:\n```json\n{"name": "Rhine", "km": 1233}\n```',
                "seas": '[{"name": "North Sea"}, {"name": "Baltic Sea"}]',
            },
        )

    async def run(
        self, input_data: Input, *, context: Context, credentials: ApiKeyCredentials | None = None
    ) -> BlockOutput:
        keys, as_list = input_data.expected_format, input_data.list_result
        values = input_data.prompt_values
        history = check_messages(input_data.conversation_history or [], "conversation_history")
        system = await fill(input_data.sys_prompt, values, "sys_prompt")
        prompt = await fill(input_data.prompt, values, "prompt")
        if keys:
            system = f"{system}\n\n{_wanted_shape(keys, as_list)}".lstrip()
        question = Question(
            model=input_data.model,
            messages=tuple(dialogue(system, *history, user(prompt))),
            max_tokens=input_data.max_tokens,
            # In this mode servers give an object: a list comes inside of one.
            json_object=input_data.force_json_output and bool(keys),
        )
        if input_data.compress_prompt_to_fit:
            question = compressed(question)
        who = access(input_data.credentials, credentials, input_data.ollama_host)

        def read(answer: Answer) -> dict[str, Any] | list[dict[str, Any]]:
            if not keys:
                return {"response": answer.text}
            return read_shape(answer.text, keys, as_list)

        response, asked = await self.ask_until(question, who, context, read, input_data.retry)
        yield "response", response
        yield "prompt", list(asked.messages)


def _wanted_shape(keys: Mapping[str, str], as_list: bool) -> str:
    shape = json.dumps(keys, ensure_ascii=False, indent=2)
    if as_list:
        return (
            "Answer with JSON and nothing else: an object with the key `list`, which holds a list of objects, "
            f"each with exactly these keys; what stands behind a key says what its value is to be:\n{shape}"
        )
    return (
        "Answer with JSON and nothing else: one object with exactly these keys; what stands behind a key says what "
        f"its value is to be:\n{shape}"
    )


def read_shape(text: str, keys: Mapping[str, str], as_list: bool) -> dict[str, Any] | list[dict[str, Any]]:
    """The object, or the list of objects, that the text holds; an AnswerRejected says what is missing."""
    value = read_value(text)
    if as_list:
        items = inner_list(value)
        return [_with_keys(item, keys, f"[{index}]: ") for index, item in enumerate(items)]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return _with_keys(value, keys, "")


def read_value(text: str) -> Any:
    """The JSON value of the text; an AnswerRejected if there is none."""
    try:
        return read_json(text)
    except NotJSON as error:
        raise AnswerRejected(f"expected JSON: {error}") from error


def inner_list(value: Any) -> list[Any]:
    """The list that the value is, or that an object holds alone; an AnswerRejected if there is none."""
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        value = lists[0] if len(lists) == 1 else value
    if not isinstance(value, list):
        raise AnswerRejected(f"expected a JSON list, got {_kind(value)}")
    return value


def _with_keys(value: Any, keys: Mapping[str, str], place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise AnswerRejected(f"{place}expected a JSON object, got {_kind(value)}")
    missing = [key for key in keys if key not in value]
    if missing:
        raise AnswerRejected(f"{place}the object lacks the keys {', '.join(missing)}")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


class AISchemaResponseBlock(AIBlockBase):
    class Input(BlockSchema):
        prompt: str = SchemaField(description="What to ask; {{ name }} is filled in from prompt_values.")
        json_schema: dict[str, Any] = SchemaField(description="JSON schema (2020-12) of an object: the answer's.")
        model: str = model_field()
        credentials: CredentialsReference | None = credentials_field()
        sys_prompt: str = SchemaField(description="How the model is to behave.", default="")
        prompt_values: dict[str, str] = SchemaField(description="Values for the prompts.", default_factory=dict)
        retry: int = SchemaField(description="Times to ask until the answer fits.", default=3, ge=1, le=10)
        max_tokens: int | None = SchemaField(description="Longest answer, in tokens.", default=None, ge=1)
        send_schema: bool = SchemaField(
            description="Have the server keep the model to the schema; for servers that cannot, turn it off.",
            default=True,
        )
        ollama_host: str = ollama_host_field()

    class Output(BlockSchema):
        response: dict[str, Any] = SchemaField(description="An object that fits the schema.")
        usage: dict[str, Any] = SchemaField(description="Tokens and cost of the answer that fits.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        age = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
        super().__init__(
            id="147d1b2a-5e64-4d40-b7fb-3b39a70fe6c5",
            description="Asks a model for an object that fits a JSON schema.",
            input_schema=self.Input,
            output_schema=self.Output,
            test_input=[
                {"prompt": "How old is Ada?", "json_schema": age},
                {"prompt": "How old is {{ who }}?", "json_schema": age, "prompt_values": {"who": "Bo"}},
            ],
            test_output=[("response", {"age": 36}), ("usage", dict), ("response", {"age": 7}), ("usage", dict)],
            answers={"Ada": '{"age": 36}', "Bo": 'He is this: {"age": 7}'},
        )

    async def run(
        self, input_data: Input, *, context: Context, credentials: ApiKeyCredentials | None = None
    ) -> BlockOutput:
        schema = input_data.json_schema
        validator = _validator(schema)
        system = await fill(input_data.sys_prompt, input_data.prompt_values, "sys_prompt")
        prompt = await fill(input_data.prompt, input_data.prompt_values, "prompt")
        shape = f"Answer with a JSON object and nothing else. It must fit this JSON schema:\n{json.dumps(schema)}"
        question = Question(
            model=input_data.model,
            messages=tuple(dialogue(f"{system}\n\n{shape}".lstrip(), user(prompt))),
            max_tokens=input_data.max_tokens,
            json_schema=schema if input_data.send_schema else None,
        )
        who = access(input_data.credentials, credentials, input_data.ollama_host)

        def read(answer: Answer) -> tuple[dict[str, Any], Answer]:
            return _fitting(read_value(answer.text), validator), answer

        (response, answer), _ = await self.ask_until(question, who, context, read, input_data.retry)
        yield "response", response
        yield "usage", answer.usage()


def _validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """Checks answers; a BlockInputError says what is wrong with the schema."""
    if schema.get("type") != "object":
        raise BlockInputError("inputs.json_schema.type: expected 'object': models answer with objects")
    for keyword in _UNCHECKED_KEYWORDS:
        if keyword in _keywords(schema):
            raise BlockInputError(f"inputs.json_schema: {keyword} is not checked here: say it in a description")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "".join(f".{part}" for part in error.absolute_path)
        raise BlockInputError(f"inputs.json_schema{place}: {error.message[:_MAX_PLACE_CHARACTERS]}") from None
    # Its own registry: the usual one would fetch what a `$ref` names from the network.
    return Draft202012Validator(schema, registry=Registry())


def _keywords(schema: Any) -> Iterator[str]:
    stack = [schema]
    while stack:
        part = stack.pop()
        if isinstance(part, Mapping):
            for keyword, value in part.items():
                yield keyword
                # Names of properties are no keywords.
                stack += value.values() if keyword == "properties" and isinstance(value, Mapping) else [value]
        elif isinstance(part, list):
            stack += part


def _fitting(value: Any, validator: Draft202012Validator) -> dict[str, Any]:
    try:
        error = best_match(validator.iter_errors(value))
    except Unresolvable as unresolvable:
        raise BlockInputError(f"inputs.json_schema: there is no {unresolvable.ref!r}: use $defs of its own") from None
    except RecursionError:
        raise BlockInputError("inputs.json_schema: refers to itself without an end") from None
    if error is not None:
        place = error.json_path.removeprefix("$.") if error.json_path != "$" else "the object"
        raise AnswerRejected(f"{place}: {error.message[:_MAX_PLACE_CHARACTERS]}")
    assert isinstance(value, dict)
    return value
