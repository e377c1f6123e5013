"""What an import or an export has to say: remarks, which are data, and problems, which refuse the file."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from blockyard.graph.v1.graph_service_pb2 import RemarkCode

from services.common.errors import Violation
from services.graph.errors import GraphInvalid

MOST_PROBLEMS = 100
"""Problems of a file that are told at once."""
MOST_REMARKS = 5_000
"""Remarks that an answer holds."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be known of one place in a file."""

    code: "RemarkCode.ValueType"
    field: str
    description: str


@dataclass(slots=True)
class Remarks:
    """The remarks of one file, in the order of their places."""

    found: list[Remark] = field(default_factory=list)

    def add(self, code: "RemarkCode.ValueType", path: str, description: str) -> None:
        """One more; beyond the most that an answer holds they are left out."""
        if len(self.found) < MOST_REMARKS:
            self.found.append(Remark(code, path, description))


@dataclass(slots=True)
class Problems:
    """What makes a file no graph. All of it is looked for before the file is refused."""

    found: list[Violation] = field(default_factory=list)

    def add(self, path: str, description: str) -> None:
        """One more; beyond the most that are told they are left out."""
        if len(self.found) < MOST_PROBLEMS:
            self.found.append(Violation(path, description))

    def refuse(self) -> None:
        """Raises GraphInvalid if there are any."""
        if self.found:
            raise refusal(self.found)


def refusal(violations: Sequence[Violation]) -> GraphInvalid:
    """The error for a file with these problems; its message tells the first one."""
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    where = f"{first.field}: " if first.field else ""
    return GraphInvalid(f"The file cannot be imported: {where}{first.description}{more}", violations=violations)
