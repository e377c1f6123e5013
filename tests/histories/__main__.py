"""Records the histories of this release: `./task record-histories`."""

import argparse
import shutil
import sys
import tomllib

from tests.histories.recording import FOLDER, record, write
from tests.histories.scenarios import SCENARIOS

ROOT = FOLDER.parents[1]


def release() -> str:
    """The version that this tree becomes."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return version


def main() -> int:
    parser = argparse.ArgumentParser(prog="./task record-histories --", description=__doc__)
    parser.add_argument(
        "--unreleased", action="store_true", help="replace those of this version, which nobody has run yet"
    )
    arguments = parser.parse_args()
    folder = FOLDER / release()
    if folder.exists() and not arguments.unreleased:
        print(f"{folder} is there. Histories of a release that is out must stay as they are: raise the version in")
        print("pyproject.toml, or, if nobody has run this version yet, say so with --unreleased.")
        return 1
    histories = {name: record(scenario()) for name, scenario in SCENARIOS.items()}
    shutil.rmtree(folder, ignore_errors=True)
    for name, history in histories.items():
        write(folder / f"{name}.json", history)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{len(histories)} histories, {size // 1024} KiB, in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
