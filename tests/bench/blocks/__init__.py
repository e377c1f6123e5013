"""Blocks of the bench; the runners of its stacks load this package beside the built-in blocks."""
