"""The block: what an author subclasses, and how one run of it goes.

An instance is shared by all runs, many at a time; what belongs to a run stays in local variables and in its `Context`.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Generator, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeAlias

from pydantic import ValidationError
from typing_extensions import TypeVar

from blockyard.block.caching import CachePolicy
from blockyard.block.complaints import complaints, shown
from blockyard.block.context import Context, merge_stats
from blockyard.block.costs import BlockCost
from blockyard.block.description import BlockInfo, WebhookConfig
from blockyard.block.errors import BlockDefinitionError, BlockExecutionError, BlockInputError, BlockOutputError
from blockyard.block.kinds import BlockCategory, BlockType, Effect
from blockyard.block.retries import RetryPolicy
from blockyard.block.run_style import RunSignature, RunStyle, read_signature
from blockyard.block.schema import BlockSchema, output_check, without_nulls
from blockyard.block.threads import iterate_in_thread

# The defaults let an author write `class MyBlock(Block):`; the type of `run`'s parameter says the rest.
InputT = TypeVar("InputT", bound=BlockSchema, default=Any)
OutputT = TypeVar("OutputT", bound=BlockSchema, default=Any)

Item: TypeAlias = tuple[str, Any]
BlockOutput: TypeAlias = AsyncGenerator[Item, None]
SyncBlockOutput: TypeAlias = Generator[Item, None, None]

ERROR_PIN = "error"
DEFAULT_TIMEOUT_SECONDS = 600.0


class Block(ABC, Generic[InputT, OutputT]):
    """A step of a graph. A subclass calls `super().__init__` with what it is, and implements `run`.

    class GreetBlock(Block):
        class Input(BlockSchema):
            name: str = SchemaField(description="Whom to greet.")

        class Output(BlockSchema):
            greeting: str = SchemaField(description="The greeting.")
            error: str = SchemaField(description="Why the block failed.")

        def __init__(self) -> None:
            super().__init__(
                id="f3f4a3f0-6d3a-4c88-8d7b-0c7c3f0f4b11",
                description="Greets.",
                input_schema=self.Input,
                output_schema=self.Output,
                effect=Effect.PURE,
            )

        async def run(self, input_data: Input) -> BlockOutput:
            yield "greeting", f"Hello, {input_data.name}!"
    """

    # Set by a block with a plain `run` that computes for long: a runner gives it a process.
    cpu_bound: ClassVar[bool] = False
    run_signature: ClassVar[RunSignature]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.run_signature = read_signature(cls.run, cpu_bound=cls.cpu_bound)

    def __init__(
        self,
        *,
        id: str,
        input_schema: type[InputT],
        output_schema: type[OutputT],
        description: str = "",
        contributors: Sequence[str] = (),
        categories: Collection[BlockCategory] = (),
        test_input: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
        test_output: Item | Sequence[Item] = (),
        test_mock: Mapping[str, Any] | None = None,
        test_credentials: Mapping[str, Any] | None = None,
        disabled: bool = False,
        static_output: bool = False,
        block_type: BlockType = BlockType.STANDARD,
        webhook_config: WebhookConfig | None = None,
        costs: Sequence[BlockCost] = (),
        pool: str = "default",
        retry: RetryPolicy | None = None,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        effect: Effect = Effect.IDEMPOTENT,
        cache: CachePolicy | None = None,
    ) -> None:
        """`timeout` is in seconds. `test_output` lists what all of `test_input` give, in order.

        With `cache` a runner may answer with what an earlier run with the same input gave.
        """
        self.id = id
        self.description = description
        self.contributors = tuple(contributors)
        self.categories = frozenset(categories)
        self.input_schema = input_schema
        self.output_schema = output_schema
        self.test_input = test_input
        self.test_output = test_output
        self.test_mock = dict(test_mock or {})
        self.test_credentials = dict(test_credentials or {})
        self.disabled = disabled
        self.static_output = static_output
        self.block_type = block_type
        self.webhook_config = webhook_config
        self.costs = tuple(costs)
        self.pool = pool
        self.retry = retry or RetryPolicy()
        self.timeout = timeout
        self.effect = effect
        self.cache = cache
        self._prepare_runs()

    def _prepare_runs(self) -> None:
        """What every run needs, looked up once."""
        pins = self.output_schema.model_fields
        self.many_pins = self.output_schema.many_pins()
        self._checked = self.block_type is BlockType.STANDARD
        self._validate_input = self.input_schema.__pydantic_validator__.validate_python
        self._checks = {pin: output_check(self.output_schema, pin) if self._checked else None for pin in pins}
        self._only_input = self.run_signature.only_input

    @property
    def name(self) -> str:
        """The class's name."""
        return type(self).__name__

    @property
    def style(self) -> RunStyle:
        """Where `run` is driven: the event loop, a thread, or a process."""
        style = self.run_signature.style
        if style is None:
            raise BlockDefinitionError(
                f"{self.name}: run must be an async generator or a generator that yields (pin, value)"
            )
        return style

    @abstractmethod
    def run(self, input_data: InputT, *arguments: Any, **named: Any) -> AsyncIterator[Item] | Iterator[Item]:
        """Yields (pin, value) as often as it likes.

        A subclass may take a parameter `context: Context`, and one for each credentials field, by the field's name:
        annotated with `ApiKeyCredentials` or another such type it gets that, else what the credential gives.
        """

    def unavailable_reason(self) -> str:
        """Why the block cannot run here as it is configured, and what an operator does about it; empty if it can.

        A runner asks once, when it starts, in a thread. A block that no runner of its pool can run is listed with the
        reason and cannot be placed. Credentials of users do not count, since they come with a graph.
        """
        return ""

    def parse_input(self, input_data: Mapping[str, Any]) -> InputT:
        """The input as the model that `run` takes; a BlockInputError names each pin that does not fit."""
        if None in input_data.values():
            input_data = without_nulls(self.input_schema, input_data)
        try:
            parsed: InputT = self._validate_input(input_data)
        except ValidationError as error:
            sentences = complaints(error, path="inputs", secret=self.input_schema.unshown_fields())
            raise BlockInputError("; ".join(sentences)) from None
        return parsed

    async def execute(
        self,
        input_data: Mapping[str, Any],
        context: Context | None = None,
        credentials: Mapping[str, Any] | None = None,
    ) -> BlockOutput:
        """One run: validates the input, runs, and gives the outputs as they come, validated.

        An output on the error pin ends it with a BlockExecutionError. A plain `run` goes to a thread.
        """
        if self.style is not RunStyle.ASYNC:
            blocking = iterate_in_thread(lambda: self.execute_blocking(input_data, context, credentials))
            try:
                async for item in blocking:
                    yield item
            finally:
                await blocking.aclose()
            return
        parsed = self.parse_input(input_data)
        items: Any = self.run(parsed) if self._only_input else self.run(parsed, **self._arguments(context, credentials))
        seen: set[str] = set()
        accept = self._accept
        try:
            async for item in items:
                accept(item, seen)
                yield item
        finally:
            await items.aclose()

    def execute_blocking(
        self,
        input_data: Mapping[str, Any],
        context: Context | None = None,
        credentials: Mapping[str, Any] | None = None,
    ) -> SyncBlockOutput:
        """As `execute`, for a block whose `run` is a plain generator, in the thread or process of the caller."""
        parsed = self.parse_input(input_data)
        items: Any = self.run(parsed) if self._only_input else self.run(parsed, **self._arguments(context, credentials))
        seen: set[str] = set()
        try:
            for item in items:
                self._accept(item, seen)
                yield item
        finally:
            items.close()

    async def run_once(
        self,
        input_data: Mapping[str, Any],
        pin: str,
        context: Context | None = None,
        credentials: Mapping[str, Any] | None = None,
    ) -> Any:
        """The first value on that pin; the run ends there."""
        items = self.execute(input_data, context, credentials)
        try:
            async for name, value in items:
                if name == pin:
                    return value
        finally:
            await items.aclose()
        raise BlockOutputError(f"{self.name}: ended without a value on {pin!r}")

    def _arguments(self, context: Context | None, credentials: Mapping[str, Any] | None) -> dict[str, Any]:
        signature = self.run_signature
        arguments: dict[str, Any] = {}
        for name, value in (credentials or {}).items():
            if signature.takes_anything or name in signature.others:
                arguments[name] = value
        for parameter in signature.credentials:
            arguments.pop(parameter.pin, None)
            arguments.update(parameter.arguments(credentials or {}))
        if signature.takes_context:
            arguments["context"] = context if context is not None else Context()
        return arguments

    def _accept(self, item: Item, seen: set[str]) -> None:
        """Raises if the block may not yield this now; `seen` holds the pins that may not yield again."""
        try:
            pin, value = item
            check = self._checks[pin]
        except (KeyError, TypeError, ValueError):
            self._accept_undeclared(item)
            return
        if pin == ERROR_PIN:
            raise BlockExecutionError(str(value))
        if pin not in self.many_pins:
            if pin in seen:
                raise BlockOutputError(f"{self.name}: yielded twice on {pin!r}, which is not declared with many=True")
            seen.add(pin)
        if check is not None:
            try:
                check(value)
            except ValidationError as error:
                raise BlockOutputError(f"{self.name}: {'; '.join(complaints(error, path=f'outputs.{pin}'))}") from None
            except ValueError as error:
                raise BlockOutputError(f"{self.name}: outputs.{pin}: {error}") from None

    def _accept_undeclared(self, item: Any) -> None:
        if not (isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)):
            raise BlockOutputError(f"{self.name}: expected a pair of pin and value, got {shown(item)}")
        pin, value = item
        if pin == ERROR_PIN:
            raise BlockExecutionError(str(value))
        # Blocks of other types may have pins of their own making, such as the tools of a model.
        if self._checked:
            declared = ", ".join(self._checks)
            raise BlockOutputError(f"{self.name}: yielded on {pin!r}, which is not declared; there are {declared}")

    def merge_stats(self, context: Context, stats: Mapping[str, Any]) -> None:
        """Adds to what is reported about this run: numbers are added up, lists and objects joined."""
        merge_stats(context.stats, stats)

    def get_info(self) -> BlockInfo:
        """What the block is, for a catalogue."""
        return BlockInfo(
            id=self.id,
            name=self.name,
            description=self.description,
            categories=tuple(sorted(self.categories, key=lambda category: category.name)),
            contributors=self.contributors,
            block_type=self.block_type,
            effect=self.effect,
            input_schema=self.input_schema.jsonschema(),
            output_schema=self.output_schema.jsonschema(),
            many_pins=tuple(sorted(self.many_pins)),
            static_output=self.static_output,
            disabled=self.disabled,
            pool=self.pool,
            costs=self.costs,
            retry=self.retry,
            timeout=self.timeout,
            cache=self.cache,
        )

    def to_dict(self) -> dict[str, Any]:
        """`get_info` as JSON values."""
        return self.get_info().to_dict()
