"""`python -m services.execution.doctor`: what is wrong where a replica of the execution service is to run."""

from collections.abc import AsyncIterator
from functools import partial

from services.common.bus import NOTICES_CONFIGURATION, RESULTS, TASKS
from services.common.bus.errors import BusError
from services.common.doctor.findings import Check, Told, ok, warning, wrong
from services.common.doctor.peers import peers_of
from services.common.doctor.program import Patient, main
from services.common.doctor.stores import blob_store
from services.common.doctor.tokens import identity_provider
from services.execution.config import ExecutionSettings
from services.execution.repository.looking import StandingRepository
from services.execution.streams import limits_of, partition_of

LISTENED = ("blockyard.command.*", "blockyard.claim.*", "blockyard.check.*", "blockyard.heartbeat")
OVERDUE_SECONDS = 60.0
SUBJECT = "blockyard.task."


def checks(settings: ExecutionSettings, patient: Patient) -> list[Check]:
    """What only the execution service needs."""
    streams = [*limits_of(settings).configurations(), NOTICES_CONFIGURATION]
    return [
        *patient.messaging.checks(streams, LISTENED),
        *peers_of(settings, "execution").checks("graph", "credentials", "account"),
        *identity_provider(settings),
        *blob_store(settings.blob_url),
        *blob_store(settings.retention_archive_url, "archive", "BLOCKYARD_RETENTION_ARCHIVE_URL"),
        Check("partitions", partial(_partitions, patient), ["schema"]),
        Check("executions", partial(_executions, patient), ["schema"]),
        Check("results", partial(_results, patient), ["schema", f"stream {RESULTS}"]),
        Check("tasks", partial(_tasks, patient), [f"stream {TASKS}"]),
    ]


async def _partitions(patient: Patient) -> AsyncIterator[Told]:
    standing = await StandingRepository(patient.pool).partitions()
    if not standing.replicas:
        yield wrong(
            "no replica of the execution service lives",
            "Start one, or look at the log of one that does not stay: what was accepted is safe, and waits.",
        )
    elif standing.orphans:
        yield wrong(
            f"{standing.orphans} of {standing.partitions} partitions are held by no replica",
            "They are taken within seconds (BLOCKYARD_LEASE_SECONDS) by one that lives; if this stays, look for "
            '"partitions" in the logs of the execution service.',
        )
    else:
        yield ok(f"{standing.partitions}, all held by {standing.replicas} living replicas")


async def _executions(patient: Patient) -> AsyncIterator[Told]:
    standing = await StandingRepository(patient.pool).executions(OVERDUE_SECONDS)
    if standing.parked:
        reason = standing.park_reason or "no reason"
        yield warning(
            f"{standing.parked} are parked, the oldest {standing.park_example}: {reason}",
            "They cannot go on as they are, and are tried again every hour: `blockyard executions show` says of each "
            "what it waits for.",
        )
    if standing.overdue:
        yield wrong(
            f"{standing.overdue} have been due for over {OVERDUE_SECONDS:.0f} seconds, and nobody has looked at them",
            "Look at the partitions above and at the logs of the execution service; more replicas help if it is busy.",
        )
    if not standing.parked and not standing.overdue:
        yield ok(f"{standing.unended} have not ended, none is overdue or parked")


async def _results(patient: Patient) -> AsyncIterator[Told]:
    held = await StandingRepository(patient.pool).held()
    names = await patient.messaging.bus.jetstream.consumer_names(RESULTS)
    deaf = len(held - {partition for name in names if (partition := partition_of(name)) is not None})
    if deaf:
        yield wrong(
            f"{deaf} of {len(held)} partitions take no results: their consumers are missing",
            "The replica that holds them makes them anew within seconds: `blockyard admin repair` waits for that. If "
            "it stays so, look at the rights of the user on NATS and at the log of the execution service.",
        )
    else:
        yield ok(f"taken by {len(held)} partitions")


async def _tasks(patient: Patient) -> AsyncIterator[Told]:
    bus = patient.messaging.bus
    lacking: list[str] = []
    unasked: list[str] = []
    waiting = 0
    try:
        for subject in sorted(await bus.jetstream.subjects(TASKS, f"{SUBJECT}>")):
            pool = subject.removeprefix(SUBJECT)
            answer = await bus.consumer_info(TASKS, f"pool-{pool}")
            if answer is None:
                lacking.append(pool)
            else:
                waiting += answer.num_pending
                if answer.num_pending and not answer.num_waiting:
                    unasked.append(pool)
    except BusError as error:
        yield wrong(str(error), "Look at the log of NATS.")
        return
    if lacking:
        yield wrong(
            f"tasks wait for runners of {_pools(lacking)}, and none has ever come",
            "Start runners of that pool (BLOCKYARD_POOL; chart: runners), or let the graph's blocks be of another one.",
        )
    if unasked:
        yield warning(
            f"tasks wait for runners of {_pools(unasked)}, and none asks for more",
            "All are busy, or none lives: the graph service's check of runners tells which. Start more runners.",
        )
    if not lacking and not unasked:
        yield ok(f"{waiting} wait to be taken by runners" if waiting else "none waits for a runner")


def _pools(names: list[str]) -> str:
    return f"the pool {names[0]}" if len(names) == 1 else f"the pools {', '.join(names)}"


if __name__ == "__main__":
    main(ExecutionSettings, checks)
