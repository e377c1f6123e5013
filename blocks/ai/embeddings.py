"""Blocks that ask a model for embeddings: vectors that are near each other where texts mean much the same.

Servers of OpenAI's protocol have them at `/embeddings`: OpenAI, Ollama, vLLM and most gateways.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from blockyard.block import (
    ApiKeyCredentials,
    Block,
    BlockCategory,
    BlockExecutionError,
    BlockOutput,
    BlockSchema,
    Context,
    CredentialsReference,
    Item,
    SchemaField,
)

from blocks.ai import clients as ai_clients
from blocks.ai.calls import accounted, credentials_field, ollama_host_field, patiently
from blocks.ai.messages import Answer, Vectors
from blocks.ai.models import DEFAULT_EMBEDDING_MODEL, EMBEDDING_MODELS
from blocks.ai.prompts import estimated_tokens
from blocks.ai.providers import Access, access, choose
from blocks.search.searching import MATCHES, least_field, matches, top_k_field
from blocks.search.vectors import MAX_NUMBERS, Metric, nearest, scores

MAX_TEXTS = 1_000
# Of one request: what OpenAI takes, with some room, for tokens are estimated.
_BATCH_TEXTS = 256
_BATCH_TOKENS = 200_000
# Vectors are compared in the event loop, so many numbers at a time: some hundredths of a second.
_NUMBERS_AT_ONCE = 500_000


def embedding_model_field() -> Any:
    """The pin that names a model of embeddings."""
    return SchemaField(
        DEFAULT_EMBEDDING_MODEL,
        description="The model to ask; provider/model chooses who serves it.",
        examples=sorted(EMBEDDING_MODELS),
        advanced=False,
    )


def dimensions_field() -> Any:
    """The pin for the length of vectors."""
    return SchemaField(
        description="Numbers of a vector, for models that can shorten theirs; the model's own if empty.",
        default=None,
        ge=1,
        le=100_000,
    )


class EmbeddingBlockBase(Block):
    """A block that asks for embeddings. `embed` is what its own tests replace."""

    def __init__(
        self,
        *,
        id: str,
        description: str,
        categories: set[BlockCategory],
        input_schema: type[BlockSchema],
        output_schema: type[BlockSchema],
        test_input: Sequence[Mapping[str, Any]],
        test_output: Sequence[Item],
        vectors: Mapping[str, list[float]],
    ) -> None:
        """`vectors`: what the model makes of each text in the block's own tests."""
        super().__init__(
            id=id,
            description=description,
            categories=categories,
            input_schema=input_schema,
            output_schema=output_schema,
            test_input=test_input,
            test_output=test_output,
            test_mock={"embed": _embedding(vectors)},
        )

    async def embed(
        self, model: str, texts: Sequence[str], dimensions: int | None, who: Access, context: Context
    ) -> Vectors:
        """The vectors of the texts, asked for in batches. Waits and asks again while the server is busy."""
        choice = choose(model, who)
        vectors: list[list[float]] = []
        answered_by, tokens = choice.model, 0
        for batch in _batches(texts):
            part = await patiently(choice, context, partial(ai_clients.embed, choice, batch, dimensions))
            accounted(Answer("", part.model, input_tokens=part.input_tokens), choice, context)
            vectors += part.vectors
            answered_by, tokens = part.model, tokens + part.input_tokens
            if len(vectors) * len(vectors[0]) > MAX_NUMBERS:
                raise BlockExecutionError(f"texts: the vectors have more than {MAX_NUMBERS} numbers together")
        return Vectors(vectors, answered_by, tokens)


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    tokens = 0
    for text in texts:
        size = estimated_tokens(text)
        if batch and (len(batch) == _BATCH_TEXTS or tokens + size > _BATCH_TOKENS):
            yield batch
            batch, tokens = [], 0
        batch.append(text)
        tokens += size
    if batch:
        yield batch


def _check_texts(texts: Sequence[str], pin: str) -> None:
    """Servers refuse empty texts, and do not say which it is."""
    for index, text in enumerate(texts):
        if not text.strip():
            raise BlockExecutionError(f"{pin}[{index}]: is empty, and has no embedding")


class AIEmbeddingBlock(EmbeddingBlockBase):
    class Input(BlockSchema):
        texts: list[str] = SchemaField(
            description="Texts to embed; a single one is taken too.", min_length=1, max_length=MAX_TEXTS
        )
        model: str = embedding_model_field()
        credentials: CredentialsReference | None = credentials_field()
        dimensions: int | None = dimensions_field()
        ollama_host: str = ollama_host_field()

    class Output(BlockSchema):
        embeddings: list[list[float]] = SchemaField(description="A vector for each text, in their order.")
        embedding: list[float] = SchemaField(description="The vector of the first text.")
        dimensions: int = SchemaField(description="How many numbers a vector has.")
        usage: dict[str, Any] = SchemaField(description="Tokens that the texts took.")
        model_used: str = SchemaField(description="The model that answered, as its server names it.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="4767ff5b-8d01-4b1c-8706-be9469a40428",
            description="Makes vectors (embeddings) of texts, to search them by what they mean.",
            categories={BlockCategory.AI},
            input_schema=self.Input,
            output_schema=self.Output,
            test_input=[{"texts": ["cat", "dog"]}, {"texts": "cat", "model": "ollama/some"}, {"texts": ["cat", " "]}],
            test_output=[
                *[("embeddings", [[1.0, 0.0], [0.8, 0.6]]), ("embedding", [1.0, 0.0]), ("dimensions", 2)],
                *[("usage", {"prompt_tokens": 2, "total_tokens": 2}), ("model_used", DEFAULT_EMBEDDING_MODEL)],
                *[("embeddings", [[1.0, 0.0]]), ("embedding", [1.0, 0.0]), ("dimensions", 2)],
                *[("usage", {"prompt_tokens": 1, "total_tokens": 1}), ("model_used", "ollama/some")],
                ("error", "texts[1]: is empty, and has no embedding"),
            ],
            vectors={"cat": [1.0, 0.0], "dog": [0.8, 0.6]},
        )

    async def run(
        self, input_data: Input, *, context: Context, credentials: ApiKeyCredentials | None = None
    ) -> BlockOutput:
        _check_texts(input_data.texts, "texts")
        who = access(input_data.credentials, credentials, input_data.ollama_host)
        made = await self.embed(input_data.model, input_data.texts, input_data.dimensions, who, context)
        yield "embeddings", made.vectors
        yield "embedding", made.vectors[0]
        yield "dimensions", len(made.vectors[0])
        yield "usage", {"prompt_tokens": made.input_tokens, "total_tokens": made.input_tokens}
        yield "model_used", made.model


class AISemanticSearchBlock(EmbeddingBlockBase):
    class Input(BlockSchema):
        query: str = SchemaField(description="What to look for, in words of its own.")
        texts: list[str] = SchemaField(description="Texts to search.", max_length=MAX_TEXTS)
        top_k: int = top_k_field()
        least_score: float | None = least_field()
        model: str = embedding_model_field()
        credentials: CredentialsReference | None = credentials_field()
        dimensions: int | None = dimensions_field()
        ollama_host: str = ollama_host_field()

    class Output(BlockSchema):
        matches: list[dict[str, Any]] = SchemaField(description=MATCHES)
        texts: list[str] = SchemaField(description="The texts found, the best first.")
        best: str = SchemaField(description="The best text; nothing comes if nothing is found.")
        error: str = SchemaField(description="Why the block failed.")

    def __init__(self) -> None:
        super().__init__(
            id="5345a3db-1d15-4f6f-ad4a-17e20a43dbff",
            description="Finds the texts that mean most nearly what a question says, by their embeddings.",
            categories={BlockCategory.AI, BlockCategory.SEARCH},
            input_schema=self.Input,
            output_schema=self.Output,
            test_input=[
                {"query": "pet", "texts": ["car", "cat"], "top_k": 1},
                {"query": "pet", "texts": ["car"], "least_score": 0.9},
                {"query": "", "texts": ["car"]},
            ],
            test_output=[
                ("matches", [{"index": 1, "score": 1.0, "item": "cat"}]),
                *[("texts", ["cat"]), ("best", "cat")],
                *[("matches", []), ("texts", [])],
                ("error", "query: is empty, and has no embedding"),
            ],
            vectors={"pet": [1.0, 0.0], "cat": [2.0, 0.0], "car": [0.0, 1.0]},
        )

    async def run(
        self, input_data: Input, *, context: Context, credentials: ApiKeyCredentials | None = None
    ) -> BlockOutput:
        texts = input_data.texts
        if not input_data.query.strip():
            raise BlockExecutionError("query: is empty, and has no embedding")
        _check_texts(texts, "texts")
        scored: list[float] = []
        if texts:
            who = access(input_data.credentials, credentials, input_data.ollama_host)
            asked = [input_data.query, *texts]
            made = await self.embed(input_data.model, asked, input_data.dimensions, who, context)
            scored = await _scores(made.vectors)
        found = nearest(scored, input_data.top_k, input_data.least_score)
        yield "matches", matches(found, scored, texts)
        yield "texts", [texts[index] for index in found]
        if found:
            yield "best", texts[found[0]]


async def _scores(vectors: Sequence[list[float]]) -> list[float]:
    """How near the first one is to each of the others. Others have their turn between parts of the computation."""
    query, others = vectors[0], vectors[1:]
    step = max(_NUMBERS_AT_ONCE // len(query), 1)
    scored: list[float] = []
    for start in range(0, len(others), step):
        scored += scores(query, others[start : start + step], Metric.COSINE)
        await asyncio.sleep(0)
    return scored


def _embedding(
    vectors: Mapping[str, list[float]],
) -> Callable[[str, Sequence[str], int | None, Access, Context], Awaitable[Vectors]]:
    """Stands in for `embed`: each text has the vector that is written down for it, and is one token."""

    async def embed(model: str, texts: Sequence[str], dimensions: int | None, who: Access, context: Context) -> Vectors:
        return Vectors([vectors[text] for text in texts], model, len(texts))

    return embed
