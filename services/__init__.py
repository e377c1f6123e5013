"""Blockyard's services. Each is a process: `python -m services.<name>`."""

import os

# Before gRPC is imported anywhere: its handlers of forks close descriptors in a child that only wants to become another
# program, such as a sandbox. No service goes on in a copy of itself.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
