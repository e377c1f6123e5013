"""Compares the contract in proto/ with the one on branch main: `python -m tools.breaking`, run by buf.

The old one is unpacked beside the borrowed protos, which git does not hold and without which buf cannot read it.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.stubs import DEPENDENCIES, ROOT

BRANCHES = ("origin/main", "main")


def main() -> int:
    """Buf's exit code; 0 when there is no branch to compare with."""
    branch = next((name for name in BRANCHES if has_contract(name)), None)
    if branch is None:
        print("no branch main with a contract to compare with")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        unpack(branch, Path(folder))
        return subprocess.run(["buf", "breaking", "--against", folder], cwd=ROOT, check=False).returncode


def has_contract(branch: str) -> bool:
    """Whether the branch exists and has a proto/ and a buf.yaml."""
    return all(
        subprocess.run(
            ["git", "cat-file", "-e", f"{branch}:{name}"], cwd=ROOT, check=False, stderr=subprocess.DEVNULL
        ).returncode
        == 0
        for name in ("proto", "buf.yaml")
    )


def unpack(branch: str, place: Path) -> None:
    """Put the branch's contract and what it borrows into a folder."""
    archive = subprocess.run(
        ["git", "archive", "--format=tar", branch, "proto", "buf.yaml"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(place)], input=archive, check=True)
    shutil.copytree(DEPENDENCIES, place / DEPENDENCIES.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main())
