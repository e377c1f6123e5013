"""A block that asks a model for a list."""

import json
from typing import Any

from blockyard.block import ApiKeyCredentials, BlockOutput, BlockSchema, Context, CredentialsReference, SchemaField

from blocks.ai.calls import AIBlockBase, credentials_field, model_field, ollama_host_field
from blocks.ai.errors import AnswerRejected
from blocks.ai.messages import Answer, Question, dialogue, user
from blocks.ai.providers import access
from blocks.ai.structured import inner_list, read_value

_SHAPE = (
    "You make lists. Answer with JSON and nothing else: a list of texts, such as "
    '["first item", "second item"], without numbers or bullets in front of the items.'
)
_SHAPE_IN_OBJECT = (
    'You make lists. Answer with JSON and nothing else: an object with the key "list", which holds a list of texts, '
    'such as {"list": ["first item", "second item"]}, without numbers or bullets in front of the items.'
)


class AIListGeneratorBlock(AIBlockBase):
    class Input(BlockSchema):
        focus: str | None = SchemaField(description="What the list is about.", default=None, advanced=False)
        source_data: str | None = SchemaField(description="Text to take the items from.", default=None, advanced=False)
        model: str = model_field()
        credentials: CredentialsReference | None = credentials_field()
        max_retries: int = SchemaField(description="Times to ask until there is a list.", default=3)
        force_json_output: bool = SchemaField(description="Have the server allow nothing but JSON.", default=False)
        max_tokens: int | None = SchemaField(description="Longest answer, in tokens.", default=None)
        ollama_host: str = ollama_host_field()

    class Output(BlockSchema):
        generated_list: list[str] = SchemaField(description="The list.")
        list_item: str = SchemaField(description="Each item of the list.", many=True)
        prompt: list[Any] = SchemaField(description="The messages that were sent.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="9c0b0450-d199-458b-a731-072189dd6593",
            description="Has a model make a list, out of a text or out of what it knows.",
            input_schema=self.Input,
            output_schema=self.Output,
            test_input=[
                {"focus": "planets", "source_data": "Mars is red, Venus is bright."},
                {"focus": "primary colours", "force_json_output": True},
            ],
            test_output=[
                ("generated_list", ["Mars", "Venus"]),
                ("prompt", list),
                ("list_item", "Mars"),
                ("list_item", "Venus"),
                ("generated_list", ["red"]),
                ("prompt", list),
                ("list_item", "red"),
            ],
            answers={"planets": '["Mars", "Venus"]', "colours": '{"list": ["red"]}'},
        )

    async def run(
        self, input_data: Input, *, context: Context, credentials: ApiKeyCredentials | None = None
    ) -> BlockOutput:
        forced = input_data.force_json_output
        question = Question(
            model=input_data.model,
            messages=tuple(dialogue(_SHAPE_IN_OBJECT if forced else _SHAPE, user(_request(input_data)))),
            max_tokens=input_data.max_tokens,
            json_object=forced,
        )
        who = access(input_data.credentials, credentials, input_data.ollama_host)
        items, asked = await self.ask_until(question, who, context, _read_items, input_data.max_retries)
        yield "generated_list", items
        yield "prompt", list(asked.messages)
        for item in items:
            yield "list_item", item


def _request(input_data: AIListGeneratorBlock.Input) -> str:
    parts = []
    if input_data.focus:
        parts.append(f"Make a list of: {input_data.focus}")
    if input_data.source_data:
        parts.append(f"Take the items from this text and nowhere else:\n<text>\n{input_data.source_data}\n</text>")
    return "\n\n".join(parts) or "Make a list of five things, whatever they are."


def _read_items(answer: Answer) -> list[str]:
    items = inner_list(read_value(answer.text))
    if not items:
        raise AnswerRejected("the list is empty")
    return [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items]
