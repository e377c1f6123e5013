"""What all blocks that ask models share: who is asked, how patiently, what is reported, and asking again."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from blockyard.block import (
    Block,
    BlockCategory,
    BlockSchema,
    BlockType,
    Context,
    CredentialsField,
    Item,
    SchemaField,
)
from blockyard.block.context import merge_stats

from blocks.ai import clients as ai_clients
from blocks.ai.errors import AnswerRejected, AnswerUnusable, ModelCallFailed
from blocks.ai.messages import Answer, Question, assistant, user
from blocks.ai.models import DEFAULT_MODEL, KNOWN_MODELS, cost_usd
from blocks.ai.prompts import fit
from blocks.ai.providers import BUILT_IN, Access, Choice, choose, providers_by_model

ReadT = TypeVar("ReadT")

# Times that one question is asked while the server is overloaded or cannot be reached.
_MAX_CALLS = 4
_FIRST_PAUSE_SECONDS = 0.5
# What a rejected answer is repeated with to the model.
_MAX_REPEATED_CHARACTERS = 20_000
_RESERVED_TOKENS = 4_096


def model_field(description: str = "The model to ask.") -> Any:
    """The pin that names a model."""
    return SchemaField(DEFAULT_MODEL, description=description, examples=sorted(KNOWN_MODELS), advanced=False)


def credentials_field() -> Any:
    """The pin for a key. Without one the operator's keys are used."""
    return CredentialsField(
        provider=sorted([*BUILT_IN, "open_router"]),
        types=["api_key"],
        discriminator="model",
        discriminator_mapping=providers_by_model(),
        description="Key for the model's provider; empty for the one that the operator has set.",
        default=None,
    )


def ollama_host_field() -> Any:
    """The pin that names an Ollama server."""
    return SchemaField("localhost:11434", description="Ollama server, of those that the operator allows.")


class AIBlockBase(Block):
    """A block that asks a model. `ask` and `listen` are what its own tests replace."""

    def __init__(
        self,
        *,
        id: str,
        description: str,
        input_schema: type[BlockSchema],
        output_schema: type[BlockSchema],
        test_input: Sequence[Mapping[str, Any]],
        test_output: Sequence[Item],
        answers: Mapping[str, str],
        categories: Collection[BlockCategory] = (BlockCategory.AI,),
        block_type: BlockType = BlockType.STANDARD,
    ) -> None:
        """`answers`: what the model says in the block's own tests, by words of the question."""
        super().__init__(
            id=id,
            description=description,
            categories=categories,
            block_type=block_type,
            input_schema=input_schema,
            output_schema=output_schema,
            test_input=test_input,
            test_output=test_output,
            test_mock={"ask": _answering(answers), "listen": _streaming(answers)},
        )

    async def ask(self, question: Question, access: Access, context: Context) -> Answer:
        """The model's answer. Waits and asks again while the server is busy; tokens and cost go into the stats."""
        choice = choose(question.model, access)
        question = within_limits(question, choice)
        answer = await patiently(choice, context, lambda: ai_clients.complete(choice, question))
        return accounted(answer, choice, context)

    async def listen(self, question: Question, access: Access, context: Context) -> AsyncGenerator[str | Answer, None]:
        """The pieces of the answer's text as they come, and then the answer.

        A failure before the first piece is met as in `ask`; later ones end it, for pieces cannot be taken back.
        """
        choice = choose(question.model, access)
        question = within_limits(question, choice)
        patience = Patience(choice, context)
        begun = False
        while True:
            pieces = ai_clients.stream(choice, question)
            try:
                async for piece in pieces:
                    begun = True
                    yield accounted(piece, choice, context) if isinstance(piece, Answer) else piece
                return
            except ModelCallFailed as failure:
                if begun:
                    raise
                await patience.wait(failure)
            finally:
                await pieces.aclose()

    async def ask_until(
        self,
        question: Question,
        access: Access,
        context: Context,
        read: Callable[[Answer], ReadT],
        attempts: int,
    ) -> tuple[ReadT, Question]:
        """What `read` makes of the answer, and the question that gave it.

        When `read` raises AnswerRejected, the model is told why and asked again, `attempts` times in all.
        """
        asked = question
        for attempt in range(1, max(attempts, 1) + 1):
            answer = await self.ask(asked, access, context)
            try:
                return read(answer), asked
            except AnswerRejected as rejected:
                complaint = str(rejected)
            if attempt < attempts:
                self.merge_stats(context, {"llm_retry_count": 1})
            asked = replace(question, messages=(*question.messages, *_complaining(answer, complaint)))
        raise AnswerUnusable(f"{question.model}: no usable answer in {max(attempts, 1)} attempts: {complaint}")


def _complaining(answer: Answer, complaint: str) -> list[dict[str, Any]]:
    """The answer and what is wrong with it, as the next messages."""
    said = answer.text or "; ".join(f"{call.name}({call.raw_arguments})" for call in answer.tool_calls)
    return [
        assistant(said[:_MAX_REPEATED_CHARACTERS] or "(no answer)"),
        user(f"Your answer could not be used: {complaint}. Answer again, corrected."),
    ]


def within_limits(question: Question, choice: Choice) -> Question:
    """The question with no more tokens for the answer than the model can give."""
    if choice.known is None or question.max_tokens is None:
        return question
    return replace(question, max_tokens=min(question.max_tokens, choice.known.max_output_tokens))


def compressed(question: Question) -> Question:
    """The question without the oldest messages that its model could not read; unknown models get all."""
    room = question_room(question)
    return question if room is None else replace(question, messages=tuple(fit(question.messages, room)))


def question_room(question: Question) -> int | None:
    """How many tokens the messages may have, so that the answer has room too; None where the model is not known."""
    known = KNOWN_MODELS.get(question.model)
    if known is None:
        return None
    reserved = min(question.max_tokens or _RESERVED_TOKENS, known.max_output_tokens)
    return max(known.context_tokens - reserved, known.context_tokens // 10)


async def patiently(choice: Choice, context: Context, call: Callable[[], Awaitable[ReadT]]) -> ReadT:
    """The answer of a call that is made again after failures that may pass, while the patience lasts."""
    patience = Patience(choice, context)
    while True:
        try:
            return await call()
        except ModelCallFailed as failure:
            await patience.wait(failure)


class Patience:
    """How long one question may still wait. Waiting is bounded in times and in seconds."""

    def __init__(self, choice: Choice, context: Context) -> None:
        self.seconds_left = choice.provider.max_wait_seconds
        self.calls = 0
        self._context = context

    async def wait(self, failure: ModelCallFailed) -> None:
        """Waits as long as the server asked, or longer each time where it did not say; raises what will not pass."""
        self.calls += 1
        pause = failure.retry_after
        if pause is None:
            # With jitter, so that blocks that failed together do not come back together.
            pause = _FIRST_PAUSE_SECONDS * 2 ** (self.calls - 1) * random.uniform(0.5, 1.0)
        if not failure.transient or self.calls >= _MAX_CALLS or pause > self.seconds_left:
            raise failure
        self.seconds_left -= pause
        merge_stats(self._context.stats, {"llm_retry_count": 1})
        await asyncio.sleep(pause)


def accounted(answer: Answer, choice: Choice, context: Context) -> Answer:
    """The answer with its cost; tokens, cost and remarks are added to the run's stats."""
    remarks = list(choice.remarks)
    if answer.cut:
        remarks.append(f"{choice.model}: the answer was cut at the limit of tokens")
    cost = None
    if not (answer.input_tokens or answer.output_tokens):
        remarks.append(f"{choice.model}: {choice.provider.name} does not say how many tokens it took")
    elif choice.known is not None:
        cost = cost_usd(choice.known, answer.input_tokens, answer.output_tokens)
    stats: dict[str, Any] = {
        "llm_call_count": 1,
        "input_token_count": answer.input_tokens,
        "output_token_count": answer.output_tokens,
    }
    if cost is not None:
        stats["cost_usd"] = cost
    new_remarks = [remark for remark in remarks if remark not in context.stats.get("remarks", [])]
    if new_remarks:
        stats["remarks"] = new_remarks
    merge_stats(context.stats, stats)
    return replace(answer, cost_usd=cost, remarks=remarks)


def _answering(answers: Mapping[str, str]) -> Callable[[Question, Access, Context], Awaitable[Answer]]:
    """Stands in for `ask`: gives the answer whose words stand in the last message."""

    async def ask(question: Question, access: Access, context: Context) -> Answer:
        asked = question.messages[-1]["content"]
        text = next((answer for words, answer in answers.items() if words in asked), "")
        return Answer(text, question.model, input_tokens=7, output_tokens=3)

    return ask


def _streaming(answers: Mapping[str, str]) -> Callable[[Question, Access, Context], AsyncGenerator[str | Answer, None]]:
    """Stands in for `listen`: as `_answering`, in one piece."""
    ask = _answering(answers)

    async def listen(question: Question, access: Access, context: Context) -> AsyncGenerator[str | Answer, None]:
        answer = await ask(question, access, context)
        yield answer.text
        yield answer

    return listen
