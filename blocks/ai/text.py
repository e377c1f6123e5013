"""Blocks that ask a model for text."""

import json
from dataclasses import replace
from typing import Any

from blockyard.block import ApiKeyCredentials, BlockOutput, BlockSchema, Context, CredentialsReference, SchemaField

from blocks.ai.calls import AIBlockBase, credentials_field, model_field, ollama_host_field
from blocks.ai.errors import AnswerRejected
from blocks.ai.json_answers import NotJSON, read_json
from blocks.ai.messages import Answer, Question, Tool, check_tools, dialogue, user
from blocks.ai.prompts import fill
from blocks.ai.providers import Access, access, unavailable_reason

# Times that a model is asked for JSON, or for calls that fit its tools.
_ATTEMPTS = 3


class AIResponseBlock(AIBlockBase):
    class Input(BlockSchema):
        prompt: str = SchemaField(description="What to ask.")
        model: str = model_field()
        system_prompt: str = SchemaField(description="How the model is to behave.", default="")
        max_tokens: int = SchemaField(description="Longest answer, in tokens.", default=1024, ge=1, le=4096)
        temperature: float = SchemaField(
            description="How freely it answers: 0 always much the same, 2 wildly.", default=0.7, ge=0, le=2
        )
        json_format: bool = SchemaField(
            description="Ask for JSON; the answer is then text that is JSON.", default=False
        )
        tools: list[Any] = SchemaField(
            description="Functions that the model may ask for: objects with name, description and parameters, "
            "a JSON schema.",
            default_factory=list,
        )

    class Output(BlockSchema):
        response: str = SchemaField(description="The answer; empty if the model only calls tools.")
        usage: dict[str, Any] = SchemaField(description="Tokens of question and answer, and the cost in US dollars.")
        model_used: str = SchemaField(description="The model that answered, as its server names it.")
        tool_calls: list[dict[str, Any]] = SchemaField(description="Calls: id, name, and arguments as an object.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="4b3d4c5e-6f7a-8b9c-0d1e-2f3a4b5c6d7e",
            description="Asks a model, and gives its answer with what it took. It may be given tools to call.",
            input_schema=self.Input,
            output_schema=self.Output,
            test_input=[
                {"prompt": "Say hello.", "model": "gpt-4o"},
                {"prompt": "Name a colour.", "model": "gpt-4o", "json_format": True},
            ],
            test_output=[
                ("response", "Hello!"),
                ("usage", {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "cost_usd": None}),
                ("model_used", "gpt-4o"),
                ("tool_calls", []),
                ("response", '{"colour": "blue"}'),
                ("usage", dict),
                ("model_used", "gpt-4o"),
                ("tool_calls", []),
            ],
            answers={"hello": "Hello!", "colour": '```json\n{"colour": "blue"}\n```'},
        )

    def unavailable_reason(self) -> str:
        """Why no model can be asked from here: it has no pin for a user's key, and so needs an operator's."""
        return unavailable_reason()

    async def run(self, input_data: Input, *, context: Context) -> BlockOutput:
        tools = check_tools(input_data.tools)
        system = input_data.system_prompt
        if input_data.json_format:
            system = f"{system}\n\nAnswer with JSON and nothing else.".lstrip()
        question = Question(
            model=input_data.model,
            messages=tuple(dialogue(system, user(input_data.prompt))),
            max_tokens=input_data.max_tokens,
            temperature=input_data.temperature,
            json_object=input_data.json_format and not tools,
            tools=tools,
        )

        def read(answer: Answer) -> tuple[Answer, list[dict[str, Any]]]:
            calls = _read_calls(answer, tools)
            if input_data.json_format and not calls:
                return replace(answer, text=_as_json(answer.text)), calls
            return answer, calls

        (answer, calls), _ = await self.ask_until(question, Access(), context, read, _ATTEMPTS)
        yield "response", answer.text
        yield "usage", answer.usage()
        yield "model_used", answer.model
        yield "tool_calls", calls


def _as_json(text: str) -> str:
    try:
        return json.dumps(read_json(text), ensure_ascii=False)
    except NotJSON as error:
        raise AnswerRejected(f"expected JSON: {error}") from error


def _read_calls(answer: Answer, tools: tuple[Tool, ...]) -> list[dict[str, Any]]:
    """The calls with their arguments as objects."""
    calls = []
    for call in answer.tool_calls:
        if call.name not in (tool.name for tool in tools):
            known = ", ".join(tool.name for tool in tools) or "none"
            raise AnswerRejected(f"there is no tool {call.name!r}; the tools are {known}")
        try:
            calls.append({"id": call.id, "name": call.name, "arguments": call.arguments()})
        except NotJSON as error:
            raise AnswerRejected(f"the arguments of the call of {call.name} are not JSON: {error}") from error
    return calls


class AITextGeneratorBlock(AIBlockBase):
    class Input(BlockSchema):
        prompt: str = SchemaField(description="What to ask; {{ name }} is filled in from prompt_values.")
        model: str = model_field()
        credentials: CredentialsReference | None = credentials_field()
        sys_prompt: str = SchemaField(description="How the model is to behave.", default="")
        retry: int = SchemaField(description="Times to ask until there is an answer.", default=3)
        prompt_values: dict[str, str] = SchemaField(description="Values for the prompts.", default_factory=dict)
        ollama_host: str = ollama_host_field()
        max_tokens: int | None = SchemaField(description="Longest answer, in tokens.", default=None)

    class Output(BlockSchema):
        response: str = SchemaField(description="The answer.")
        prompt: list[Any] = SchemaField(description="The messages that were sent.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="1f292d4a-41a4-4977-9684-7c8d560b9f91",
            description="Asks a model for text. The prompt may be a template.",
            input_schema=self.Input,
            output_schema=self.Output,
            test_input=[
                {"prompt": "Translate {{ word }}.", "prompt_values": {"word": "Haus"}},
                {"prompt": "Say hello.", "sys_prompt": "Be brief."},
            ],
            test_output=[
                ("response", "house"),
                ("prompt", [{"role": "user", "content": "Translate Haus."}]),
                ("response", "Hello!"),
                ("prompt", [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]),
            ],
            answers={"Haus": "house", "hello": "Hello!"},
        )

    async def run(
        self, input_data: Input, *, context: Context, credentials: ApiKeyCredentials | None = None
    ) -> BlockOutput:
        system = await fill(input_data.sys_prompt, input_data.prompt_values, "sys_prompt")
        prompt = await fill(input_data.prompt, input_data.prompt_values, "prompt")
        question = Question(
            model=input_data.model,
            messages=tuple(dialogue(system, user(prompt))),
            max_tokens=input_data.max_tokens,
        )
        who = access(input_data.credentials, credentials, input_data.ollama_host)
        text, asked = await self.ask_until(question, who, context, text_of_answer, input_data.retry)
        yield "response", text
        yield "prompt", list(asked.messages)


def text_of_answer(answer: Answer) -> str:
    """The text; an answer without one is none."""
    if not answer.text.strip():
        raise AnswerRejected("it is empty")
    return answer.text


class AITextStreamBlock(AIBlockBase):
    class Input(BlockSchema):
        prompt: str = SchemaField(description="What to ask; {{ name }} is filled in from prompt_values.")
        model: str = model_field()
        credentials: CredentialsReference | None = credentials_field()
        sys_prompt: str = SchemaField(description="How the model is to behave.", default="")
        prompt_values: dict[str, str] = SchemaField(description="Values for the prompts.", default_factory=dict)
        max_tokens: int | None = SchemaField(description="Longest answer, in tokens.", default=None, ge=1)
        temperature: float | None = SchemaField(description="How freely it answers.", default=None, ge=0, le=2)
        ollama_host: str = ollama_host_field()

    class Output(BlockSchema):
        token: str = SchemaField(description="A piece of the answer, as soon as it comes.", many=True)
        response: str = SchemaField(description="The whole answer.")
        usage: dict[str, Any] = SchemaField(description="Tokens of question and answer, and the cost in US dollars.")
        model_used: str = SchemaField(description="The model that answered, as its server names it.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="06ed7594-6999-4b22-8448-5e136631a298",
            description="Asks a model for text, and gives it piece by piece while the model still writes.",
            input_schema=self.Input,
            output_schema=self.Output,
            test_input=[{"prompt": "Say hello."}, {"prompt": "Translate {{ w }}.", "prompt_values": {"w": "Haus"}}],
            test_output=[
                ("token", "Hello!"),
                ("response", "Hello!"),
                ("usage", dict),
                ("model_used", "gpt-4o"),
                ("token", "house"),
                ("response", "house"),
                ("usage", dict),
                ("model_used", "gpt-4o"),
            ],
            answers={"hello": "Hello!", "Haus": "house"},
        )

    async def run(
        self, input_data: Input, *, context: Context, credentials: ApiKeyCredentials | None = None
    ) -> BlockOutput:
        system = await fill(input_data.sys_prompt, input_data.prompt_values, "sys_prompt")
        prompt = await fill(input_data.prompt, input_data.prompt_values, "prompt")
        question = Question(
            model=input_data.model,
            messages=tuple(dialogue(system, user(prompt))),
            max_tokens=input_data.max_tokens,
            temperature=input_data.temperature,
        )
        pieces = self.listen(question, access(input_data.credentials, credentials, input_data.ollama_host), context)
        try:
            async for piece in pieces:
                if isinstance(piece, str):
                    yield "token", piece
                else:
                    yield "response", piece.text
                    yield "usage", piece.usage()
                    yield "model_used", piece.model
        finally:
            await pieces.aclose()
