"""What a run says in the end: on the terminal, and as JSON for whoever compares runs."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.chaos.faults import Crash, Struck
from tests.chaos.judging import Finding, Wrong

FINDINGS_SHOWN = 30


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found out about an execution with which something is wrong."""

    explanation: str
    log_lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Told:
    """What came to a subscriber."""

    executions: int
    events: int
    repeated: int
    """Events that came more than once."""
    starts: int
    """How often it was started: once, and again after each kill."""


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a run."""

    seed: int
    executions: int
    accepted: int
    ended: int
    under_way: Sequence[int]
    """How many executions each fault met."""
    node_executions: int
    events: int
    seconds: float
    struck: Sequence[Struck]
    crashes: Sequence[Crash]
    answers: Counter[str]
    deliveries: int
    firings: int
    decisions: int
    charges: int
    told: Mapping[str, Told]
    """By kind of subscriber."""
    findings: Sequence[Finding]
    evidence: dict[str, Evidence]

    @property
    def all_well(self) -> bool:
        """Whether every promise was kept, and something was there to keep."""
        return not self.findings and self.accepted == self.executions

    def count(self, wrong: Wrong) -> int:
        """How many promises were broken in this way."""
        return sum(finding.wrong is wrong for finding in self.findings)

    @property
    def command(self) -> str:
        """What runs the same faults and executions again."""
        return f"./task chaos -- --seed {self.seed} --executions {self.executions} --faults {len(self.struck)}"

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "seed": self.seed,
            "executions": self.executions,
            "accepted": self.accepted,
            "ended": self.ended,
            "faults": len(self.struck),
            **{wrong.value: self.count(wrong) for wrong in Wrong},
            "node_executions": self.node_executions,
            "events": self.events,
            "seconds": round(self.seconds, 1),
            "deliveries": self.deliveries,
            "firings": self.firings,
            "decisions": self.decisions,
            "charges": self.charges,
            "told": {kind: asdict(told) for kind, told in self.told.items()},
            "crashes": [f"{crash.member} at {crash.at:.1f} s" for crash in self.crashes],
            "struck": [
                {
                    "at": round(one.began, 1),
                    "until": round(one.ended, 1),
                    "kind": one.fault.kind.name,
                    "target": one.fault.target,
                    "under_way": met,
                }
                for one, met in zip(self.struck, self.under_way, strict=True)
            ],
            "findings": [
                {"wrong": one.wrong.value, "execution": one.execution_id, "shape": one.shape, "what": one.what}
                for one in self.findings
            ],
        }

    def write(self, path: Path) -> None:
        """Writes the JSON file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")


def say_report(report: Report, say: Callable[[str], None]) -> None:
    """Prints the counts, the faults with their times, what is wrong with its evidence, and the command to repeat it."""
    say("\nFaults (seconds since the first start):")
    for one, met in zip(report.struck, report.under_way, strict=True):
        what = f"{one.fault.kind.value}: {one.fault.target}"
        say(f"  {one.began:6.1f} to {one.ended:6.1f}  {what} ({met} executions under way)")
    for crash in report.crashes:
        say(f"  {crash.at:6.1f}  {crash.member} ended by itself (exit code {crash.exit_code}):\n{crash.last_lines}")
    if report.answers:
        say("Starts answered with an error before they were accepted:")
        for answer, times in report.answers.most_common():
            say(f"  {times:5} x {answer}")
    _say_findings(report, say)
    say("")
    say(f"  accepted       {report.accepted:7} of {report.executions}")
    say(f"  ended          {report.ended:7}")
    say(f"  nodes, events  {report.node_executions:7} {report.events:7}")
    say(f"  faults         {len(report.struck):7}")
    say(f"  deliveries     {report.deliveries:7} (incoming webhooks)")
    say(f"  firings        {report.firings:7} (of schedules)")
    say(f"  decisions      {report.decisions:7} (blocks that must not be repeated, of unknown outcome)")
    say(f"  charges        {report.charges:7}")
    for kind, told in report.told.items():
        say(
            f"  over {kind:9} {told.executions:7} {told.events:7} ({told.repeated} of them again, {told.starts} starts)"
        )
    for wrong in Wrong:
        say(f"  {wrong.value:14} {report.count(wrong):7}")
    say(f"\n{'All is well' if report.all_well else 'SOMETHING IS WRONG'} after {report.seconds:.0f} s.")
    say(f"The same again: {report.command}")


def _say_findings(report: Report, say: Callable[[str], None]) -> None:
    for finding in report.findings[:FINDINGS_SHOWN]:
        say(f"\n{finding.wrong.value.upper()} {finding.execution_id} ({finding.shape}): {finding.what}")
        evidence = report.evidence.get(finding.execution_id)
        if evidence is not None:
            say(evidence.explanation)
            for line in evidence.log_lines:
                say(f"    {line}")
    if len(report.findings) > FINDINGS_SHOWN:
        say(f"... and {len(report.findings) - FINDINGS_SHOWN} more findings")
