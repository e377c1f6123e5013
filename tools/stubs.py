"""Generates the Python stubs of the contract from proto/ into sdk/, or says where those there differ from it.

`python -m tools.stubs write`, `python -m tools.stubs check`, and `python -m tools.stubs dependencies`, which only
brings google/api/*.proto to build/proto-deps, where buf looks for them.
"""

import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
DEPENDENCIES = ROOT / "build" / "proto-deps"
SDK = ROOT / "sdk"
BORROWED = ("google/api/annotations.proto", "google/api/http.proto", "google/api/httpbody.proto")
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def main(arguments: list[str]) -> int:
    """Do one of `write`, `check` and `dependencies`."""
    if arguments not in (["write"], ["check"], ["dependencies"]):
        print("usage: python -m tools.stubs write|check|dependencies", file=sys.stderr)
        return 2
    bring_dependencies()
    if arguments == ["dependencies"]:
        return 0
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        if arguments == ["write"]:
            replace(fresh)
            return 0
        return report(differences(fresh))


def bring_dependencies() -> None:
    """Copy the protos of Google's that ours import from the wheel googleapis-common-protos."""
    google = find_spec("google.api")
    assert google is not None
    assert google.submodule_search_locations is not None
    folders = [Path(location).parent.parent for location in google.submodule_search_locations]
    for name in BORROWED:
        source = next(folder / name for folder in folders if (folder / name).exists())
        target = DEPENDENCIES / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != source.read_bytes():
            shutil.copyfile(source, target)


def generate(place: Path) -> None:
    """Generate all stubs below a folder."""
    outputs = ("--python_out=", "--grpc_python_out=", "--mypy_out=quiet:", "--mypy_grpc_out=quiet:")
    sources = sorted(str(source) for source in PROTO.rglob("*.proto"))
    programs = Path(sys.executable).parent
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"-I{PROTO}",
        f"-I{DEPENDENCIES}",
        *(f"--plugin={programs / plugin}" for plugin in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")),
        *(f"{output}{place}" for output in outputs),
        *sources,
    ]
    subprocess.run(command, check=True)
    remove_empty_services(place)


def remove_empty_services(place: Path) -> None:
    """The plugins write *_pb2_grpc files for protos without a service too; nothing is in them."""
    for source in PROTO.rglob("*.proto"):
        if any(line.startswith("service ") for line in source.read_text().splitlines()):
            continue
        stub = place / source.relative_to(PROTO)
        for suffix in (".py", ".pyi"):
            stub.with_name(f"{stub.stem}_pb2_grpc{suffix}").unlink(missing_ok=True)


def stubs_in(folder: Path) -> dict[Path, bytes]:
    """The stubs below a folder by their path in it."""
    return {file.relative_to(folder): file.read_bytes() for pattern in GENERATED for file in folder.rglob(pattern)}


def differences(fresh: Path) -> list[str]:
    """What would change, a line for each file."""
    wanted, found = stubs_in(fresh), stubs_in(SDK)
    return [
        *(f"missing: sdk/{name}" for name in sorted(wanted.keys() - found.keys())),
        *(f"left over: sdk/{name}" for name in sorted(found.keys() - wanted.keys())),
        *(f"differs: sdk/{name}" for name in sorted(wanted.keys() & found.keys()) if wanted[name] != found[name]),
    ]


def report(lines: list[str]) -> int:
    """Print the differences and what to do about them."""
    if not lines:
        return 0
    print(*lines, "The stubs do not fit proto/: run `./task proto` and commit.", sep="\n", file=sys.stderr)
    return 1


def replace(fresh: Path) -> None:
    """Put the fresh stubs in place of the old ones."""
    for name in stubs_in(SDK):
        (SDK / name).unlink()
    for name, content in stubs_in(fresh).items():
        target = SDK / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
