"""Values on the terminal: results and those of events; of one that is absent, why."""

from dataclasses import dataclass

from blockyard.cli.output import Output, short
from blockyard.client import AbsentResult, ExecutionsClient, Results
from blockyard.errors import ResultsIncomplete
from blockyard.events import Event

LENGTH = 2_000
"""Characters that are shown of a value where nothing but values is."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the outputs of an execution were given, as far as it can be had."""

    results: Results
    absent_values: tuple[AbsentResult, ...] = ()


async def given_so_far(executions: ExecutionsClient, execution_id: str) -> Given:
    """The results of an execution, and which of their values are absent."""
    try:
        return Given(await executions.results(execution_id))
    except ResultsIncomplete as error:
        return Given(error.results, error.absent_values)


def show_results(output: Output, given: Given, length: int = LENGTH) -> None:
    """Results, a line for each value."""
    absent = {(one.output, one.index): one for one in given.absent_values}
    for name, values in given.results.items():
        for index, value in enumerate(values):
            why = absent.get((name, index))
            output.line(f"{name} {_absent(why.message)}" if why else f"{name} = {short(value, length)}")


def value_text(event: Event) -> str:
    """The value of an output event, as it follows the name of the output."""
    return _absent(event.message) if event.absence else f"= {short(event.value)}"


def _absent(message: str) -> str:
    return f"is absent: {message}"
