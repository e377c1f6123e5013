"""Results are kept until they are recorded, whatever happens to NATS and to messages; and claims before that."""

from blockyard.runner.v1.heartbeat_pb2 import ClaimRequest, Instruction
from blockyard.runner.v1.result_pb2 import Outcome

from services.common.bus import StreamLimits
from tests.integration.runner.house import House
from tests.integration.runner.owner import WHY_NOT, owning

SMALL = StreamLimits(64 << 20, 64 << 20, 64 << 20)


async def test_results_said_while_nats_is_away_arrive_afterwards(broken_house: House) -> None:
    owner = broken_house.owner
    await broken_house.add_runner()
    tasks = [owner.task(broken_house.block("StreamingBlock"), seconds=0.5) for _ in range(5)]
    await owner.send(*tasks)
    await owner.until(lambda: len(owner.runs) == 5, "all run")

    await broken_house.nats.kill()
    await broken_house.nats.start()
    ended = [await owner.end_of(task) for task in tasks]

    assert all(run.on("value") == ["0", "last"] for run in ended)
    assert all(len(owner.runs[task.node_execution]) == 1 for task in tasks)
    await owner.beats_after(lambda beat: not beat.holdings, "nothing is held any more")


async def test_results_that_were_lost_with_the_stream_are_said_again(broken_house: House) -> None:
    owner = broken_house.owner
    await broken_house.add_runner()
    owner.deaf = True
    task = owner.task(broken_house.block("StreamingBlock"), count=3)
    await owner.send(task)
    await owner.beats_after(lambda beat: any(held.batch for held in beat.holdings), "a result that nobody recorded")

    await broken_house.nats.wipe()
    await broken_house.nats.start()
    await owner.until(lambda: broken_house.bus.connected, "the connection")
    await broken_house.bus.ensure_streams(SMALL)
    owner.deaf = False
    async with owning(broken_house.bus, execution=owner.execution) as successor:
        # Another owner after a loss: it asks for what it lacks, from the first item of the run on.
        ended = await successor.end_of(task)

    assert ended.on("value") == ["0", "1", "2", "last"]
    assert len(owner.runs.get(task.node_execution, {})) == 0


async def test_results_beyond_memory_go_to_disk_and_come_back(broken_house: House) -> None:
    owner = broken_house.owner
    await broken_house.add_runner(kept_bytes=1 << 20, kept_runs=100)
    owner.deaf = True
    # Each is below what goes to the blob store, together they are five times what memory takes.
    block = broken_house.block("EchoBlock")
    tasks = [owner.task(block, value=f"{number}" + "x" * 200_000) for number in range(25)]
    await owner.send(*tasks)
    await owner.beats_after(lambda beat: sum(bool(held.batch) for held in beat.holdings) == 25, "all are kept")

    owner.deaf = False
    ended = [await owner.end_of(task) for task in tasks]

    assert [run.on("value") for run in ended] == [[f"{number}" + "x" * 200_000] for number in range(25)]


async def test_no_two_heartbeats_in_a_row_leave_out_a_run_that_is_not_recorded(broken_house: House) -> None:
    """An owner that is slow to record would call it lost, and send it again (rule 5)."""
    owner = broken_house.owner
    await broken_house.add_runner()
    owner.deaf = True
    task = owner.task(broken_house.block("StreamingBlock"), seconds=0.5)

    await owner.send(task)
    first = await owner.beats_after(lambda beat: bool(beat.holdings), "it runs")
    last = await owner.beats_after(lambda beat: any(held.batch for held in beat.holdings), "it has ended")

    between = owner.beats[owner.beats.index(first) : owner.beats.index(last)]
    assert sum(not beat.holdings for beat in between) <= 1


async def test_heartbeats_come_when_owners_ask_and_leave_no_run_out_twice(broken_house: House) -> None:
    """All owners ask at a time when NATS was away; a run that two in a row leave out counts as lost (rule 5)."""
    owner = broken_house.owner
    await broken_house.add_runner(heartbeat_seconds=3600)
    owner.forgets = False
    await owner.run(broken_house.block("EchoBlock"), value=1)
    await owner.until(lambda: bool(owner.beats), "the first heartbeat")

    async def ask(count: int) -> None:
        for _ in range(10):
            owner.instruct("all", Instruction(beat=True))
        await owner.until(lambda: len(owner.beats) >= count, "one that was asked for")

    await ask(2)
    await ask(3)

    _, _, last, *more = owner.beats
    assert last.holdings
    assert len(more) < 10


async def test_a_runner_with_too_many_unrecorded_results_pulls_no_more(broken_house: House) -> None:
    owner = broken_house.owner
    await broken_house.add_runner(kept_runs=100, slots=4)
    owner.deaf = True
    block = broken_house.block("EchoBlock")
    tasks = [owner.task(block, value=number) for number in range(300)]
    await owner.send(*tasks)
    beat = await owner.beats_after(lambda beat: sum(bool(held.batch) for held in beat.holdings) >= 100, "it is full")
    later = await owner.beats_after(lambda later: later.number > beat.number + 3, "more heartbeats")

    owner.deaf = False
    ended = [await owner.end_of(task) for task in tasks]

    assert len(later.holdings) < 150
    assert [run.on("value") for run in ended] == [[number] for number in range(300)]


async def test_a_run_that_streams_waits_for_an_owner_that_does_not_record(broken_house: House) -> None:
    owner = broken_house.owner
    await broken_house.add_runner(streamed_bytes=1 << 20)
    owner.deaf = True
    text = "x" * 100_000
    task = owner.task(broken_house.block("StreamingBlock"), count=100, text=text)
    await owner.send(task)
    await owner.beats_after(lambda beat: len(beat.holdings) == 1, "the run")
    beat = owner.beats[-1]
    await owner.beats_after(lambda later: later.number > beat.number + 5, "more heartbeats")
    stored = await broken_house.bus.stream_info("RESULTS")
    owner.deaf = False

    # It was recorded nowhere and lies nowhere but in the runner, which has stopped taking more.
    assert stored is not None
    assert stored.last_sequence < 30


async def test_a_result_that_no_stream_takes_is_published_when_there_is_room(broken_house: House) -> None:
    owner = broken_house.owner
    await broken_house.add_runner()
    await broken_house.bus.jetstream.ask("STREAM.UPDATE.RESULTS", {**_results(), "max_msgs": 0, "max_bytes": 1})
    tasks = [owner.task(broken_house.block("EchoBlock"), value=number) for number in range(3)]
    await owner.send(*tasks)
    await owner.beats_after(lambda beat: sum(bool(held.batch) for held in beat.holdings) == 3, "all are kept")

    assert not owner.runs
    await broken_house.bus.ensure_streams(SMALL)
    for task in tasks:
        await owner.end_of(task)


async def test_a_task_that_must_not_be_repeated_asks_first_and_until_it_is_answered(shared_house: House) -> None:
    owner = shared_house.owner
    answers: list[bool | None] = [None, True]
    owner.claims.clear()
    owner.grants = lambda _: answers.pop(0)

    ended = await owner.run(shared_house.block("PaymentBlock"))

    assert ended.finish is not None
    assert ended.finish.outcome == Outcome.OUTCOME_COMPLETED
    assert [claim.run.run_id for claim in owner.claims] == [ended.run_id, ended.run_id]


async def test_of_a_claim_that_is_refused_nothing_is_said_but_why_in_the_log(shared_house: House) -> None:
    owner = shared_house.owner
    refused: list[ClaimRequest] = []

    def refuse(request: ClaimRequest) -> bool:
        refused.append(request)
        return False

    owner.grants = refuse
    task = owner.task(shared_house.block("PaymentBlock"))
    await owner.send(task)
    await owner.until(lambda: bool(refused), "the claim")
    await owner.beats_after(lambda beat: not beat.holdings, "nothing is held")

    assert task.node_execution not in owner.runs
    assert WHY_NOT in shared_house.runners[0].log


def _results() -> dict[str, object]:
    return SMALL.configurations()[0]
