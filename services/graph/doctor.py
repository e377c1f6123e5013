"""`python -m services.graph.doctor`: what is wrong where the graph service is to run, and which pools lack runners."""

from collections import Counter
from collections.abc import AsyncIterator
from functools import partial

from services.common.doctor.findings import Check, Told, ok, warning, wrong
from services.common.doctor.peers import peers_of
from services.common.doctor.program import Patient, main
from services.common.doctor.tokens import identity_provider
from services.graph.catalogue import MISSED_INTERVALS
from services.graph.config import GraphSettings
from services.graph.repository.blocks import BlockRepository


def checks(settings: GraphSettings, patient: Patient) -> list[Check]:
    """What only the graph service needs."""
    return [
        *peers_of(settings, "graph").checks("account"),
        *identity_provider(settings),
        Check("runners", partial(_runners, settings, patient), ["schema"]),
    ]


async def _runners(settings: GraphSettings, patient: Patient) -> AsyncIterator[Told]:
    """By what they have registered. What they hold, and whether they take tasks, the execution service knows."""
    repository = BlockRepository(patient.pool)
    absent_after = settings.registration_interval * MISSED_INTERVALS
    sightings = await repository.sightings(absent_after)
    absent = [one.definition_hash for one in sightings if not one.present]
    pools = Counter(block.pool for block in (await repository.definitions(absent)).values())
    serving = await repository.serving_pools(absent_after)
    if not sightings:
        yield wrong(
            "no runner has ever registered a block",
            "Start runners; one that runs and is not here cannot reach this service, or is refused: see its own checks "
            "and its log.",
        )
        return
    for pool, blocks in sorted(pools.items()):
        if pool in serving:
            yield warning(
                f"{blocks} blocks of the pool {pool} are had by none of its runners",
                "Runners of another release or with other packages have them: see `blockyard blocks list`.",
            )
        else:
            yield wrong(
                f"the pool {pool} has no living runner: {blocks} blocks cannot run, and their tasks wait",
                "Start runners of that pool (BLOCKYARD_POOL; chart: runners), or look why they do not come: their own "
                "checks and their logs.",
            )
    unconfigured = sum(1 for one in sightings if one.present and one.not_configured)
    if not pools:
        more = f"; {unconfigured} blocks are not configured" if unconfigured else ""
        yield ok(f"{_named(serving)}, {len(sightings)} blocks{more}")


def _named(pools: set[str]) -> str:
    return f"pools with runners: {', '.join(sorted(pools))}"


if __name__ == "__main__":
    main(GraphSettings, checks)
