"""The same chains on two stacks in turn: one asked with an API key and charging every node, one with a token and not.

Both run blocks that cost a credit, so both measure what a run costs; what is compared is who asks, and who pays.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import grpc
from blockyard.account.v1.account_service_pb2 import CreateApiKeyRequest, GetCreditsRequest, TopUpCreditsRequest
from blockyard.account.v1.account_service_pb2_grpc import AccountServiceStub
from blockyard.dev.stack import Stack
from blockyard.dev.tokens import DEVELOPER

from tests.bench.completions import NotCompleted
from tests.bench.figures import Spread, significant
from tests.bench.laboratory import Laboratory, laboratory
from tests.bench.loads import paid_chain
from tests.bench.report import Bound, Row, Section
from tests.bench.usage import difference, processor_seconds

CHAINS = 200
LENGTH = 10
NODES = CHAINS * LENGTH
REPETITIONS = 15
QUICK_REPETITIONS = 7
WARM_ROUNDS = 2
LEAST_RATIO = 0.9
"""Of the figure without."""

CREDITS = 10**9
CALL_SECONDS = 20.0
SETTLED_SECONDS = 60.0
LOOK_SECONDS = 0.2

ROOT = Path(__file__).parents[3]
PLAIN = {
    "BLOCKYARD_PACKAGES": '["tests.bench.blocks"]',
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
}
PAYING = {**PLAIN, "BLOCKYARD_CREDITS_ENABLED": "true"}


async def measure_credits(home: Path, quick: bool, say: Callable[[str], None]) -> Section:
    """Throughput of chains, with and without."""
    async with (
        laboratory(home / "plain", quick, say, PLAIN) as plain,
        laboratory(home / "paying", quick, say, PAYING, identify=_paying_key) as paying,
    ):
        for _ in range(WARM_ROUNDS):
            await _nodes_a_second(plain)
            await _nodes_a_second(paying)
        without: list[float] = []
        with_credits: list[float] = []
        used: dict[str, dict[str, float]] = {"without": {}, "with": {}}
        for number in range(QUICK_REPETITIONS if quick else REPETITIONS):
            turns = [(plain, without, used["without"]), (paying, with_credits, used["with"])]
            # Whoever is first in a round meets another cache: they take turns in that too.
            for here, figures, seconds in turns if number % 2 else reversed(turns):
                before = processor_seconds(here.stack)
                figures.append(await _nodes_a_second(here))
                for name, more in difference(before, processor_seconds(here.stack)).items():
                    seconds[name] = seconds.get(name, 0.0) + more
        await _all_charged(paying.stack, NODES * (WARM_ROUNDS + len(with_credits)))
    return _section(Spread.of(without), Spread.of(with_credits), used)


async def _nodes_a_second(here: Laboratory) -> float:
    return NODES / await here.time(paid_chain(LENGTH), CHAINS)


async def _paying_key(stack: Stack) -> str:
    """An API key of the developer, who has credits."""
    async with grpc.aio.insecure_channel(stack.account_address) as channel:
        account = AccountServiceStub(channel)
        top_up = TopUpCreditsRequest(user_id=DEVELOPER, amount=CREDITS)
        await account.TopUpCredits(top_up, metadata=_metadata(stack), timeout=CALL_SECONDS)
        request = CreateApiKeyRequest(name="bench")
        key = (await account.CreateApiKey(request, metadata=_metadata(stack), timeout=CALL_SECONDS)).key
    return str(key)


async def _all_charged(stack: Stack, nodes: int) -> None:
    """What is not charged would make a fine figure: each node must have cost its credit before one is told."""
    spent = 0
    async with grpc.aio.insecure_channel(stack.account_address) as channel:
        try:
            async with asyncio.timeout(SETTLED_SECONDS):
                while spent != nodes:
                    request = GetCreditsRequest()
                    answer = await AccountServiceStub(channel).GetCredits(
                        request, metadata=_metadata(stack), timeout=CALL_SECONDS
                    )
                    spent = answer.credits.spent
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise NotCompleted(f"{nodes} nodes that cost a credit each were charged {spent} credits") from None


def _metadata(stack: Stack) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {stack.token}"),)


def _section(without: Spread, with_credits: Spread, used: dict[str, dict[str, float]]) -> Section:
    ratio = with_credits.median / without.median
    per_node = {
        side: {name: significant(1e6 * seconds / NODES / without.count) for name, seconds in by_name.items()}
        for side, by_name in used.items()
    }
    return Section(
        {
            "credits": {
                "node_executions_per_s": significant(with_credits.median),
                "without_per_s": significant(without.median),
                "ratio": significant(ratio),
                "executions": CHAINS,
                "length": LENGTH,
                "spread": with_credits.to_json(),
                "without_spread": without.to_json(),
                "processor_us_per_node": per_node,
            }
        },
        [
            Row(
                "chains with key, credits",
                "nodes/s",
                with_credits,
                without,
                ratio,
                Bound(LEAST_RATIO * without.median, without.median),
            )
        ],
        [
            f"Chains with key, credits: {CHAINS} chains of {LENGTH} blocks that cost a credit each, asked for with\n"
            "an API key on a stack that charges. Its parts alone are the same chains on a stack beside it that does\n"
            "not charge, asked for with a token, in turn with them.",
            _table(per_node),
        ],
    )


def _table(per_node: dict[str, dict[str, float]]) -> str:
    names = sorted(per_node["with"], key=lambda name: -per_node["with"][name])
    lines = [f"  {name:14} {per_node['without'][name]:8.0f} {per_node['with'][name]:8.0f}" for name in names]
    sums = [f"{sum(per_node[side].values()):8.0f}" for side in ("without", "with")]
    head = "Processor time of these chains, µs a node, without and with:"
    return "\n".join([head, *lines, f"  {'together':14} {' '.join(sums)}"])
