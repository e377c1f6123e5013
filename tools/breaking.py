"""Compares the contract in proto/ with an earlier one: `python -m tools.breaking`, run by buf.

The earlier one is that of branch main; where the contract here is the same (on main itself, after a push), it is the
one before its last change. It is unpacked beside the borrowed protos, which git does not hold and without which buf
cannot read it.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.stubs import DEPENDENCIES, ROOT

BRANCHES = ("origin/main", "main")
CONTRACT = ("proto", "buf.yaml")


def main() -> int:
    """Buf's exit code; 0 when there is no earlier contract."""
    earlier = next((commit for commit in candidates() if has_contract(commit) and differs(commit)), None)
    if earlier is None:
        print("the contract was not compared: git knows no earlier one here")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        unpack(earlier, Path(folder))
        code = subprocess.run(["buf", "breaking", "--against", folder], cwd=ROOT, check=False).returncode
    print(f"the contract {'breaks nothing of' if code == 0 else 'breaks'} the one at {earlier}")
    return code


def candidates() -> Iterator[str]:
    """The commits to compare with, the first that fits is taken."""
    for branch in BRANCHES:
        yield branch
    for branch in (*BRANCHES, "HEAD"):
        last_change = git("log", "-1", "--format=%h", branch, "--", *CONTRACT).stdout.decode().strip()
        if last_change:
            yield f"{last_change}^"


def has_contract(commit: str) -> bool:
    """Whether the commit is there and has a proto/ and a buf.yaml."""
    return all(git("cat-file", "-e", f"{commit}:{name}").returncode == 0 for name in CONTRACT)


def differs(commit: str) -> bool:
    """Whether the contract here is another than the commit's; new files count."""
    changed = git("diff", "--quiet", commit, "--", *CONTRACT).returncode != 0
    return changed or bool(git("ls-files", "--others", "--exclude-standard", "--", *CONTRACT).stdout)


def unpack(commit: str, place: Path) -> None:
    """Put the commit's contract and what it borrows into a folder."""
    archive = git("archive", "--format=tar", commit, *CONTRACT)
    archive.check_returncode()
    subprocess.run(["tar", "-x", "-C", str(place)], input=archive.stdout, check=True)
    shutil.copytree(DEPENDENCIES, place / DEPENDENCIES.relative_to(ROOT))


def git(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """What git says; where it fails, what was asked for is not there."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
