"""What a container is started with: it is sent the programs that run inside, so any image with a Python will do."""

from functools import cache
from pathlib import Path
from typing import Any

# Reads the first frame, makes modules of what is in it, and goes on there. It takes no byte more, which are theirs. The
# program can write to where they are later, so nothing is imported from there any more.
BOOT = """
import json, os, sys, zlib
def read(size):
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            sys.exit(0)
        data += part
    return data
hello = json.loads(zlib.decompress(read(int.from_bytes(read(4), "big"))))
for name, text in hello["modules"].items():
    path = "/blockyard/modules/" + name
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
sys.path.insert(0, "/blockyard/modules")
from blockyard.sandbox.inside.container import main
del sys.path[0]
main(hello)
""".strip()
_SANDBOX = Path(__file__).parents[1]
# Of this package what needs a standard library alone.
MODULES = (
    "advice",
    "box",
    "capture",
    "collecting",
    "errors",
    "framing",
    "languages",
    "program",
    "running",
    "seccomp",
    "usage",
    "view",
    "wire",
)
INSIDE = ("__init__.py", "cell.js", "cell.py", "container.py", "start.py")


@cache
def modules() -> dict[str, str]:
    """Text by path, of packages with nothing of their own in front."""
    files = [*(f"{name}.py" for name in MODULES), *(f"inside/{name}" for name in INSIDE)]
    found = {f"blockyard/sandbox/{name}": (_SANDBOX / name).read_text(encoding="utf-8") for name in files}
    return {"blockyard/__init__.py": "", "blockyard/sandbox/__init__.py": "", **found}


def hello(key: bytes) -> dict[str, Any]:
    """The first message; `key` is for the container's mask."""
    return {"key": key.hex(), "modules": modules()}
