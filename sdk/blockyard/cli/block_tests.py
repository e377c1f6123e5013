"""`blockyard blocks test`: the checks over blocks that are installed here, without a running Blockyard."""

import difflib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blockyard.cli.output import Output, as_json, duration
from blockyard.errors import BlockyardError

# Imported where it is needed: the other commands shall not wait for the block SDK.
if TYPE_CHECKING:
    from blockyard.block import Block
    from blockyard.block.checks import CheckResult
    from blockyard.block.loader import Catalogue, LoadError

DEFAULT_BOUND_MS = 50.0


@click.command(name="test")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--packages",
    multiple=True,
    metavar="NAME",
    help="Load blocks from this package, rather than from all that are installed; may be given more than once.",
)
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write the results as JUnit's XML too.")
@click.option(
    "--bound",
    "bound_ms",
    default=DEFAULT_BOUND_MS,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    metavar="MS",
    help="Milliseconds that the median run of a pure block's test case may take.",
)
@as_json
@click.pass_obj
def check_blocks(
    output: Output,
    names: tuple[str, ...],
    packages: tuple[str, ...],
    junit: Path | None,
    bound_ms: float,
    json_wanted: bool,
) -> None:
    """Checks blocks: schema, function (their own test cases), error, speed and safety.

    With names or ids, those blocks alone. Ends with exit code 1 if a block fails, or was refused as it was loaded.
    """
    catalogue = _load(packages)
    blocks = _chosen(catalogue, names)
    refused = [error for error in catalogue.errors if not names or error.block in names]
    started = time.perf_counter()
    results = [result for block in blocks for result in output.run(_check(block, bound_ms / 1000))]
    if junit is not None:
        from blockyard.block.checks.junit import write_junit

        write_junit(junit, results, refused)
    if json_wanted:
        output.json({"results": results, "refused": refused})
    else:
        _show(output, results, refused)
    failed = {result.block for result in results if not result.passed}
    count = len(blocks) + len(refused)
    if failed or refused:
        raise BlockyardError(f"{len(failed) + len(refused)} of {count} blocks failed")
    if not json_wanted:
        counted = f"{count} block{'s' * (count != 1)}, {len(results)} checks"
        output.line(f"{counted}: all passed in {duration(time.perf_counter() - started)}", "green")


async def _check(block: "Block", bound_seconds: float) -> "list[CheckResult]":
    from blockyard.block.checks import run_checks

    return await run_checks(block, bound_seconds=bound_seconds)


def _load(packages: Sequence[str]) -> "Catalogue":
    from blockyard.block.loader import load_blocks

    if packages and (here := os.getcwd()) not in sys.path:
        # A package that somebody writes is usually not installed yet.
        sys.path.insert(0, here)
    catalogue = load_blocks(packages, entry_points=not packages)
    if not catalogue.blocks and not catalogue.errors:
        where = ", ".join(packages) or "the installed packages"
        raise BlockyardError(f"there are no blocks in {where}")
    return catalogue


def _chosen(catalogue: "Catalogue", names: Sequence[str]) -> "list[Block]":
    """The blocks to check, by name; of those asked for, each must be there or have been refused."""
    if not names:
        return sorted(catalogue.blocks.values(), key=lambda block: block.name)
    refused = {error.block for error in catalogue.errors}
    chosen = {}
    for name in names:
        block = catalogue.by_name.get(name) or catalogue.blocks.get(name)
        if block is not None:
            chosen[block.name] = block
        elif name not in refused:
            near = difflib.get_close_matches(name, catalogue.by_name, n=1)
            hint = f"; do you mean {near[0]}?" if near else ""
            raise BlockyardError(f"there is no block {name}{hint}")
    return list(chosen.values())


def _show(output: Output, results: "Sequence[CheckResult]", refused: "Sequence[LoadError]") -> None:
    from blockyard.block.checks import CHECKS

    rows: dict[str, list[str]] = {}
    for result in results:
        rows.setdefault(result.block, []).append(_cell(result))
    shown = [[name, "FAILED" if "FAILED" in cells else "ok", *cells] for name, cells in rows.items()]
    shown += [[error.block or error.module, "FAILED", *("" for _ in CHECKS)] for error in refused]
    output.table(["BLOCK", "RESULT", *(check.upper() for check in CHECKS)], shown)
    output.line()
    for error in refused:
        output.line(str(error), "red")
    for result in results:
        if not result.passed:
            output.line(str(result), "red")


def _cell(result: "CheckResult") -> str:
    if not result.passed:
        return "FAILED"
    if not result.finding.applies:
        return "-"
    return result.finding.remark if result.check == "speed" else "ok"
