"""A block that goes on with a conversation."""

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

from blocks.ai.calls import AIBlockBase, compressed, credentials_field, model_field, ollama_host_field
from blocks.ai.messages import Question, check_messages, user
from blocks.ai.providers import access
from blocks.ai.text import text_of_answer

_ATTEMPTS = 3


class AIConversationBlock(AIBlockBase):
    class Input(BlockSchema):
        prompt: str = SchemaField(description="What to say next; empty if the messages say it.", default="")
        messages: list[Any] = SchemaField(description="What was said: objects with role and content.")
        model: str = model_field()
        credentials: CredentialsReference | None = credentials_field()
        max_tokens: int | None = SchemaField(description="Longest answer, in tokens.", default=None)
        ollama_host: str = ollama_host_field()

    class Output(BlockSchema):
        response: str = SchemaField(description="What the model says.")
        prompt: list[Any] = SchemaField(description="The messages that were sent.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        question = {"role": "user", "content": "What is the capital of France?"}
        answer = {"role": "assistant", "content": "Paris."}
        super().__init__(
            id="32a87eab-381e-4dd4-bdb8-4c47151be35a",
            description="Gives a model a conversation, and what it says next.",
            input_schema=self.Input,
            output_schema=self.Output,
            test_input=[{"messages": [question]}, {"messages": [question, answer], "prompt": "And of Spain?"}],
            test_output=[
                ("response", "Paris."),
                ("prompt", [question]),
                ("response", "Madrid."),
                ("prompt", [question, answer, {"role": "user", "content": "And of Spain?"}]),
            ],
            answers={"France": "Paris.", "Spain": "Madrid."},
        )

    async def run(
        self, input_data: Input, *, context: Context, credentials: ApiKeyCredentials | None = None
    ) -> BlockOutput:
        messages = check_messages(input_data.messages, "inputs.messages")
        if input_data.prompt:
            messages.append(user(input_data.prompt))
        if not messages:
            raise BlockInputError("inputs.messages: there is nothing to answer: give messages or a prompt")
        question = compressed(
            Question(model=input_data.model, messages=tuple(messages), max_tokens=input_data.max_tokens)
        )
        who = access(input_data.credentials, credentials, input_data.ollama_host)
        text, asked = await self.ask_until(question, who, context, text_of_answer, _ATTEMPTS)
        yield "response", text
        yield "prompt", list(asked.messages)
