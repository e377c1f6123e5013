"""One execution that fans out over 1,000 items, a no-op each, and collects them."""

from tests.bench.figures import Spread, significant
from tests.bench.laboratory import Laboratory
from tests.bench.report import Bound, Row, Section

ITEMS = 1_000
REPETITIONS = 15
QUICK_REPETITIONS = 7

REQUIRED = Bound(0.5, 0.15, at_most=True)


async def measure_fan_out(here: Laboratory) -> Section:
    """Seconds from the start to the completed event."""
    own: list[float] = []
    raw: list[float] = []
    await here.time_fan_out(ITEMS)
    await here.raw.run(ITEMS, 1)
    for _ in range(QUICK_REPETITIONS if here.quick else REPETITIONS):
        own.append(await here.time_fan_out(ITEMS))
        raw.append((await here.raw.run(ITEMS, 1)).seconds)
    figure, limit = Spread.of(own), Spread.of(raw)
    ratio = limit.median / figure.median
    return Section(
        {
            "fanout_1000_s": significant(figure.median),
            "fanout_1000": {
                "raw_limit_s": significant(limit.median),
                "ratio": significant(ratio),
                "spread": figure.to_json(),
                "raw_spread": limit.to_json(),
            },
        },
        [Row("fan-out of 1,000, collected", "s", figure, limit, ratio, REQUIRED)],
    )
