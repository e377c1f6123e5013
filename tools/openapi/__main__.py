"""Writes the document to the notification service, which serves it, or says that it differs from the one there."""

import sys
from pathlib import Path

from tools.openapi.contract import ROOT, read_contract
from tools.openapi.document import written

PLACE = ROOT / "services" / "notification" / "web" / "openapi.json"


def main(arguments: list[str]) -> int:
    """Do one of `write` and `check`."""
    if arguments not in (["write"], ["check"]):
        print("usage: python -m tools.openapi write|check", file=sys.stderr)
        return 2
    text = written(read_contract())
    if arguments == ["write"]:
        PLACE.write_text(text, encoding="utf-8")
        return 0
    if not differs(text, PLACE):
        return 0
    name = PLACE.relative_to(ROOT)
    print(f"{name} does not fit proto/: run `./task proto` and commit.", file=sys.stderr)
    return 1


def differs(text: str, place: Path) -> bool:
    """Whether something else stands there, or nothing."""
    return not place.exists() or place.read_text(encoding="utf-8") != text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
