"""Tests."""

import services  # noqa: F401  # says how gRPC is set up, before anything imports that
