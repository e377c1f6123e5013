"""A block that lets a model decide which nodes of the graph run next, and with what."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from blockyard.block import (
    ApiKeyCredentials,
    BlockExecutionError,
    BlockOutput,
    BlockSchema,
    BlockType,
    Context,
    CredentialsReference,
    LinkedTool,
    SchemaField,
)
from blockyard.block.dynamic_pins import ROUND_PIN
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from blocks.ai.calls import AIBlockBase, credentials_field, model_field, ollama_host_field, question_room
from blocks.ai.errors import AnswerRejected
from blocks.ai.json_answers import NotJSON
from blocks.ai.messages import Answer, Message, Question, Tool, ToolCall, user
from blocks.ai.prompts import fill
from blocks.ai.providers import access
from blocks.ai.tool_messages import as_text, calling, check_conversation, compacted, pending_calls, with_answer

_SYSTEM_PROMPT = (
    "Thinking carefully step by step, decide which of the functions to call next. Give every argument a value of the "
    "type that the function's schema asks for. When the task is done, call no function: answer with the result."
)
_NO_EXTENDED_THINKING = "execution_mode: there is no extended_thinking here: set it to built_in"
_MOST_SHOWN_CHARACTERS = 200

Calls = list[tuple[ToolCall, dict[str, Any]]]


def _unchecked(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    # A pattern can take for ever on a text that nearly matches, and nobody can end it in the event loop's process.
    return iter(())


# Any: jsonschema makes classes of validators without a type.
_Arguments: Any = extend(Draft202012Validator, {"pattern": _unchecked, "patternProperties": _unchecked})  # type: ignore[no-untyped-call]


class OrchestratorBlock(AIBlockBase):
    class Input(BlockSchema):
        prompt: str = SchemaField(description="The task; {{ name }} is filled in from prompt_values.")
        model: str = model_field("The model that decides.")
        credentials: CredentialsReference | None = credentials_field()
        multiple_tool_calls: bool = SchemaField(
            description="Let the model call several tools at once; outputs answer the calls in the order in which they "
            "come.",
            default=False,
        )
        sys_prompt: str = SchemaField(description="How the model is to behave.", default=_SYSTEM_PROMPT)
        conversation_history: list[Any] | None = SchemaField(
            description="What was said so far: link the pin conversations to it.", default_factory=list, fed_back=True
        )
        last_tool_output: Any = SchemaField(
            description="What the tool gave that was called last: link the outputs of all tools to it.",
            default=None,
            fed_back=True,
        )
        retry: int = SchemaField(description="Times to ask until each call fits its tool.", default=3)
        prompt_values: dict[str, str] = SchemaField(description="Values for the prompts.", default_factory=dict)
        max_tokens: int | None = SchemaField(description="Longest answer, in tokens.", default=None)
        ollama_host: str = ollama_host_field()
        agent_mode_max_iterations: int = SchemaField(
            description="0: one decision in a run, and links bring back what the tools give. Else the node calls its "
            "tools by itself until the model is done, in at most so many rounds; -1 is no limit.",
            default=0,
            ge=-1,
            json_schema_extra={"runs_tools": True},
        )
        execution_mode: Literal["built_in", "extended_thinking"] = SchemaField(
            description="Who calls the tools. Only built_in is there.",
            default="built_in",
            json_schema_extra={"enum": ["built_in"]},
        )
        conversation_compaction: bool = SchemaField(
            description="Leave out old messages where the model could not read them all.", default=True
        )

    class Output(BlockSchema):
        tools: Any = SchemaField(description="Pins of tools: tools_^_NODE_~_PIN is linked to that pin of that node.")
        finished: str = SchemaField(description="What the model says when it calls no tool.")
        conversations: list[Any] = SchemaField(description="What was said so far, with the calls that were made.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        calls = [_call("call_1", "weather", '{"city": "Oslo"}'), _call("call_2", "weather", '{"city": "Rome"}')]
        task = user("Where is it warmer?")
        called = {"role": "assistant", "content": None, "tool_calls": calls}
        answers: list[Message] = [
            {"role": "tool", "tool_call_id": "call_1", "content": '{"celsius": 3}'},
            {"role": "tool", "tool_call_id": "call_2", "content": "21"},
        ]
        super().__init__(
            id="3b191d9f-356f-482d-8238-ba04b6d18381",
            description="Lets a model decide which of the linked nodes to run next, with what, and when it is done.",
            input_schema=self.Input,
            output_schema=self.Output,
            block_type=BlockType.AI,
            test_input=[
                {"prompt": "What is 6 times {{ n }}?", "prompt_values": {"n": "7"}},
                {"prompt": "", "conversation_history": [task, called], "last_tool_output": {"celsius": 3}},
                {"prompt": "", "conversation_history": [task, called, answers[0]], "last_tool_output": "21"},
                {
                    "prompt": "",
                    "sys_prompt": "",
                    "conversation_history": [task, called, *answers],
                    "agent_mode_max_iterations": 1,
                },
                {"prompt": "Go", "execution_mode": "extended_thinking"},
            ],
            test_output=[
                ("finished", "42"),
                ("conversations", [task, called, answers[0]]),
                ("finished", "In Rome."),
                ("finished", "Agent mode completed after 1 iterations (limit reached)"),
                ("conversations", [task, called, *answers]),
                ("error", _NO_EXTENDED_THINKING),
            ],
            answers={"times 7": "42", "21": "In Rome."},
        )

    async def run(
        self, input_data: Input, *, context: Context, credentials: ApiKeyCredentials | None = None
    ) -> BlockOutput:
        if input_data.execution_mode != "built_in":
            raise BlockExecutionError(_NO_EXTENDED_THINKING)
        by_itself = input_data.agent_mode_max_iterations != 0
        messages = await _conversation(input_data)
        if pending := pending_calls(messages):
            # The outputs of the other calls come in runs of their own.
            if by_itself:
                for item in _one_call(messages, pending[0], context.tools):
                    yield item
            else:
                yield "conversations", messages
            return
        if by_itself and 0 < input_data.agent_mode_max_iterations <= _rounds(messages):
            rounds = input_data.agent_mode_max_iterations
            yield "finished", f"Agent mode completed after {rounds} iterations (limit reached)"
            yield "conversations", messages
            return
        question = Question(
            model=input_data.model,
            messages=tuple(messages),
            max_tokens=input_data.max_tokens,
            tools=tuple(Tool(tool.name, tool.description, tool.parameters) for tool in context.tools),
            one_tool_call=not input_data.multiple_tool_calls,
        )
        if input_data.conversation_compaction and (room := question_room(question)):
            question = replace(question, messages=tuple(compacted(messages, room)))
        who = access(input_data.credentials, credentials, input_data.ollama_host)

        def read(answer: Answer) -> tuple[str, Calls]:
            return answer.text, read_calls(answer, context.tools, question.one_tool_call)

        (text, calls), _ = await self.ask_until(question, who, context, read, input_data.retry)
        if not calls:
            yield "finished", text
            if by_itself:
                yield "conversations", [*question.messages, {"role": "assistant", "content": text}]
            return
        said = [*question.messages, calling(text, calls, question.messages)]
        if by_itself:
            for item in _one_call(said, pending_calls(said)[0], context.tools):
                yield item
            return
        tools = {tool.name: tool for tool in context.tools}
        for call, arguments in calls:
            for argument, pin in tools[call.name].pins.items():
                # An argument that was left out too: the node waits for a value on each of its linked pins.
                yield pin, arguments.get(argument)
        yield "conversations", said


def _one_call(messages: Sequence[Message], call_id: str, tools: Sequence[LinkedTool]) -> Iterator[tuple[str, Any]]:
    """A call of a node that calls its tools by itself: one at a time, so that each output answers its own call."""
    calls = (call for message in messages for call in message.get("tool_calls") or ())
    function = next(call["function"] for call in calls if call["id"] == call_id)
    (tool,) = (tool for tool in tools if tool.name == function["name"])
    arguments = json.loads(function["arguments"])
    for argument, pin in tool.pins.items():
        yield pin, arguments.get(argument)
    yield ROUND_PIN, list(messages)


def _rounds(messages: Sequence[Message]) -> int:
    """How often the model has called tools since it was given its task."""
    rounds = 0
    for message in reversed(messages):
        if message["role"] == "user":
            break
        rounds += bool(message.get("tool_calls"))
    return rounds


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


async def _conversation(input_data: OrchestratorBlock.Input) -> list[Message]:
    """What was said so far, with what has come since: a tool's output, or a task."""
    messages = check_conversation(input_data.conversation_history or [], "inputs.conversation_history")
    pending = pending_calls(messages)
    if pending:
        return with_answer(messages, pending[0], input_data.last_tool_output)
    values = input_data.prompt_values
    system = await fill(input_data.sys_prompt, values, "sys_prompt")
    prompt = await fill(input_data.prompt, values, "prompt")
    if system and not _said(messages, "system", system):
        messages.insert(0, {"role": "system", "content": system})
    if input_data.last_tool_output is not None:
        messages.append(user(f"The output of a tool: {as_text(input_data.last_tool_output)}"))
    if prompt and not _said(messages, "user", prompt):
        messages.append(user(prompt))
    return messages


def _said(messages: Sequence[Message], role: str, text: str) -> bool:
    return any(message["role"] == role and message["content"] == text for message in messages)


def read_calls(answer: Answer, tools: Sequence[LinkedTool], only_one: bool) -> Calls:
    """The calls of an answer with their arguments, as the tools take them; an AnswerRejected says what does not fit."""
    known = {tool.name: tool for tool in tools}
    # Some servers let the model call several tools whatever they are asked.
    asked = answer.tool_calls[:1] if only_one else answer.tool_calls
    calls: Calls = []
    for call in asked:
        if call.name not in known:
            raise AnswerRejected(f"there is no tool {call.name!r}; the tools are {', '.join(known) or 'none'}")
        try:
            arguments = call.arguments()
        except NotJSON as error:
            raise AnswerRejected(f"the arguments of the call of {call.name} are not JSON: {error}") from error
        calls.append((call, _fitting(call.name, arguments, known[call.name].parameters)))
    if not calls and not answer.text.strip():
        raise AnswerRejected("it is empty, and calls no tool")
    return calls


def _fitting(name: str, arguments: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without the nulls that say that there is no value."""
    required = parameters.get("required", ())
    given = {argument: value for argument, value in arguments.items() if value is not None or argument in required}
    try:
        # Its own registry: the usual one would fetch what a `$ref` names from the network.
        error = best_match(_Arguments(dict(parameters), registry=Registry()).iter_errors(given))
    except (Unresolvable, RecursionError):
        # The node itself checks what it is given.
        return given
    if error is not None:
        place = error.json_path.removeprefix("$").removeprefix(".")
        at = f" at {place}" if place else ""
        raise AnswerRejected(f"the call of {name} does not fit{at}: {error.message[:_MOST_SHOWN_CHARACTERS]}")
    return given
