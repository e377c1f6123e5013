"""`python -m services.gateway render --output FOLDER`: writes the files that Envoy is started with.

Settings come from the environment.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from services.common import config
from services.gateway import rendering
from services.gateway.config import EdgeSettings


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says; wrong settings are all named, and end it with 2."""
    parser = argparse.ArgumentParser(prog="python -m services.gateway", description=__doc__)
    commands = parser.add_subparsers(required=True)
    render = commands.add_parser("render", help="write envoy.yaml, edge.lua and blockyard.binpb")
    render.add_argument("--output", type=Path, required=True, help="folder for the files, made where it is missing")
    chosen = parser.parse_args(arguments)
    rendering.write(chosen.output, config.load(EdgeSettings))


if __name__ == "__main__":
    main()
