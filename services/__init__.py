"""Blockyard's services. Each is a process: `python -m services.<name>`."""

import os
import sys

from services import starting

# Before gRPC is imported anywhere: its handlers of forks close descriptors in a child that only wants to become another
# program, such as a sandbox. No service goes on in a copy of itself.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# So it stands there while the interpreter looks for the program that it was told to run: one of these, and no test.
if sys.argv[:1] == ["-m"]:
    starting.begin()
