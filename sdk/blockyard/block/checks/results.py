"""What a check found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says of a block: it passes if there are no complaints."""

    complaints: tuple[str, ...] = ()
    # What is worth knowing and no failure: a figure, or what the check could not look at.
    remark: str = ""
    # False if there was nothing to check.
    applies: bool = True


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A finding, of which block and by which check; `seconds` is how long the check took."""

    block: str
    check: str
    finding: Finding
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether there is nothing to complain of."""
        return not self.finding.complaints

    def __str__(self) -> str:
        """The complaints, a line for each."""
        return "\n".join(f"{self.block}: {self.check}: {complaint}" for complaint in self.finding.complaints)
