"""How a run ended, as its owner is told: errors of blocks become a reason and a sentence."""

import time

from blockyard.block import BlockError, BlockExecutionError, Context
from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.runner.v1.result_pb2 import Finish, Outcome
from blockyard.values import encode

from services.common.blobs import BlobCorrupt, BlobMissing
from services.runner import metering
from services.runner.casualty import Death
from services.runner.runs import Run
from services.runner.secret_inputs import without_secrets

MAX_ERROR_CHARACTERS = 8_000
MAX_STATS_BYTES = 128 << 10
"""A block's stats that are larger are not reported: who reads them would not be given them either."""

COMPLETED = Outcome.OUTCOME_COMPLETED
FAILED = Outcome.OUTCOME_FAILED
RETURNED = Outcome.OUTCOME_RETURNED
RUNNER_LOST = NodeErrorReason.NODE_ERROR_REASON_RUNNER_LOST


class BlockFailed(Exception):
    """What a run elsewhere, in a process of its own, failed with."""

    def __init__(self, reason: "NodeErrorReason.ValueType", message: str) -> None:
        super().__init__(message)
        self.reason = reason


def completed(run: Run, context: Context | None = None) -> Finish:
    """The run went well."""
    finish = Finish(outcome=COMPLETED, duration_us=_duration_us(run))
    _report(finish, run, context)
    return finish


def failed(run: Run, error: BaseException, context: Context | None = None) -> Finish:
    """The run ended with an error; with that of what it ran on (BlockInterrupted, here or elsewhere), it goes back."""
    reason, message = judge(error)
    message = without_secrets(run, message)
    if reason == RUNNER_LOST:
        return not_begun(run, message)
    finish = Finish(outcome=FAILED, error=message, reason=reason, duration_us=_duration_us(run))
    _report(finish, run, context)
    return finish


def timed_out(run: Run) -> Finish:
    """The run took longer than it may."""
    return _too_long(run, f"ran longer than its timeout of {run.task.timeout_ms / 1000:g} s")


def held_event_loop(run: Run, seconds: float) -> Finish:
    """The run let nothing else run."""
    if 0 < run.task.timeout_ms < seconds * 1000:
        return timed_out(run)
    message = (
        f"held the event loop for more than {seconds:g} s: await more often, "
        "or write `run` as a plain generator, which gets a thread or a process"
    )
    return _too_long(run, message)


def killed() -> Finish:
    """The run hung where only the end of its whole process could end it."""
    message = "held the event loop in code that could not be interrupted: the runner was killed for it"
    return Finish(outcome=FAILED, error=message, reason=NodeErrorReason.NODE_ERROR_REASON_TIMEOUT)


def ended_process(death: Death) -> Finish:
    """The run ended the process that it ran in."""
    message = f"the block ended the process of its runner, which {death}"
    return Finish(outcome=FAILED, error=message, reason=NodeErrorReason.NODE_ERROR_REASON_BLOCK_ERROR)


def not_begun(run: Run, why: str) -> Finish:
    """Nothing of the block has happened, or counts: the task goes back, unless its owner has granted this one run."""
    return Finish(outcome=FAILED, error=why, reason=RUNNER_LOST) if run.claimed else returned(why, RUNNER_LOST)


def returned(
    why: str = "", reason: "NodeErrorReason.ValueType" = NodeErrorReason.NODE_ERROR_REASON_UNSPECIFIED
) -> Finish:
    """The task goes back without an outcome: it may be sent again."""
    return Finish(outcome=RETURNED, error=why, reason=reason)


def judge(error: BaseException) -> tuple["NodeErrorReason.ValueType", str]:
    """(reason, sentence) of what a run raised."""
    if isinstance(error, BlockFailed):
        return error.reason, str(error)
    if isinstance(error, BlobMissing | BlobCorrupt):
        return NodeErrorReason.NODE_ERROR_REASON_VALUE_MISSING, str(error)
    if isinstance(error, BlockExecutionError):
        # It is what the author chose to say.
        return NodeErrorReason.NODE_ERROR_REASON_BLOCK_ERROR, _short(str(error))
    if isinstance(error, BlockError):
        return NodeErrorReason.Value(f"NODE_ERROR_REASON_{error.reason}"), _short(str(error))
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # a third party's exception that cannot even be shown
        text = ""
    name = type(error).__name__
    return NodeErrorReason.NODE_ERROR_REASON_BLOCK_ERROR, _short(f"{name}: {text}" if text else name)


def _too_long(run: Run, message: str) -> Finish:
    reason = NodeErrorReason.NODE_ERROR_REASON_TIMEOUT
    finish = Finish(outcome=FAILED, error=message, reason=reason, duration_us=_duration_us(run))
    _report(finish, run, None)
    return finish


def _duration_us(run: Run) -> int:
    return int((time.monotonic() - run.started) * 1_000_000) if run.started else 0


def _report(finish: Finish, run: Run, context: Context | None) -> None:
    """Adds the block's stats, and the runner's own words on what the run costs, which no block can say."""
    reported = context.stats if context is not None else None
    if not (reported or run.metered or run.cached):
        return
    own = metering.told(run)
    stats = {name: value for name, value in (reported or {}).items() if name not in metering.OWN} | own
    if not stats:
        return
    try:
        encoded = encode(stats)
    except ValueError as error:
        encoded = encode({"error": f"the block's stats cannot be reported: {error}"} | own)
    if run.leased is not None:
        encoded = run.leased.redaction.json(encoded)
    if len(encoded) > MAX_STATS_BYTES:
        encoded = encode({"error": f"the block's stats are too large to be reported: {len(encoded)} bytes"} | own)
    finish.stats = encoded


def _short(text: str) -> str:
    # Text that is no Unicode (lone surrogates) cannot travel.
    text = text[:MAX_ERROR_CHARACTERS]
    return text.encode("utf-8", "backslashreplace").decode()
