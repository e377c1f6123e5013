"""Compares what became of the executions with what was promised. Knows nothing of processes or calls."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from blockyard.events import EventKind
from blockyard.records import ExecutionStatus

from tests.chaos.credits import Credits
from tests.chaos.deliveries import complaints as delivery_complaints
from tests.chaos.faults import Crash
from tests.chaos.histories import Child, History
from tests.chaos.schedules import Firing, Schedules
from tests.chaos.schedules import complaints as timing_complaints
from tests.chaos.subscriber import WEBHOOK
from tests.chaos.subscribers import NAME as SUBSCRIBER
from tests.chaos.subscribers import Seen, disorders, missing
from tests.chaos.traffic import Followed

NODE_OUTCOMES = frozenset({EventKind.NODE_COMPLETED, EventKind.NODE_FAILED, EventKind.NODE_CANCELLED})


class Wrong(Enum):
    """In which way a promise was broken."""

    LOST = "lost"
    STUCK = "stuck"
    DOUBLED = "doubled"
    GAP = "gaps"
    UNTOLD = "untold"
    WRONG_OUTPUT = "wrong_outputs"
    MISCHARGED = "mischarged"
    CRASHED = "crashed"
    MISDELIVERED = "misdelivered"
    MISTIMED = "mistimed"


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken promise."""

    wrong: Wrong
    execution_id: str
    shape: str
    what: str


def judge(
    histories: Iterable[History],
    twice: Mapping[int, Sequence[str]],
    ledger: Mapping[str, int],
    decisions: Mapping[str, int],
) -> list[Finding]:
    """Everything that is wrong; empty if nothing is."""
    findings = [finding for history in histories for finding in judge_execution(history)]
    findings += [
        Finding(Wrong.DOUBLED, executions[0], "", f"start {number} made {len(executions)} executions: {executions}")
        for number, executions in twice.items()
    ]
    for task_id, runs in ledger.items():
        allowed = 1 + decisions.get(task_id, 0)
        if runs > allowed:
            what = (
                f"task {task_id} must not be repeated, but ran {runs} times with {allowed - 1} decisions to repeat it"
            )
            findings.append(Finding(Wrong.DOUBLED, task_id.rpartition("-")[0], "once", what))
    return findings


def judge_children(children: Sequence[Child]) -> list[Finding]:
    """What is wrong with executions that others wait for, when those have ended."""
    findings = [
        Finding(Wrong.STUCK, child.execution_id, "child", f"it runs on, though its parent {child.of[0]} has ended")
        for child in children
        if not child.ended
    ]
    counts = Counter(child.of for child in children)
    findings += [
        Finding(Wrong.DOUBLED, parent, "child", f"attempt {attempt} of node execution {number} has {count} children")
        for (parent, number, attempt), count in counts.items()
        if count > 1
    ]
    return findings


def judge_subscribers(told: Mapping[str, Mapping[str, Seen]], lengths: Mapping[str, int]) -> list[Finding]:
    """Whether every kind of subscriber has seen each event of each execution, in order (P4) but for webhooks. `lengths`
    are the numbers of their events."""
    findings: list[Finding] = []
    for kind, seen in told.items():
        for execution_id, sequences in missing(seen, lengths).items():
            what = f"the subscriber over {kind} lacks {len(sequences)} events, {sequences[:5]} first"
            findings.append(Finding(Wrong.UNTOLD, execution_id, "", what))
        for execution_id, what in disorders(seen) if kind != WEBHOOK else ():
            findings.append(Finding(Wrong.UNTOLD, execution_id, "", f"the subscriber over {kind}: {what}"))
        for execution_id in seen.keys() & lengths.keys():
            if (beyond := max(seen[execution_id].sequences) - lengths[execution_id]) > 0:
                what = f"the subscriber over {kind} was told {beyond} events that never were"
                findings.append(Finding(Wrong.UNTOLD, execution_id, "", what))
        for execution_id in seen.keys() - lengths.keys():
            what = f"the subscriber over {kind} was told of an execution that never was"
            findings.append(Finding(Wrong.UNTOLD, execution_id, "", what))
    return findings


def judge_starts(starts: Mapping[str, int], kills: Mapping[str, int]) -> list[Finding]:
    """Whether each kind of subscriber was started once, and once more after each kill: none is to end by itself."""
    findings: list[Finding] = []
    for kind, count in starts.items():
        if (ends := count - 1 - kills.get(kind, 0)) != 0:
            findings.append(Finding(Wrong.CRASHED, "", "", f"the subscriber over {kind} ended by itself {ends} times"))
    return findings


def judge_deliveries(count: int, named: Mapping[int, set[str]], started: Mapping[str, int]) -> list[Finding]:
    """Whether each incoming webhook has started one execution, the one that its sender was told of."""
    return [
        Finding(Wrong.MISDELIVERED, execution_id, "hooked", what)
        for execution_id, what in delivery_complaints(count, named, started)
    ]


def judge_ends(source: str, executions: Mapping[str, ExecutionStatus]) -> list[Finding]:
    """Whether executions that nothing keeps from it have completed. `source` is what has started them."""
    findings: list[Finding] = []
    for execution_id, status in executions.items():
        if not status.ended:
            findings.append(Finding(Wrong.STUCK, execution_id, source, f"still {status.name} at the deadline"))
        elif status is not ExecutionStatus.COMPLETED:
            findings.append(
                Finding(Wrong.WRONG_OUTPUT, execution_id, source, f"ended {status.name}, expected COMPLETED")
            )
    return findings


def judge_crashes(crashes: Sequence[Crash]) -> list[Finding]:
    """Whether no member of the stack ended by itself: none is to, whatever the others do.

    A runner that starts anew, for a block that hung or crashed it, does so below its supervisor, which is the member.
    Subscribers are left to `judge_starts`.
    """
    return [
        Finding(
            Wrong.CRASHED,
            "",
            "",
            f"{crash.member} ended by itself, or did not come up, at {crash.at:.1f} s (exit code {crash.exit_code})",
        )
        for crash in crashes
        if not crash.member.startswith(SUBSCRIBER)
    ]


def judge_schedules(schedules: Schedules, firings: Sequence[Firing], executions: Collection[str]) -> list[Finding]:
    """Whether each due time of each schedule has started one execution."""
    return [
        Finding(Wrong.MISTIMED, execution_id, "by the clock", what)
        for execution_id, what in timing_complaints(schedules, firings, executions)
    ]


def judge_credits(credits: Credits) -> list[Finding]:
    """Whether each outcome with a cost was charged once and nothing else, and whether all sums fit (rule 26)."""
    findings = [Finding(Wrong.MISCHARGED, execution, "", what) for execution, what in _charge_complaints(credits)]
    expected = credits.given - sum(credits.outcomes.values())
    if credits.balance != expected:
        what = f"the balance is {credits.balance}, but {credits.given} given less what outcomes cost is {expected}"
        findings.append(Finding(Wrong.MISCHARGED, "", "", what))
    if credits.sum_of_entries != 0:
        what = f"all entries of the ledger add up to {credits.sum_of_entries}"
        findings.append(Finding(Wrong.MISCHARGED, "", "", what))
    findings += [Finding(Wrong.MISCHARGED, "", "", what) for what in credits.discrepancies]
    return findings


def _charge_complaints(credits: Credits) -> Iterator[tuple[str, str]]:
    costs: Counter[str] = Counter()
    for key in credits.outcomes.keys() | credits.charged:
        execution, number = key
        cost = credits.outcomes.get(key, 0)
        costs[execution] += cost
        if bool(cost) is not (key in credits.charged):
            was = "was" if key in credits.charged else "was not"
            yield execution, f"node execution {number} costs {cost} and {was} charged"
    for execution in costs.keys() | credits.spent.keys():
        if costs[execution] != credits.spent.get(execution, 0):
            yield execution, f"its outcomes cost {costs[execution]}, charged was {credits.spent.get(execution, 0)}"


def judge_execution(history: History) -> list[Finding]:
    """What is wrong with one execution."""
    return [Finding(wrong, history.execution_id, history.load.shape.name, what) for wrong, what in _complaints(history)]


def _complaints(history: History) -> Iterator[tuple[Wrong, str]]:
    if history.row is None:
        yield Wrong.LOST, "it was accepted, and the database knows nothing of it"
        return
    if not history.row.status.ended:
        yield Wrong.STUCK, f"still {history.row.status.name} at the deadline"
        return
    if history.unreadable:
        yield Wrong.LOST, f"its events or results cannot be read: {history.unreadable}"
        return
    yield from _output_complaints(history)
    yield from _node_complaints(history)
    yield from _event_complaints(history)
    if history.followed is not None:
        yield from _follower_complaints(history, history.followed)


def _output_complaints(history: History) -> Iterator[tuple[Wrong, str]]:
    assert history.row is not None
    expected = history.load.expected
    if history.row.status is not expected.status:
        reason = f" ({history.row.message})" if history.row.message else ""
        yield Wrong.WRONG_OUTPUT, f"ended {history.row.status.name}{reason}, expected {expected.status.name}"
    elif history.results != expected.results:
        given = f"inputs {history.load.inputs}"
        yield Wrong.WRONG_OUTPUT, f"gave {history.results}, expected {expected.results}; {given}"


def _node_complaints(history: History) -> Iterator[tuple[Wrong, str]]:
    row = history.row
    assert row is not None
    repeated = [number for number, times in Counter(row.numbers).items() if times > 1]
    if repeated:
        yield Wrong.DOUBLED, f"node executions {repeated} have more than one row"
    missing = sorted(set(range(1, row.node_executions + 1)) - set(row.numbers))
    if missing:
        yield Wrong.LOST, f"node executions {missing} of 1 to {row.node_executions} have no outcome"
    surplus = sorted(number for number in set(row.numbers) if not 1 <= number <= row.node_executions)
    if surplus:
        yield Wrong.DOUBLED, f"node executions {surplus} are beyond {row.node_executions}"


def _event_complaints(history: History) -> Iterator[tuple[Wrong, str]]:
    assert history.row is not None
    sequences = tuple(event.sequence for event in history.events)
    if sequences != tuple(range(1, history.row.last_event + 1)):
        yield Wrong.GAP, f"event sequences {_ranges(sequences)}, expected 1 to {history.row.last_event}"
    last = [event.sequence for event in history.events if event.is_last]
    if last != [history.row.last_event]:
        yield Wrong.GAP, f"terminal events at {last}, expected one at {history.row.last_event}"
    outcomes = Counter(event.node_execution for event in history.events if event.kind in NODE_OUTCOMES)
    doubled = sorted(number for number, times in outcomes.items() if times > 1)
    if doubled:
        yield Wrong.DOUBLED, f"node executions {doubled} have more than one event of an outcome"
    silent = sorted(set(history.row.numbers) - set(outcomes))
    if silent:
        yield Wrong.GAP, f"node executions {silent} have an outcome and no event of it"


def _follower_complaints(history: History, followed: Followed) -> Iterator[tuple[Wrong, str]]:
    assert history.row is not None
    seen = followed.sequences
    if followed.failure:
        yield Wrong.GAP, f"its subscriber saw events {_ranges(seen)} and no end: {followed.failure}"
    elif seen != tuple(range(1, history.row.last_event + 1)):
        yield Wrong.GAP, f"its subscriber saw events {_ranges(seen)}, expected 1 to {history.row.last_event}"


def _ranges(sequences: Sequence[int]) -> str:
    """Numbers in short: 1-7, 9-12."""
    parts: list[list[int]] = []
    for sequence in sequences:
        if parts and sequence == parts[-1][1] + 1:
            parts[-1][1] = sequence
        else:
            parts.append([sequence, sequence])
    return ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in parts) or "none"
