"""When and how often a failed node runs again, unless the node says otherwise."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The default is no retry. `reasons` are names of `NodeErrorReason` without prefix; none means the usual ones."""

    max_attempts: int = 1
    initial_backoff: timedelta = timedelta(seconds=1)
    max_backoff: timedelta = timedelta(minutes=1)
    multiplier: float = 2.0
    reasons: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts: expected at least 1, got {self.max_attempts}")
        if self.multiplier < 1:
            raise ValueError(f"multiplier: expected at least 1, got {self.multiplier}")
        if not timedelta(0) <= self.initial_backoff <= self.max_backoff:
            raise ValueError("initial_backoff: expected between 0 and max_backoff")
