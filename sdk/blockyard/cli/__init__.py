"""The command line `blockyard`."""

from blockyard.cli.application import main

__all__ = ["main"]
