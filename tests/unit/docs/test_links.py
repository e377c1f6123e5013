"""Every link between pages leads to a file, and to a heading of it where it names one."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LISTED = subprocess.run(
    ["git", "ls-files", "-z", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split("\0")
PAGES = sorted(ROOT / name for name in LISTED if name)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@cache
def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors_of(page: Path) -> frozenset[str]:
    """What GitHub makes of the headings of a page."""
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text_of(page)))
    return frozenset(heading.replace(" ", "-") for heading in kept)


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in LINK.findall(text_of(page)):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue  # not ours
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_links_to_files_and_headings_that_are_not_there_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `heading`, with commas\n[a](#a-heading-with-commas) [b](#no-heading) [c](page.md#a-heading-with-commas)\n"
        "[d](page.md#neither) [e](gone.md) [f](https://example.com/gone.md)\n```\n# No heading\n[g](code)\n```\n"
    )
    assert broken(page) == ["#no-heading", "page.md#neither", "gone.md"]
