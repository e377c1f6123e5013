"""Writes results as JUnit's XML, which CI servers show: the block is the class, the check the test case."""

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from blockyard.block.checks.results import CheckResult
from blockyard.block.loader import LoadError

# What XML cannot hold, not even escaped: a block's message may have it.
_NO_CHARACTERS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(path: Path, results: Sequence[CheckResult], refused: Sequence[LoadError] = ()) -> None:
    """Writes the results, and for each block that the loader refused a failed case "load"; makes missing folders."""
    suite = ElementTree.Element(
        "testsuite",
        name="blocks",
        tests=str(len(results) + len(refused)),
        failures=str(sum(not result.passed for result in results) + len(refused)),
        errors="0",
        skipped=str(sum(not result.finding.applies for result in results)),
        time=f"{sum(result.seconds for result in results):.3f}",
    )
    for error in refused:
        case = ElementTree.SubElement(suite, "testcase", classname=error.block or error.module, name="load", time="0")
        _fail(case, [str(error)])
    for result in results:
        _add(suite, result)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _add(suite: ElementTree.Element, result: CheckResult) -> None:
    finding = result.finding
    case = ElementTree.SubElement(
        suite, "testcase", classname=result.block, name=result.check, time=f"{result.seconds:.3f}"
    )
    if finding.complaints:
        _fail(case, finding.complaints)
    elif not finding.applies:
        ElementTree.SubElement(case, "skipped", message=_text(finding.remark))
    elif finding.remark:
        ElementTree.SubElement(case, "system-out").text = _text(finding.remark)


def _fail(case: ElementTree.Element, complaints: Sequence[str]) -> None:
    failure = ElementTree.SubElement(case, "failure", message=_text(complaints[0]))
    failure.text = _text("\n".join(complaints))


def _text(text: str) -> str:
    return _NO_CHARACTERS.sub("\ufffd", text)
